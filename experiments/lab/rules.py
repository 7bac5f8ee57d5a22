"""The table of rules (`auxjax.rules`), what they are held against, and their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optax

import auxjax
from auxjax.rules import AUXILIARY, KINDS, RULES, WEIGHTING, Rule, Setting

__all__ = [
    "AUXILIARY",
    "BY_NAME",
    "CONSTANTS",
    "KINDS",
    "RULES",
    "WEIGHTING",
    "Rule",
    "Setting",
    "check_names",
    "constant",
    "spelled_out",
    "to_mean_one",
]


CONSTANTS = (0.1, 0.3)
"""The weight of every task, beside the 1 of `equal`."""


def constant(weight: float) -> Rule:
    """Every task's weight, the main one's too: for SGD a learning rate and no more."""

    def build(setting: Setting) -> Any:
        return auxjax.fixed([float(weight)] * setting.num_tasks)

    return Rule(WEIGHTING, build)


def to_mean_one(num_tasks: int) -> Any:
    """Sums rows whose weights it brought to a mean of 1: Auto-λ's `aggregator`.

    It stands behind the lookahead. In front of it a λ below zero would let the sum
    cross zero.
    """
    return optax.chain(auxjax.scale_to_sum(num_tasks=num_tasks), auxjax.sum_tasks())


def autolambda(every: bool, *, to_sum: bool = False, **form: Any) -> Rule:
    """Auto-λ without a scale of its own, so that nothing is left but who counts more.

    Args:
      every: whether all of a problem's primary tasks count, or the first task alone.
      to_sum: learn raw λ, and apply them at a mean of 1.
      form: options of `auxjax.autolambda`.
    """

    def build(setting: Setting) -> Any:
        aggregator = to_mean_one(setting.num_tasks) if to_sum else None
        return auxjax.autolambda(
            setting.optimizer,
            num_tasks=setting.num_tasks,
            primary=(setting.primary or "all") if every else 0,
            lambda_optimizer=setting.learn(),
            aggregator=aggregator,
            **form,
        )

    kind = WEIGHTING if every else AUXILIARY
    return Rule(kind, build, ("meta_losses",), around=True)


OWN: dict[str, Rule] = {f"constant-{weight}": constant(weight) for weight in CONSTANTS}
OWN["autolambda-sum"] = autolambda(every=False, to_sum=True)
OWN["autolambda-all-sum"] = autolambda(every=True, to_sum=True)
OWN["autolambda-all-softmax"] = autolambda(every=True, parametrisation="softmax")
BY_NAME: dict[str, Rule] = {**RULES, **OWN}
"""Every rule that a script may name: the library's, and what they are held against."""


def spelled_out(names: tuple[str, ...], defaults: tuple[str, ...]) -> tuple[str, ...]:
    """The papers' short names in full: `multi`, and `autolambda` as in the defaults.

    Example:
      >>> spelled_out(("multi", "autolambda"), ("equal", "gcs", "autolambda-all"))
      ('equal', 'autolambda-all')
    """
    own = tuple(name for name in defaults if name.startswith("autolambda-"))
    full = {"multi": ("equal",), "autolambda": own or ("autolambda-main",)}
    return tuple(long for name in names for long in full.get(name, (name,)))


def check_names(field: str, names: Sequence[str], known: Sequence[str]) -> None:
    """A ValueError that lists the names where one is unknown.

    Args:
      field: what the command line calls them.
      names: what it says.
      known: what it may say.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"`{field}` should be among {', '.join(known)}. Found {', '.join(unknown)}."
        )
