"""Training one method of `rl_aux.py`: epochs in chunks, checkpoints, curves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from auxjax.data import random_crop_flip
from auxjax.labelling import (
    LabelData,
    Method,
    MethodState,
    label_use,
    make_method,
)
from auxjax.run import RunFolder, first_non_finite, open_run, read_metrics, run_chunks
from lab.curves import column
from lab.options import may_differ
from lab.problem import in_batches
from lab.timed import Timed, median, remembered
from labelling.data import PADDING, Problem
from labelling.networks import make_networks
from labelling.variants import Variant, setting

EVALUATED = 500  # test images at once


class Curves(NamedTuple):
    """What a training measured, over evaluations; leading axis seeds."""

    epochs: np.ndarray  # [n]
    train: dict[str, np.ndarray]  # {metric: [seeds, n]}, means since the one before
    test: dict[str, np.ndarray]  # {metric: [seeds, n]}
    seconds: float  # an epoch of all seeds, compilation left out; NaN if not trained


class Trained(NamedTuple):
    """What came of a training."""

    curves: Curves
    method: Method
    state: MethodState  # leading axis seeds


def train(config: Any, problem: Problem, variant: Variant, folder: Path) -> Trained:
    """Trains one variant, all seeds in one program, or goes on with it.

    Args:
      config: of the script.
      problem: what there is to learn.
      variant: the method.
      folder: where the run's files go.

    Returns:
      What was measured, and the last state.
    """
    told = setting(config, variant)
    networks = make_networks(config, problem, told)
    method = make_method(told, problem.hierarchy, *networks)
    goes_on = config.resume and folder.exists()  # the stopped one, or one before it
    run = open_run(folder, config, resume=goes_on, may_differ=may_differ(config))
    advance = Advance(config, problem, told, method, networks[0])
    state = run_chunks(
        state=_start(config, problem, method),
        advance=advance,
        num_chunks=config.epochs // config.eval_every,
        folder=run,
        step_of=lambda s: int(np.max(s.epoch)),
        report=_report,
        check=_check,
        description=variant.label,
        unit="epochs",
        quiet=config.quiet,
    )
    seconds = remembered(run.path, "seconds per epoch", advance.seconds)
    return Trained(read_curves(run, seconds), method, state)


def over_seeds(function: Callable) -> Callable:
    """`function` of each seed's state and of shared arguments, as one program.

    On a CPU one after the other: batches of small matrices are slower there than the
    matrices, by half for an agent and twofold for the main network.
    """
    if jax.default_backend() != "cpu":
        return lambda states, *shared: jax.vmap(lambda s: function(s, *shared))(states)
    return lambda states, *shared: jax.lax.map(lambda s: function(s, *shared), states)


def _start(config: Any, problem: Problem, method: Method) -> MethodState:
    train = problem.train

    def one(seed, images):
        # The labels' values are looked at where they are at hand, so they stay so.
        return method.init(jax.random.key(seed), train._replace(images=images))

    seeds = config.first_seed + jnp.arange(config.seeds, dtype=jnp.int32)
    return jax.jit(over_seeds(one))(seeds, jnp.asarray(train.images))


class Advance:
    """Some epochs and an evaluation of all seeds; compiled when first called."""

    def __init__(self, config, problem: Problem, told, method: Method, main):
        """Describes the program; nothing is compiled yet."""
        test = (problem.test.images, problem.test.labels)
        self._data = jax.tree.map(jnp.asarray, (problem.train, test))
        self._epochs = config.eval_every
        blocks, epoch = problem.hierarchy, method.epoch
        if problem.augment:
            epoch = augmented(problem, told, method, main)

        def one(state, data, test):
            images, labels = test
            state, metrics = jax.lax.scan(
                lambda s, _: epoch(s, data), state, length=config.eval_every
            )
            mean = jax.tree.map(jnp.mean, metrics)._asdict()
            mean["lowest_label_use"] = jnp.min(metrics.label_use)
            mean["lowest_drawn_label_use"] = jnp.min(metrics.drawn_label_use)
            size = min(EVALUATED, len(labels))
            logits: Any = in_batches(lambda x: method.predict(state, x), images, size)
            test_scores = scores(logits, labels)
            if told.method not in ("single", "human"):
                given = in_batches(lambda part: method.labels(state, *part), test, size)
                counts = jnp.sum(jax.nn.one_hot(given, blocks.num_labels), axis=0)
                test_scores["label_use"] = label_use(counts, blocks)
            return state, {"epoch": state.epoch, "train": mean, "test": test_scores}

        self._program = Timed(jax.jit(over_seeds(one)))

    def __call__(self, state: MethodState) -> tuple[MethodState, Any]:
        """One chunk."""
        return self._program(state, *self._data)

    @property
    def seconds(self) -> float:
        """Of an epoch, the median; NaN where none was made."""
        return median(self._program.spent, self._epochs)


def augmented(problem: Problem, told, method: Method, main) -> Callable:
    """`method.epoch` on images shifted anew in every epoch.

    Labels that nobody learns stay those of the images as they were: the random ones
    would be others after every shift.
    """
    fixed = told.method in ("random", "kmeans")
    as_human = dataclasses.replace(told, method="human")
    given = make_method(as_human, problem.hierarchy, main) if fixed else method

    def epoch(state: MethodState, data: LabelData):
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.epoch), 2)
        seen = random_crop_flip(key, data.images, padding=PADDING, flip=problem.flip)
        if not fixed:
            return given.epoch(state, data._replace(images=seen))
        human = method.labels(state, data.images, data.labels)
        own = state.label_state
        state, metrics = given.epoch(
            state._replace(label_state=()), LabelData(seen, data.labels, human)
        )
        return state._replace(label_state=own), metrics

    return epoch


def scores(logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
    """Accuracy, and precision, recall and F1 averaged over the classes, in percent.

    Args:
      logits: `[n, C]`.
      labels: `[n]`, the true classes.

    Returns:
      A number each. A class that is never predicted has precision 0, one that is not
      there recall 0, as scikit-learn has it.

    Example:
      >>> import jax.numpy as jnp
      >>> logits = jnp.eye(2)[jnp.array([0, 0, 0, 1])]
      >>> percent = scores(logits, jnp.array([0, 0, 1, 1]))
      >>> [round(float(x), 1) for x in percent.values()]
      [75.0, 83.3, 75.0, 73.3]
    """
    classes = logits.shape[-1]
    predicted = jax.nn.one_hot(jnp.argmax(logits, axis=-1), classes)
    truth = jax.nn.one_hot(labels, classes)
    hits = jnp.sum(predicted * truth, axis=0)
    said, there = jnp.sum(predicted, axis=0), jnp.sum(truth, axis=0)
    precision, recall = hits / jnp.maximum(said, 1), hits / jnp.maximum(there, 1)
    f1 = 2 * hits / jnp.maximum(said + there, 1)
    shares = {"accuracy": jnp.sum(hits) / len(labels)}
    each = {"precision": precision, "recall": recall, "f1": f1}
    shares |= {name: jnp.mean(values) for name, values in each.items()}
    return {name: 100 * share for name, share in shares.items()}


def _report(metrics: Any, chunk: int) -> tuple[list[dict[str, Any]], str]:
    """A line of `metrics.jsonl`, each value a list over seeds."""
    del chunk
    row: dict[str, Any] = {"step": int(np.max(metrics["epoch"]))}
    for part in ("train", "test"):
        row[part] = {name: np.asarray(x).tolist() for name, x in metrics[part].items()}
    return [row], f"accuracy={np.mean(metrics['test']['accuracy']):.4g}"


def _check(metrics: Any) -> tuple[int, str, float] | None:
    """The first main or auxiliary loss that is not finite."""
    names = ("primary", "auxiliary")
    losses = np.stack([metrics["train"][name] for name in names], axis=-1)
    return first_non_finite(losses[:, None], [int(np.max(metrics["epoch"]))], names)


def read_curves(run: RunFolder, seconds: float) -> Curves:
    """What is in a run's metrics."""
    rows = read_metrics(run.metrics)

    def columns(part):
        names = rows[0][part]
        return {name: column([row[part][name] for row in rows]) for name in names}

    epochs = np.array([row["step"] for row in rows])
    return Curves(epochs, columns("train"), columns("test"), seconds)
