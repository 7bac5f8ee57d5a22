"""The table: all methods in one place, and all that they are built as."""

from __future__ import annotations

from auxjax import aggregation, weighting
from auxjax.rules import (
    _aggregators,
    _all_tasks,
    _around,
    _auxiliary,
    _balances,
    _weightings,
)
from auxjax.rules._build import autolambda, chained, dwa, made, uncertainty
from auxjax.rules._rule import COMPOSITION, Method, Rule

METHODS: dict[str, Method] = {
    row.name: row
    for row in (
        *_weightings.ROWS,
        *_all_tasks.WEIGHTINGS,
        *_auxiliary.ROWS,
        *_balances.WEIGHTINGS,
        *_aggregators.ROWS,
        *_all_tasks.AGGREGATORS,
        *_balances.AGGREGATORS,
        *_around.ROWS,
    )
}
"""By name: `equal` first, what every other rule is held against."""

RULES: dict[str, Rule] = {
    name: rule for row in METHODS.values() for name, rule in row.variants.items()
}
"""By name: the methods' variants in the same order, then compositions."""


def _compositions() -> dict[str, Rule]:
    """Auto-λ's Table 5: its weightings with its aggregators."""
    aggregators = {
        "graddrop": (made(aggregation.graddrop, "key"), False),
        "pcgrad": (made(aggregation.pcgrad, "key"), False),
        "cagrad": (made(aggregation.cagrad), True),
    }
    weightings = {
        "dwa": dwa(weighting.scale_by_dwa),
        "uncertainty": uncertainty(weighting.scale_by_uncertainty),
    }
    takes = METHODS["autolambda"].takes
    compositions = {}
    for second, (aggregate, mean) in aggregators.items():
        for first, weigh in weightings.items():
            both = chained(weigh, aggregate)
            compositions[f"{first}+{second}"] = Rule(COMPOSITION, both, mean=mean)
        auto = autolambda("all", aggregate, mean=mean)
        rule = Rule(COMPOSITION, auto, takes, around=True)
        compositions[f"autolambda+{second}"] = rule
    return compositions


RULES |= _compositions()
