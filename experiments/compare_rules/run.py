"""Training by one rule, all seeds together, and what a step costs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax.run import write_json
from auxjax.supervised import init_state, make_train
from compare_rules.problem import CLASSES, METRICS, Problem
from lab.rules import RULES, Rule, Setting

SINGLE = "single tasks"


class Batches(NamedTuple):
    """The batch of the last step and that of this one."""

    last: Any
    now: Any


def setting(config: Any, problem: Problem, key: Any = None) -> Setting:
    """What the rules are told."""
    return Setting(
        num_tasks=len(problem.tasks),
        optimizer=optax.adam(config.learning_rate),
        steps=config.epochs * config.epoch_steps,
        epoch_steps=config.epoch_steps,
        first_losses=problem.first_losses,
        classification=tuple(range(len(CLASSES))),
        key=key,
    )


def learner(config: Any, problem: Problem, rule: Rule, num_epochs: int) -> Callable:
    """`(params, key, samples) -> (TrainState, StepMetrics)`, of one seed.

    The step hands a rule `meta_losses`. What else it takes needs the batch itself,
    which reaches the rule as what the losses return beside their values: the model has
    no state of its own here, so the last batches are its state.
    """
    by_batch = {"sample_losses", "next_losses"} & set(rule.takes)

    def losses(params, batches, samples):
        return problem.losses(params, samples), Batches(batches.now, samples)

    def learn(params, key, samples):
        tx = rule(setting(config, problem, key))
        options = {"batch_size": config.batch_size, "num_epochs": num_epochs}
        if not by_batch:
            state = init_state(params, tx, key)
            return make_train(problem.losses, tx, **options)(state, samples)
        tx = _with_batches(tx, problem, by_batch)
        none_yet = jax.tree.map(
            lambda x: jnp.zeros_like(x[: config.batch_size]), samples
        )
        state = init_state(params, tx, key, Batches(none_yet, none_yet))
        return make_train(losses, tx, has_state=True, **options)(state, samples)

    return learn


def _with_batches(tx: Any, problem: Problem, names: set[str]) -> Any:
    """Gives the update what can be made of the batches in `jac.aux`."""

    def update_fn(jac, state, params=None, **extra_args):
        seen = jac.aux
        made = {
            "sample_losses": lambda p: problem.sample_losses(p, seen.now),
            "next_losses": lambda p: problem.losses(p, seen.last),
        }
        extra_args |= {name: made[name] for name in names}
        return tx.update(jac, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(tx.init, update_fn)


def outcome(config: Any, problem: Problem, rule: Rule) -> Callable:
    """`(params, key, train, test) -> (metrics, whether it diverged)`, of one seed."""
    learn = learner(config, problem, rule, config.epochs)

    def one(params, key, samples, test):
        state, steps = learn(params, key, samples)
        found = problem.metrics(state.params, test)
        finite = jnp.all(jnp.isfinite(steps.losses))
        finite &= jnp.all(jnp.isfinite(jnp.stack([*found.values()])))
        return found, jnp.logical_not(finite)

    return one


def train(config: Any, problem: Problem, rule: Rule) -> dict[str, Any]:
    """The metrics on the test samples `[seeds]`, and which seeds diverged."""
    one = jax.jit(jax.vmap(outcome(config, problem, rule)))
    found, diverged = jax.device_get(one(*problem.seeds))
    return {
        "metrics": {name: found[name].tolist() for name in METRICS},
        "diverged": diverged.tolist(),
    }


def single_tasks(config: Any, problem: Problem) -> dict[str, Any]:
    """The same, of networks that learn one task each: the baseline of Δ_MTL."""

    def one(weights, *seed):
        def sample_losses(params, samples):
            losses = problem.sample_losses(params, samples).items()
            return {name: w * x for (name, x), w in zip(losses, weights, strict=True)}

        alone = problem._replace(sample_losses=sample_losses)
        return outcome(config, alone, RULES["equal"])(*seed)

    over_tasks = jax.vmap(one, in_axes=(0, None, None, None, None))
    over_seeds = jax.vmap(over_tasks, in_axes=(None, 0, 0, 0, 0))
    weights = jnp.eye(len(problem.tasks))[: len(METRICS)]
    found, diverged = jax.device_get(jax.jit(over_seeds)(weights, *problem.seeds))
    own = {name: found[name][:, i].tolist() for i, name in enumerate(METRICS)}
    return {"metrics": own, "diverged": diverged.any(axis=1).tolist()}


def time_steps(
    config: Any, problem: Problem, names: Sequence[str], log: Callable
) -> dict[str, dict[str, float]]:
    """Milliseconds per step and the ratio to equal weighting, by name.

    What takes turns, in a shuffled order, is an epoch of one seed as one compiled
    program: so a rule that does its work every so many steps pays for it here. A ratio
    is the median of the ratios within a turn, so that a busy machine slows all alike.
    """
    one = jax.tree.map(lambda x: x[0], problem.seeds[:3])
    compiled, order = {}, np.random.default_rng(0)
    for name in dict.fromkeys(("equal", *names)):
        log(f"compiling {name} for its time")
        learn = learner(config, problem, RULES[name], 1)
        compiled[name] = jax.jit(learn).lower(*one).compile()
    spent = {name: np.zeros(config.turns) for name in compiled}
    for turn in range(-1, config.turns):  # the first one warms up
        log(f"timing, turn {max(turn, 0)}")
        for name in order.permutation(list(compiled)):
            begin = time.perf_counter()
            jax.block_until_ready(compiled[name](*one))
            if turn >= 0:
                spent[name][turn] = time.perf_counter() - begin
    return {
        name: {
            "ms per step": float(np.median(spent[name]) * 1e3 / config.epoch_steps),
            "time ratio": float(np.median(spent[name] / spent["equal"])),
        }
        for name in names
    }


class Kept:
    """What is finished, in one JSON file: a method is run once."""

    def __init__(self, path: Path):
        self.path = path
        self.records: dict[str, dict[str, Any]] = {}
        if path.exists():
            self.records = json.loads(path.read_text("utf-8"))

    def add(self, name: str, **facts: Any) -> None:
        """Puts the facts into a method's record, and all records onto the disk."""
        self.records[name] = {**self.records.get(name, {}), **facts}
        write_json(self.path, self.records)


def run(config: Any, problem: Problem, kept: Kept, log: Callable) -> dict[str, dict]:
    """Every method's record; those that are there already are not made again."""
    if SINGLE not in kept.records:
        log(SINGLE)
        kept.add(SINGLE, **single_tasks(config, problem))
    for name in config.chosen:
        if name not in kept.records:
            log(name)
            kept.add(name, **train(config, problem, RULES[name]))
    untimed = [n for n in config.chosen if "time ratio" not in kept.records[n]]
    if untimed:
        for name, times in time_steps(config, problem, untimed, log).items():
            kept.add(name, **times)
    return {name: kept.records[name] for name in (SINGLE, *config.chosen)}
