"""Supervised training by any rule, all seeds together, in a folder per method."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import auxjax
from auxjax.run import RunError, open_run, run_chunks
from auxjax.supervised import TrainState, init_state, make_train
from lab.curves import Curves, read_curves
from lab.options import may_differ
from lab.problem import Problem, only
from lab.rules import RULES, Rule, Setting
from lab.training import SINGLE, Training


class Batches(NamedTuple):
    """The model's state; batch and key of the step before, and of this one."""

    model: Any
    last: Any
    now: Any
    last_key: jax.Array
    now_key: jax.Array


def make_optimizer(
    problem: Problem, rule: Rule | None, steps: int, epoch_steps: int
) -> Any:
    """The rule and the optimizer; without a rule, the sum of what losses there are."""
    optimizer = problem.optimizer(steps)
    if rule is None:
        return optax.chain(auxjax.sum_tasks(), optimizer)
    if "sample_losses" in rule.takes and problem.sample_losses is None:
        raise RunError(
            "`method` should not name a rule that weighs samples (slgrad): this "
            "experiment's losses are not there one by one. Found one."
        )
    setting = Setting(
        num_tasks=len(problem.tasks),
        optimizer=optimizer,
        steps=steps,
        epoch_steps=epoch_steps,
        first_losses=problem.first_losses,
        classification=problem.classification,
        primary=problem.primary,
        travel=problem.travel,
    )
    return rule(setting)


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
      method: a name out of `RULES`, or `single`.
      config: of the script.
      folder: where the run's files go.
      task: the one that `single` learns; None: the main task.
      label: what the progress bar says.
      rule: what to use instead of `RULES[method]`.
      second_stream: as in `auxjax.supervised.make_epoch`.
      make_advance: what makes the chunks, called as `Advance`; None: `Advance`.

    Returns:
      What was measured, and the last state, leading axis seeds.
    """
    if method == SINGLE:
        problem = only(problem, task or problem.tasks[0])
    samples = problem.samples
    if samples < config.batch_size:
        raise RunError(
            f"`batch_size` should be at most {samples}, the number of training "
            f"samples. Found {config.batch_size}."
        )
    epoch_steps = samples // config.batch_size
    rule = rule or RULES.get(method)
    tx = make_optimizer(problem, rule, config.epochs * epoch_steps, epoch_steps)
    if rule and {"sample_losses", "next_losses"} & set(rule.takes):
        problem, tx = with_batches(problem, tx, config.batch_size)
    goes_on = config.resume and folder.exists()  # the stopped one, or one before it
    run = open_run(folder, config, resume=goes_on, may_differ=may_differ(config))
    advance = (make_advance or Advance)(problem, tx, config, second_stream)
    seeds = config.first_seed + np.arange(config.seeds)
    state = run_chunks(
        state=jax.jit(jax.vmap(lambda seed: _start(problem, tx, seed)))(seeds),
        advance=advance,
        num_chunks=config.epochs // config.eval_every,
        folder=run,
        step_of=lambda s: int(np.max(s.step)) // epoch_steps,
        report=_report(config, problem.tasks),
        description=label or method,
        unit="epochs",
        quiet=config.quiet,
    )
    return read_curves(run, problem.tasks, advance.seconds), state


def with_batches(problem: Problem, tx: Any, batch_size: int) -> tuple[Problem, Any]:
    """Gives the update losses that need a batch: `sample_losses`, `next_losses`.

    The first are of this batch, the others of the one before, drawn as they were drawn
    then: what changes is the parameters. Batches reach the rule as the model's state.
    """

    def init(key):
        params, model = problem.init(key)
        one = (
            jax.tree.map(lambda x: x[0], problem.train)
            if problem.per_seed
            else problem.train
        )
        none_yet = jax.tree.map(lambda x: jnp.zeros_like(x[:batch_size]), one)
        return params, Batches(model, none_yet, none_yet, key, key)

    def losses(params, state, batch, key):
        found, model = problem.losses(params, state.model, batch, key)
        return found, Batches(model, state.now, batch, state.now_key, key)

    def evaluate(params, state, test):
        return problem.evaluate(params, state.model, test)

    def update_fn(jac, state, params=None, **extra_args):
        seen = jac.aux
        of = {"next_losses": (problem.losses, seen.last, seen.last_key)}
        if problem.sample_losses is not None:
            of["sample_losses"] = (problem.sample_losses, seen.now, seen.now_key)
        for name, (function, *drawn) in of.items():
            extra_args[name] = lambda p, f=function, a=drawn: f(p, seen.model, *a)[0]
        return tx.update(jac, state, params, **extra_args)

    given = problem._replace(init=init, losses=losses, evaluate=evaluate)
    return given, optax.GradientTransformationExtraArgs(tx.init, update_fn)


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
        self._compiled: Any = None
        self._spent: list[float] = []
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
        self._programs = (
            jax.jit(jax.vmap(learn, in_axes=(0, samples))),
            jax.jit(jax.vmap(measure, in_axes=(0, 0, samples))),
        )

    def __call__(self, state: TrainState) -> tuple[TrainState, Any]:
        """One chunk."""
        (data, test), (learn, measure) = self._data, self._programs
        if self._compiled is None:
            self._compiled = learn.lower(state, data).compile()
        begin = time.perf_counter()
        state, seen = jax.block_until_ready(self._compiled(state, data))
        self._spent.append(time.perf_counter() - begin)
        return state, {"train": seen, "test": measure(state, seen["losses"], test)}

    @property
    def seconds(self) -> float:
        """Of an epoch, the median; NaN where none was made."""
        return float(np.median(self._spent)) / self._epochs if self._spent else np.nan


def only_alive(found: Any, losses: jax.Array) -> Any:
    """What a seed measured, NaN where its mean losses `[T]` are not finite."""
    alive = jnp.all(jnp.isfinite(losses))
    return jax.tree.map(lambda x: jnp.where(alive, x, jnp.nan), found)


def _report(config: Training, tasks: Sequence[str]) -> Callable:
    """A line of `metrics.jsonl` a chunk, each value a list over seeds."""

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
