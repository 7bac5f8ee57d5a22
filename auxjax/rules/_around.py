"""Rows of the table: rules around rules that end in weights."""

from __future__ import annotations

from auxjax import aggregation
from auxjax.rules._build import around
from auxjax.rules._rule import AGGREGATOR, Method, Rule

ROWS: tuple[Method, ...] = (
    Method(
        name="periodic",
        title="PSMGD, weights every k-th step",
        kind=AGGREGATOR,
        paper="Xu et al., AAAI 2025, arXiv 2412.10961",
        backward="1",
        tangent="0",
        price_note="Every k-th step that of the rule inside, and one more.",
        when=(
            "A rule of T backward passes is right but too dear, and its weights change "
            "slowly: between two looks a step costs what equal weights cost."
        ),
        when_not=(
            "Weights that follow the batch, as gates do. A guarantee for every step "
            "(no task is harmed) holds at every k-th."
        ),
        situations=("all", "many", "rl"),
        call="auxjax.periodic(auxjax.upgrad(), every=10)",
        figure_note="Around UPGrad, whose weights are found every tenth step.",
        variants={
            "periodic": Rule(
                AGGREGATOR,
                around(aggregation.periodic, aggregation.upgrad, every=10),
                mean=True,
            )
        },
    ),
    Method(
        name="cr_mogm",
        title="CR-MOGM",
        kind=AGGREGATOR,
        paper="Zhou et al., NeurIPS 2022",
        backward="T + 1",
        tangent="0",
        price_note="T of them are the rule's inside, where it is one of the T rows.",
        when=(
            "Noisy batches under a rule that ends in weights: averaged, they no longer "
            "follow the batch whose gradients they multiply."
        ),
        when_not=(
            "The weights should answer at once, as at a conflict that comes and goes."
        ),
        situations=("all", "rl"),
        call="auxjax.cr_mogm(auxjax.mgda())",
        figure_note="Around MGDA.",
        variants={
            "cr_mogm": Rule(
                AGGREGATOR, around(aggregation.cr_mogm, aggregation.mgda), mean=True
            )
        },
    ),
)
