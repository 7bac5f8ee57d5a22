"""A problem and the optimizer that learns it by a rule, as `make_epoch` takes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import auxjax
from auxjax.run import RunError
from lab.problem import Problem
from lab.rules import Rule, Setting
from lab.training import Training


class Batches(NamedTuple):
    """The model's state; batch and key of the step before, and of this one."""

    model: Any
    last: Any
    now: Any
    last_key: jax.Array
    now_key: jax.Array


class Keyed(NamedTuple):
    """What a seed's rule draws by, and the rule's own state."""

    key: jax.Array | None
    inner: Any


def arrange(
    problem: Problem, rule: Rule | None, config: Training, key: jax.Array | None = None
) -> tuple[Problem, Any]:
    """The problem with all that the rule wants of it, and the whole optimizer.

    Args:
      problem: what there is to learn.
      rule: how; None: by the sum of what losses there are.
      config: of the script.
      key: of what the rule draws; it lies in the state, so that seeds which train
        together have one each. None: the rule's default.

    Raises:
      RunError: the rule weighs samples, and the problem has no losses by sample.
    """
    epoch_steps = problem.samples // config.batch_size
    steps = config.epochs * epoch_steps
    optimizer = problem.optimizer(steps)
    if rule is None:
        return problem, optax.chain(auxjax.sum_tasks(), optimizer)
    if "sample_losses" in rule.takes and problem.sample_losses is None:
        raise RunError(
            "`method` should not name a rule that weighs samples (slgrad): this "
            "experiment's losses are not there one by one. Found one."
        )
    given = Setting(
        num_tasks=len(problem.tasks),
        optimizer=optimizer,
        steps=steps,
        epoch_steps=epoch_steps,
        first_losses=problem.first_losses,
        classification=problem.classification,
        primary=problem.primary,
        num_labels=problem.num_labels,
        travel=problem.travel,
        clip_at_zero=problem.clip_at_zero,
    )
    tx = keyed(lambda key: rule(dataclasses.replace(given, key=key)), key)
    if {"sample_losses", "next_losses"} & set(rule.takes):
        return with_batches(problem, tx, config.batch_size)
    return problem, tx


def keyed(make: Callable[[Any], Any], key: jax.Array | None) -> Any:
    """An optimizer that is made by a key, which its state begins with and keeps."""

    def init_fn(params) -> Any:
        return Keyed(key, make(key).init(params))

    def update_fn(updates, state, params=None, **extra_args) -> Any:
        tx = make(state.key)
        updates, inner = tx.update(updates, state.inner, params, **extra_args)
        return updates, Keyed(state.key, inner)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


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
        values, model = problem.losses(params, state.model, batch, key)
        return values, Batches(model, state.now, batch, state.now_key, key)

    def evaluate(params, state, test):
        return problem.evaluate(params, state.model, test)

    def update_fn(updates, state, params=None, **extra_args):
        seen = updates.aux
        of = {"next_losses": (problem.losses, seen.last, seen.last_key)}
        if problem.sample_losses is not None:
            of["sample_losses"] = (problem.sample_losses, seen.now, seen.now_key)
        for name, (function, *drawn) in of.items():
            extra_args[name] = lambda p, f=function, a=drawn: f(p, seen.model, *a)[0]
        return tx.update(updates, state, params, **extra_args)

    given = problem._replace(init=init, losses=losses, evaluate=evaluate)
    return given, optax.GradientTransformationExtraArgs(tx.init, update_fn)
