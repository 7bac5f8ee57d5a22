"""Rows of the table: mixtures, balances of gradients, and a main task that leads."""

from __future__ import annotations

from auxjax import aggregation, weighting
from auxjax.rules._build import made
from auxjax.rules._rule import AGGREGATOR, AUXILIARY, WEIGHTING, Method, Rule

WEIGHTINGS: tuple[Method, ...] = (
    Method(
        name="dga",
        title="Dynamic gradient alignment (DGA)",
        kind=WEIGHTING,
        paper="Fan et al., 2024, arXiv 2410.02498",
        backward="2",
        tangent="1",
        price_note="Cosines: T backward passes more. In every `every`-th step only.",
        when=(
            "Many helpers or domains of data that share a budget: a mixture that "
            "follows what helps the main task, also as probabilities to draw batches "
            "by (`dga_probabilities`)."
        ),
        when_not=(
            "All of them hinder: somebody has to get the weight. What is drawn less is "
            "still drawn, never fought; one that helped early takes long to lose it."
        ),
        situations=("main", "many"),
        call="auxjax.dga()",
        figure_note=(
            "With a single helper there is nothing to mix: equal weights, as "
            "[there](equal.md)."
        ),
        variants={"dga": Rule(AUXILIARY, made(weighting.dga, "num_tasks"))},
    ),
    Method(
        name="metabalance",
        title="MetaBalance",
        kind=WEIGHTING,
        paper="He et al., WWW 2022, arXiv 2203.06801",
        backward="T",
        tangent="0",
        price_note="`per_layer=False`: T + 1, and no row in memory.",
        when=(
            "Helpers whose gradients dwarf the main task's or are dwarfed by them, in "
            "other layers differently: they pull about as hard as it does, and r says "
            "how nearly."
        ),
        when_not=(
            "Some helpers hinder: it looks at lengths, not at directions. Near the "
            "main task's optimum it silences all others with it."
        ),
        situations=("main",),
        call="auxjax.metabalance()",
        figure_note="The first task is the main one.",
        variants={
            "metabalance": Rule(AUXILIARY, made(weighting.metabalance, "num_tasks"))
        },
    ),
    Method(
        name="balance_at",
        title="Balancing at a layer or an output (VQGAN, EnCodec)",
        kind=WEIGHTING,
        paper="Esser et al., CVPR 2021, arXiv 2012.09841",
        backward="T + 1",
        tangent="0",
        price_note=(
            "The T passes go no deeper than `where`: with the last layer the whole is "
            "little more than 1."
        ),
        when=(
            "Losses of one output whose sizes are unknown or change, an adversarial "
            "one beside a reconstruction above all: a generator's usual recipe."
        ),
        when_not=(
            "Tasks with heads of their own: no place is common to all but deep in the "
            "trunk (`metabalance`, `gradnorm`). It looks at lengths alone."
        ),
        situations=("main", "all"),
        call="auxjax.balance_at(True)",
        figure_note=(
            "All parameters are one leaf here; `where` would be the last layer's. The "
            "first task is the main one."
        ),
        variants={
            "balance_at": Rule(
                AUXILIARY, made(weighting.balance_at, "num_tasks", where=True)
            )
        },
    ),
    Method(
        name="excess_mtl",
        title="ExcessMTL",
        kind=WEIGHTING,
        paper="He et al., ICML 2024, arXiv 2402.02009",
        backward="T",
        tangent="0",
        price_note="It keeps T times the parameters (those in `where`).",
        when=(
            "All tasks matter and some have noisy labels: weight goes to those that "
            "are far from their own optimum, not to those whose loss is large."
        ),
        when_not=(
            "Small batches: the noise of a gradient counts as distance. A large "
            "network with many tasks: it keeps a square for each parameter and task."
        ),
        situations=("all",),
        call="auxjax.excess_mtl()",
        variants={
            "excess_mtl": Rule(
                WEIGHTING, made(weighting.excess_mtl, "num_tasks"), mean=True
            )
        },
    ),
)

AGGREGATORS: tuple[Method, ...] = (
    Method(
        name="db_mtl",
        title="Dual balancing (DB-MTL)",
        kind=AGGREGATOR,
        paper="Lin et al., 2023, arXiv 2308.12029",
        backward="T",
        tangent="0",
        price_note="With `beta` it keeps T times the parameters.",
        when=(
            "Losses and gradients of very different sizes, none more important: each "
            "task has the same share in a step as long as the longest gradient's."
        ),
        when_not=(
            "A task is done, or is noise: it pulls as hard as the others to the end. "
            "Losses at or below zero have no logarithm (`log=False`)."
        ),
        situations=("all",),
        call="auxjax.db_mtl()",
        variants={"db_mtl": Rule(AGGREGATOR, made(aggregation.db_mtl, "num_tasks"))},
    ),
    Method(
        name="pcd",
        title="Priority-constrained descent (PCD)",
        kind=AGGREGATOR,
        paper="Varam & AlHajri, TMLR 2026, arXiv 2606.29521",
        backward="T",
        tangent="0",
        when=(
            "The main task decides, and the others (a penalty, a constraint, a helper) "
            "need a guaranteed share of progress in every step: one number τ, whatever "
            "the losses' units."
        ),
        when_not=(
            "The others conflict with the main task in the end: each step must help "
            "them, so it slides along the Pareto front to *their* best (τ = 0 stops on "
            "the front). Many tasks: constraints that contradict each other are all "
            "dropped."
        ),
        situations=("main",),
        call="auxjax.pcd(tau=0.1)",
        figure_note=(
            "The first task is the main one; the second is helped in every step, and "
            "so to its own best in the end."
        ),
        variants={"pcd": Rule(AGGREGATOR, made(aggregation.pcd, "num_tasks"))},
    ),
)
