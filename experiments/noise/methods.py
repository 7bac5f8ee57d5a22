"""What is held against each other: Auto-λ in four ways, uncertainty, fixed weights."""

from __future__ import annotations

from typing import Any

import numpy as np

import auxjax
from lab.rules import (
    AUXILIARY,
    CONSTANTS,
    WEIGHTING,
    Rule,
    Setting,
    constant,
    to_mean_one,
)
from lab.training import SINGLE

EXACT, DIFFERENCE = "autolambda-main", "finite-difference"
SOFTMAX, SUM = "autolambda-softmax", "autolambda-sum"
UNCERTAINTY, EQUAL = "uncertainty", "equal"
METHODS = (EXACT, DIFFERENCE, UNCERTAINTY, EQUAL, SINGLE)
CONSTANT = tuple(f"constant-{weight}" for weight in CONSTANTS)
SCALES = (EXACT, SOFTMAX, SUM, EQUAL, *CONSTANT, SINGLE)
"""What tells a weight's scale, which is a learning rate, from who counts more."""
KNOWN = tuple(dict.fromkeys((*METHODS, *SCALES)))
OLDER = {"alone": SINGLE}
"""What the methods of older commands are called now."""
TITLES = {
    EXACT: "Auto-λ, exact",
    DIFFERENCE: "Auto-λ, finite difference",
    SOFTMAX: "Auto-λ, softmax",
    SUM: "Auto-λ, mean weight 1",
    UNCERTAINTY: "uncertainty",
    EQUAL: "all weights 1",
    SINGLE: "no auxiliary task",
    **{f"constant-{weight}": f"all weights {weight}" for weight in CONSTANTS},
}
LEARNED = (EXACT, DIFFERENCE, SOFTMAX, SUM, UNCERTAINTY)
"""The methods whose weights are learned."""
START = 0.1  # of λ


def autolambda(*, to_sum: bool = False, **form: Any) -> Rule:
    """Auto-λ with the problem's primary tasks.

    Args:
      to_sum: apply its λ at a mean of 1, behind the lookahead.
      form: options of `auxjax.autolambda`; raw λ begin at `START`.
    """

    def build(setting):
        start = None if "parametrisation" in form else START
        return auxjax.autolambda(
            setting.optimizer,
            num_tasks=setting.num_tasks,
            primary=setting.primary,
            init=start,
            lambda_optimizer=setting.learn(),
            aggregator=to_mean_one(setting.num_tasks) if to_sum else None,
            **form,
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
    EXACT: autolambda(),
    DIFFERENCE: autolambda(meta_gradient="finite_difference"),
    SOFTMAX: autolambda(parametrisation="softmax"),
    SUM: autolambda(to_sum=True),
    UNCERTAINTY: Rule(WEIGHTING, uncertainty),
    EQUAL: Rule(WEIGHTING, lambda setting: auxjax.equal(setting.num_tasks)),
    SINGLE: Rule(WEIGHTING, primaries_alone),
    **{f"constant-{weight}": constant(weight) for weight in CONSTANTS},
}
