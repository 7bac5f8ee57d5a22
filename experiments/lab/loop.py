"""Supervised training by any rule, all seeds together, in a folder per method."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from auxjax.run import RunError, open_run, run_chunks
from auxjax.supervised import TrainState, init_state, make_train
from lab.curves import Curves, read_curves
from lab.optimizer import arrange
from lab.options import may_differ
from lab.problem import Problem, only
from lab.rules import BY_NAME, Rule
from lab.timed import Timed, median, remembered
from lab.training import SINGLE, Training

RULE = 2  # beside the two that a seed is split into


def train(
    problem: Problem,
    method: str,
    config: Training,
    folder: Path,
    *,
    task: str | None = None,
    label: str | None = None,
    rule: Rule | None = None,
    second_stream: str = "reshuffled",
    make_advance: Callable[..., Any] | None = None,
) -> tuple[Curves, TrainState]:
    """Trains one method, all seeds together, or goes on with it.

    Args:
      problem: what there is to learn.
      method: a name out of `BY_NAME`, or `single`.
      config: of the script.
      folder: where the run's files go.
      task: the one that `single` learns; None: the main task.
      label: what the progress bar says.
      rule: what to use instead of `BY_NAME[method]`, or of one task alone.
      second_stream: as in `auxjax.supervised.make_epoch`.
      make_advance: what makes the chunks, called as `Advance`; None: `Advance`.

    Returns:
      What was measured, and the last state, leading axis seeds.
    """
    if method == SINGLE and rule is None:
        problem = only(problem, task or problem.tasks[0])
    samples = problem.samples
    if samples < config.batch_size:
        raise RunError(
            f"`batch_size` should be at most {samples}, the number of training "
            f"samples. Found {config.batch_size}."
        )
    epoch_steps = samples // config.batch_size
    rule = rule or BY_NAME.get(method)
    begin = functools.partial(first_state, problem, rule, config)
    problem, tx = arrange(problem, rule, config)
    goes_on = config.resume and folder.exists()  # the stopped one, or one before it
    run = open_run(folder, config, resume=goes_on, may_differ=may_differ(config))
    advance = (make_advance or Advance)(problem, tx, config, second_stream)
    seeds = config.first_seed + np.arange(config.seeds)
    state = run_chunks(
        state=jax.jit(jax.vmap(begin))(seeds),
        advance=advance,
        num_chunks=config.epochs // config.eval_every,
        folder=run,
        step_of=lambda s: int(np.max(s.step)) // epoch_steps,
        report=_report(config, problem.tasks),
        description=label or method,
        unit="epochs",
        quiet=config.quiet,
    )
    seconds = remembered(run.path, "seconds per epoch", advance.seconds)
    return read_curves(run, problem.tasks, seconds), state


def first_state(
    problem: Problem, rule: Rule | None, config: Training, seed: Any
) -> TrainState:
    """Where a seed begins: network, order of samples and the rule's draws are its own.

    Args:
      problem: what there is to learn, not arranged yet.
      rule: as in `arrange`.
      config: of the script.
      seed: splits into the network's key and training's; the rule's is folded in.
    """
    key = jax.random.fold_in(jax.random.key(seed), RULE)
    return _start(*arrange(problem, rule, config, key), seed)


def _start(problem: Problem, tx: Any, seed: jax.Array) -> TrainState:
    init_key, key = jax.random.split(jax.random.key(seed))
    params, model_state = problem.init(init_key)
    return init_state(params, tx, key, model_state)


class Advance:
    """Some epochs and an evaluation, all seeds at once; compiled when first called.

    `seconds` are those of the epochs alone. A seed whose losses are not finite any more
    is measured as NaN: its network would still name some class.
    """

    def __init__(self, problem: Problem, tx: Any, config: Training, second_stream: str):
        """Describes the program; nothing is compiled yet."""
        self._data = problem.train, problem.test
        self._epochs = config.eval_every
        forward = make_train(
            problem.losses,
            tx,
            batch_size=config.batch_size,
            num_epochs=config.eval_every,
            second_stream=second_stream,
            has_state=True,
            has_key=True,
        )

        def learn(state, data):
            state, metrics = forward(state, data)
            mean = jax.tree.map(lambda x: jnp.mean(x, axis=(0, 1)), metrics)
            return state, mean._asdict()

        def measure(state, losses, test):
            found = problem.evaluate(state.params, state.model_state, test)
            return only_alive(found, losses)

        samples = 0 if problem.per_seed else None  # the axis of seeds
        self._learn = Timed(jax.jit(jax.vmap(learn, in_axes=(0, samples))))
        self._measure = jax.jit(jax.vmap(measure, in_axes=(0, 0, samples)))

    def __call__(self, state: TrainState) -> tuple[TrainState, Any]:
        """One chunk."""
        data, test = self._data
        state, seen = self._learn(state, data)
        found = self._measure(state, seen["losses"], test)
        return state, {"train": seen, "test": found}

    @property
    def seconds(self) -> float:
        """Of an epoch, the median; NaN where none was made."""
        return median(self._learn.spent, self._epochs)


def only_alive(found: Any, losses: jax.Array) -> Any:
    """What a seed measured, NaN where its mean losses `[T]` are not finite."""
    alive = jnp.all(jnp.isfinite(losses))
    return jax.tree.map(lambda x: jnp.where(alive, x, jnp.nan), found)


def _report(config: Training, tasks: Sequence[str]) -> Callable:
    """A line of `metrics.jsonl` per chunk, each value a list over seeds."""

    def report(found, chunk):
        train, test = found["train"], found["test"]
        row: dict[str, Any] = {"step": (chunk + 1) * config.eval_every}
        row["losses"] = train["losses"].tolist()
        if train["weights"] is not None:
            row["weights"] = train["weights"].tolist()
        row["test"] = {name: np.asarray(x).tolist() for name, x in test.items()}
        first = next(iter(test))
        return [row], f"{first}={np.mean(test[first]):.4g}"

    return report
