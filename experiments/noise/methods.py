"""What is held against each other: Auto-λ in two ways, uncertainty, fixed weights."""

from __future__ import annotations

from typing import Any

import numpy as np

import auxjax
from lab.rules import AUXILIARY, WEIGHTING, Rule, Setting
from lab.training import SINGLE

EXACT, DIFFERENCE = "autolambda-main", "finite-difference"
UNCERTAINTY, EQUAL = "uncertainty", "equal"
METHODS = (EXACT, DIFFERENCE, UNCERTAINTY, EQUAL, SINGLE)
OLDER = {"alone": SINGLE}
"""What the methods of older commands are called now."""
TITLES = {
    EXACT: "Auto-λ, exact",
    DIFFERENCE: "Auto-λ, finite difference",
    SINGLE: "no auxiliary task",
}
LEARNED = (EXACT, DIFFERENCE, UNCERTAINTY)
"""The methods whose weights are learned."""
START = 0.1  # of λ


def autolambda(meta_gradient: str) -> Rule:
    """Auto-λ with the problem's primary tasks."""

    def build(setting):
        return auxjax.autolambda(
            setting.optimizer,
            num_tasks=setting.num_tasks,
            primary=setting.primary,
            init=START,
            lambda_optimizer=setting.learn(),
            meta_gradient=meta_gradient,
        )

    return Rule(AUXILIARY, build, ("meta_losses",), around=True)


def uncertainty(setting: Setting) -> Any:
    """All weights start at 1, as equal ones: exp(log 2) / 2."""
    return auxjax.uncertainty(
        setting.num_tasks,
        optimizer=setting.learn(),
        init_log_variance=-float(np.log(2)),
    )


def primaries_alone(setting: Setting) -> Any:
    """Weights of 1 for the primary tasks, of 0 for the others."""
    weights = np.zeros(setting.num_tasks)
    weights[[*setting.primary]] = 1
    return auxjax.fixed(weights)


RULES: dict[str, Rule] = {
    EXACT: autolambda("exact"),
    DIFFERENCE: autolambda("finite_difference"),
    UNCERTAINTY: Rule(WEIGHTING, uncertainty),
    EQUAL: Rule(WEIGHTING, lambda setting: auxjax.equal(setting.num_tasks)),
    SINGLE: Rule(WEIGHTING, primaries_alone),
}
