"""Rows of the table: more rules for tasks that all matter, of either kind."""

from __future__ import annotations

from auxjax import aggregation, weighting
from auxjax.rules._build import dwa, made
from auxjax.rules._rule import AGGREGATOR, WEIGHTING, Method, Rule

WEIGHTINGS: tuple[Method, ...] = (
    Method(
        name="cosmos",
        title="COSMOS",
        kind=WEIGHTING,
        paper="Ruchte & Grabocka, ICDM 2021, arXiv 2103.13392",
        backward="1",
        tangent="0",
        when=(
            "One network for many preferences, drawn anew at every step and given to "
            "it as an input: the cosine spreads the losses over the Pareto front."
        ),
        when_not=(
            "Losses near zero, where the cosine's part, 1/‖L‖, takes over; losses of "
            "unlike sizes. Weights may be negative."
        ),
        situations=("all", "many"),
        call="auxjax.cosmos()",
        variants={
            "cosmos": Rule(WEIGHTING, made(weighting.cosmos, "num_tasks"), mean=True)
        },
    ),
    Method(
        name="go4align",
        title="GO4Align",
        kind=WEIGHTING,
        paper="Shen et al., NeurIPS 2024, arXiv 2404.06486",
        backward="1",
        tangent="0",
        when=(
            "Many tasks of a few kinds, with losses of unlike sizes: those that are "
            "alike share a weight, found anew in every step, and go together."
        ),
        when_not=(
            "Losses at or below zero. Two tasks, which leave nothing to group. A loss "
            "that stays high for good: exp(−βΣL) gives it up in the long run."
        ),
        situations=("all", "many"),
        call="auxjax.go4align()",
        figure_note=(
            "With two tasks each is a group of its own, and by L̄/Lᵢ the smaller loss "
            "has the larger weight: it ends at one task's minimum."
        ),
        variants={
            "go4align": Rule(
                WEIGHTING, made(weighting.go4align, "num_tasks"), mean=True
            )
        },
    ),
    Method(
        name="igb",
        title="Improvable gap balancing (IGB)",
        kind=WEIGHTING,
        paper="Dai et al., UAI 2023, arXiv 2307.15429",
        backward="1",
        tangent="0",
        when=(
            "Log losses, with more weight for the tasks that have the larger part of "
            "their way left; and behind it any aggregator, as in its paper."
        ),
        when_not=(
            "Losses at or below zero, or that end far above it: their gap stays and "
            "they keep their weight. Noisy single batches."
        ),
        situations=("all", "many"),
        call="auxjax.igb()",
        figure_note="Its base is the loss of the second step.",
        variants={"igb": Rule(WEIGHTING, dwa(weighting.igb))},
    ),
    Method(
        name="modo",
        title="MoDo",
        kind=WEIGHTING,
        paper="Chen et al., NeurIPS 2023, arXiv 2305.20057",
        backward="2",
        tangent="1",
        price_note=(
            "And a forward pass for each of `second_jacobian=` and `third_jacobian=`."
        ),
        when=(
            "MGDA's aim at a price that does not grow with the tasks, unbiased with a "
            "second batch: the weights make a step towards the shortest combination."
        ),
        when_not=(
            "Every step should descend every loss: λ follows slowly. Losses of unlike "
            "size: it moves with the square of the gradients' lengths."
        ),
        situations=("all", "many", "rl"),
        call="auxjax.modo()",
        figure_note="Of one batch, which is exact here: nothing is drawn.",
        variants={
            "modo": Rule(WEIGHTING, made(weighting.modo, "num_tasks"), mean=True)
        },
    ),
    Method(
        name="pbi",
        title="Penalty-based boundary intersection (PBI)",
        kind=WEIGHTING,
        paper="Zhang & Li, 2007",
        backward="1",
        tangent="0",
        when=(
            "You want the losses in a given proportion, and the point of the Pareto "
            "front that has it, concave parts too."
        ),
        when_not=(
            "Losses of unlike sizes, or whose lower bounds (`ideal=`) you do not know. "
            "Weights may be negative: a task ahead of its share is pushed back, and "
            "with a large θ training may stop wherever the losses have the proportion."
        ),
        situations=("all", "many"),
        call="auxjax.pbi(theta=1.0)",
        figure_note=(
            "With θ = 5 four of the five starts come to rest at (21, 21): on the line, "
            "far from the front."
        ),
        variants={"pbi": Rule(WEIGHTING, made(weighting.pbi, "num_tasks"))},
    ),
)

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
        name="moco",
        title="MoCo",
        kind=AGGREGATOR,
        paper="Fernando et al., ICLR 2023, arXiv 2210.12624",
        backward="T",
        tangent="0",
        price_note="And T times the parameters in memory from step to step.",
        when=(
            "MGDA's aim on small, noisy batches: weights and step follow averages of "
            "each task's gradient over many of them."
        ),
        when_not=(
            "Memory is dear (`sdmgrad` and `modo` draw a second batch instead). Losses "
            "of unlike size: λ moves with the square of the gradients' lengths."
        ),
        situations=("all", "rl"),
        call="auxjax.moco()",
        variants={
            "moco": Rule(AGGREGATOR, made(aggregation.moco, "num_tasks"), mean=True)
        },
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
