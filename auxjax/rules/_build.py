"""How rules are built from a setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optax

from auxjax import aggregation, weighting
from auxjax.rules._rule import Setting

Build = Callable[[Setting], Any]


def made(rule: Callable, *wants: str, **options: Any) -> Build:
    """A rule that wants some of a setting, and as `optimizer` Adam's rate."""

    def build(setting):
        own = ("num_tasks", "key", "clip_at_zero")
        known = {name: getattr(setting, name) for name in own}
        known["optimizer"] = setting.learn()
        return rule(**{name: known[name] for name in wants}, **options)

    return build


def chained(*builds: Build) -> Build:
    """One behind the other."""
    return lambda setting: optax.chain(*(build(setting) for build in builds))


def around(wrapper: Callable, rule: Callable, **options: Any) -> Build:
    """One around another that has its defaults."""
    return lambda setting: wrapper(rule(), num_tasks=setting.num_tasks, **options)


def fixed(setting: Setting) -> Any:
    """What makes all losses alike where they begin; the weights sum to T."""
    weights = 1 / np.asarray(setting.first_losses or (1.0,) * setting.num_tasks)
    return weighting.fixed(weights * setting.num_tasks / weights.sum())


def uncertainty(rule: Callable) -> Build:
    """It wants to know which losses are cross-entropies."""
    return lambda setting: rule(
        setting.num_tasks,
        optimizer=setting.learn(),
        classification=setting.classification,
    )


def stch(setting: Setting) -> Any:
    """The authors' recipe for networks: logarithms, a warm-up of four epochs.

    λ is 1 each and the whole is T times the maximum, so that it is a sum as in the
    warm-up: the same as λ = μ = T, of which only the ratio counts in the maximum.
    """
    num_tasks = setting.num_tasks
    return weighting.stch(
        num_tasks,
        mu=float(num_tasks),
        preference=[float(num_tasks)] * num_tasks,
        log=True,
        warmup=4 * setting.epoch_steps,
        nadir_steps=setting.epoch_steps,
    )


def dwa(rule: Callable) -> Build:
    """The mean losses of epochs."""
    return lambda setting: rule(setting.num_tasks, period=setting.epoch_steps)


def olaux_of_logs(*, own_heads: bool = False, **options: Any) -> Build:
    """OL-AUX on log losses, as in its paper; `own_heads`: at a total weight of T."""
    parts = [
        made(weighting.scale_by_log_loss),
        made(
            weighting.scale_by_olaux,
            "num_tasks",
            "clip_at_zero",
            learning_rate=0.03,
            **options,
        ),
    ]
    if own_heads:
        parts.append(made(weighting.scale_to_sum, "num_tasks", own_heads=True))
    return chained(*parts, made(aggregation.sum_tasks))


def select_then_train(setting: Setting) -> Any:
    """A quarter of the steps is for the search."""
    return weighting.select_then_train(
        setting.optimizer,
        search_steps=max(1, setting.steps // 4),
        num_tasks=setting.num_tasks,
        num_labels=setting.num_labels or None,
    )


def autolambda(
    primary: int | str,
    aggregator: Build | None = None,
    *,
    mean: bool = False,
    **form: Any,
) -> Build:
    """Around the optimizer; `aggregator` from a setting, `mean` as in `Rule`."""

    def build(setting):
        chosen = setting.primary if primary == "all" and setting.primary else primary
        options = dict(form)
        if aggregator is not None:
            times = [optax.scale(float(setting.num_tasks))] if mean else []
            options["aggregator"] = optax.chain(aggregator(setting), *times)
        return weighting.autolambda(
            setting.optimizer,
            num_tasks=setting.num_tasks,
            primary=chosen,
            lambda_optimizer=setting.learn(),
            **options,
        )

    return build


def auxilearn(setting: Setting) -> Any:
    """Its network moves once per epoch."""
    every = setting.epoch_steps
    return weighting.auxilearn(
        setting.num_tasks, every=every, optimizer=setting.learn(every)
    )


def auxinash(setting: Setting) -> Any:
    """The powers move once per epoch."""
    return weighting.auxinash(setting.num_tasks, every=setting.epoch_steps)
