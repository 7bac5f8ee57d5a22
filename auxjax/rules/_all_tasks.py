"""Rows of the table: more rules for tasks that all matter, of either kind."""

from __future__ import annotations

from auxjax import aggregation
from auxjax.rules._build import made
from auxjax.rules._rule import AGGREGATOR, Method, Rule

AGGREGATORS: tuple[Method, ...] = (
    Method(
        name="krum",
        title="Krum",
        kind=AGGREGATOR,
        paper="Blanchard et al., NeurIPS 2017",
        backward="T",
        tangent="0",
        when=(
            "Many rows for one aim, as workers send them, of which some may be "
            "anything: those that lie closest to one another are followed."
        ),
        when_not=(
            "Every task matters: what is not selected learns nothing, and tasks far "
            "from the majority never are. With two tasks the first is taken."
        ),
        situations=("all",),
        call="auxjax.krum()",
        figure_note="Of two equal scores the first task's counts: it goes alone.",
        variants={"krum": Rule(AGGREGATOR, made(aggregation.krum), mean=True)},
    ),
    Method(
        name="trimmed_mean",
        title="Trimmed mean",
        kind=AGGREGATOR,
        paper="Yin et al., ICML 2018, arXiv 1803.01498",
        backward="T",
        tangent="0",
        when=(
            "One task's gradient is at times absurdly long, and no task should move an "
            "element further than the others would."
        ),
        when_not=(
            "Gradients that are sparse or of unlike length: what only one task wants "
            "is cut. Below four tasks the default cuts nothing."
        ),
        situations=("all",),
        call="auxjax.trimmed_mean()",
        figure_note="With two tasks nothing can be cut: it is their mean.",
        variants={
            "trimmed_mean": Rule(AGGREGATOR, made(aggregation.trimmed_mean), mean=True)
        },
    ),
)
