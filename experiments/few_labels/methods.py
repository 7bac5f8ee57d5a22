"""What is held against each other: the rules, and weights picked by hand."""

from __future__ import annotations

from typing import Any

import auxjax
from few_labels.data import GOOD
from lab.rules import RULES, WEIGHTING, Rule, Setting
from lab.training import SINGLE

HAND = (1, 30, 1000)
"""Weights of the three helpers that help, who are known only here."""
HELPERS_AT = (0.1, 0.3)
"""Weights of all helpers alike, beside the 1 of `equal`."""


def by_hand(weight: float) -> Rule:
    """The helpers that help get a weight, the others none: nobody knows them."""

    def build(setting: Setting) -> Any:
        others = setting.num_tasks - 1 - len(GOOD)
        return auxjax.fixed([1.0] + [float(weight)] * len(GOOD) + [0.0] * others)

    return Rule(WEIGHTING, build)


def by_labels(setting: Setting) -> Any:
    """The helpers that help weigh as many times as they have more labels."""
    ratio = setting.num_labels[1] / setting.num_labels[0]
    return by_hand(ratio).build(setting)


def helpers_at(weight: float) -> Rule:
    """All helpers get one weight."""

    def build(setting: Setting) -> Any:
        return auxjax.fixed([1.0] + [float(weight)] * (setting.num_tasks - 1))

    return Rule(WEIGHTING, build)


OWN: dict[str, Rule] = {f"hand-{weight}": by_hand(weight) for weight in HAND}
OWN["hand-labels"] = Rule(WEIGHTING, by_labels)
OWN |= {f"helpers-{weight}": helpers_at(weight) for weight in HELPERS_AT}
KNOWN = (SINGLE, *OWN, *RULES)
ALL = "all"
DEFAULT = (
    SINGLE,
    "equal",
    *(f"helpers-{weight}" for weight in HELPERS_AT),
    "gcs",
    "autolambda-main",
    "autolambda-softmax",
    "autolambda-log-exp",
    "olaux",
    "log_loss",
    "olaux-log",
    "olaux-log-sum",
    "olaux-cosine",
    "select_then_train",
    *(f"hand-{weight}" for weight in HAND),
    "hand-labels",
)
TITLES: dict[str, str] = {
    SINGLE: "main task alone",
    "equal": "equal weights",
    "log_loss": "log losses, equal weights",
    "olaux": "OL-AUX, losses as they are",
    "olaux-log": "OL-AUX, log losses",
    "olaux-log-sum": "OL-AUX, log losses, weights summing to T",
    "olaux-cosine": "OL-AUX, log losses, cosines, exponentiated",
    "select_then_train": "select by OL-AUX, then train",
    "autolambda-main": "Auto-λ",
    "autolambda-softmax": "Auto-λ, softmax",
    "autolambda-log-exp": "Auto-λ, log losses, exp",
    "gcs": "gradient cosine similarity",
    "hand-labels": "good helpers by hand, weight by labels",
    **{f"hand-{weight}": f"good helpers by hand, weight {weight}" for weight in HAND},
    **{f"helpers-{w}": f"all helpers, weight {w}" for w in HELPERS_AT},
}
