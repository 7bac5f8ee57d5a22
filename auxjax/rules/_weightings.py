"""Rows of the table: weightings by which all tasks should do well."""

from __future__ import annotations

from auxjax import aggregation, weighting
from auxjax.rules._build import chained, dwa, fixed, made, stch, uncertainty
from auxjax.rules._rule import WEIGHTING, Method, Rule

ROWS: tuple[Method, ...] = (
    Method(
        name="equal",
        title="Equal weighting",
        kind=WEIGHTING,
        backward="1",
        tangent="0",
        when=(
            "As the yardstick, with weights that are logged as every other rule's are."
        ),
        when_not="Losses of very different sizes: the largest one dominates.",
        situations=("main", "all", "many", "rl"),
        call="auxjax.equal()",
        variants={"equal": Rule(WEIGHTING, made(weighting.equal, "num_tasks"))},
    ),
    Method(
        name="fixed",
        title="Fixed weights",
        kind=WEIGHTING,
        backward="1",
        tangent="0",
        when=(
            "You know the weights, or can afford to search for them; with `[1, 0, …]` "
            "it is the main task alone, the other yardstick."
        ),
        when_not=(
            "More than a few tasks: the search grows with their number. The best "
            "weights change while you train."
        ),
        situations=("main", "all", "many", "rl"),
        call="auxjax.fixed([1.0, 0.0])",
        figure_note="The first task alone: the second loss ends where it may.",
        variants={"fixed": Rule(WEIGHTING, fixed)},
    ),
    Method(
        name="uncertainty",
        title="Uncertainty weighting",
        kind=WEIGHTING,
        paper="Kendall et al., CVPR 2018, arXiv 1705.07115",
        backward="1",
        tangent="0",
        when=(
            "Losses that are log-likelihoods of different units: regression beside "
            "classification."
        ),
        when_not=(
            "A loss goes to zero: its weight grows without bound. Losses below zero "
            "turn the noise level into a runaway."
        ),
        situations=("all", "many"),
        call="auxjax.uncertainty()",
        variants={"uncertainty": Rule(WEIGHTING, uncertainty(weighting.uncertainty))},
    ),
    Method(
        name="revised_uncertainty",
        title="Revised uncertainty weighting",
        kind=WEIGHTING,
        paper="Liebel & Körner, 2018, arXiv 1805.06334",
        backward="1",
        tangent="0",
        when=(
            "As uncertainty weighting, with a total loss that stays above zero: you "
            "watch or compare it."
        ),
        when_not="Losses below zero.",
        situations=("all", "many"),
        call="auxjax.revised_uncertainty()",
        variants={
            "revised_uncertainty": Rule(
                WEIGHTING, uncertainty(weighting.revised_uncertainty)
            )
        },
    ),
    Method(
        name="dwa",
        title="Dynamic weight average (DWA)",
        kind=WEIGHTING,
        paper="Liu et al., CVPR 2019, arXiv 1803.10704",
        backward="1",
        tangent="0",
        when=(
            "Losses fall at different speeds over epochs: the slow ones get more "
            "weight, within bounds."
        ),
        when_not=(
            "Losses at or below zero. Noisy single batches (`period=` averages). "
            "Losses of different sizes: it looks at ratios only."
        ),
        situations=("all", "many"),
        call="auxjax.dwa()",
        variants={"dwa": Rule(WEIGHTING, dwa(weighting.dwa))},
    ),
    Method(
        name="rlw",
        title="Random loss weighting (RLW)",
        kind=WEIGHTING,
        paper="Lin et al., TMLR 2022, arXiv 2111.10603",
        backward="1",
        tangent="0",
        when="As the control: what a learned rule gains over noise on the weights.",
        when_not="You want the same weights twice, or a low variance of the gradient.",
        situations=("all", "many"),
        call="auxjax.rlw()",
        variants={
            "rlw-normal": Rule(
                WEIGHTING, made(weighting.rlw, "num_tasks", "key"), mean=True
            ),
            "rlw-dirichlet": Rule(
                WEIGHTING,
                made(weighting.rlw, "num_tasks", "key", distribution="dirichlet"),
                mean=True,
            ),
        },
    ),
    Method(
        name="gradnorm",
        title="GradNorm",
        kind=WEIGHTING,
        paper="Chen et al., ICML 2018, arXiv 1711.02257",
        backward="T + 1",
        tangent="0",
        price_note=(
            "The T passes go no deeper than `where`. `sketch=m`: 1 backward and m "
            "tangent passes. Two tasks: two backward passes in all."
        ),
        when=(
            "Tasks learn at different speeds, and the shared layer's gradients should "
            "say how much each counts."
        ),
        when_not=(
            "Many tasks, unless `where=` is one small layer (the paper's way) or "
            "norms are estimated (`sketch=`). Losses at or below zero."
        ),
        situations=("all",),
        call="auxjax.gradnorm()",
        variants={"gradnorm": Rule(WEIGHTING, made(weighting.gradnorm, "num_tasks"))},
    ),
    Method(
        name="gls",
        title="Geometric loss strategy (GLS)",
        kind=WEIGHTING,
        paper="Chennupati et al., CVPR Workshops 2019, arXiv 1904.08492",
        backward="1",
        tangent="0",
        when=(
            "Losses of different units, all above zero, none more important; no "
            "hyper-parameter at all."
        ),
        when_not=(
            "Losses at or below zero. One loss near zero: it gets nearly all the "
            "weight."
        ),
        situations=("all", "many"),
        call="auxjax.gls()",
        variants={"gls": Rule(WEIGHTING, made(weighting.gls, "num_tasks"), mean=True)},
    ),
    Method(
        name="stch",
        title="Smooth Tchebycheff (STCH)",
        kind=WEIGHTING,
        paper="Lin et al., ICML 2024, arXiv 2402.19078",
        backward="1",
        tangent="0",
        when=(
            "The worst task counts, or you want a given point of the Pareto front: "
            "with a small `mu` its `preference` reaches every one, concave parts too."
        ),
        when_not=(
            "Losses of unlike sizes, unless `log=True` or a nadir makes them alike."
        ),
        situations=("all", "many"),
        call="auxjax.stch()",
        variants={"stch": Rule(WEIGHTING, stch)},
    ),
    Method(
        name="imtl_l",
        title="IMTL-L",
        kind=WEIGHTING,
        paper="Liu et al., ICLR 2021",
        backward="1",
        tangent="0",
        when=(
            "Losses of different units should weigh alike, smoothly; with `imtl_g` "
            "behind it, it is the paper's IMTL."
        ),
        when_not="Losses at or below zero: their scale stands still.",
        situations=("all", "many"),
        call="auxjax.imtl_l()",
        variants={
            "imtl_l": Rule(WEIGHTING, made(weighting.imtl_l, "num_tasks", "optimizer"))
        },
    ),
    Method(
        name="famo",
        title="FAMO",
        kind=WEIGHTING,
        paper="Liu et al., NeurIPS 2023, arXiv 2306.03792",
        backward="1",
        tangent="0",
        price_note="`next_losses=`: a forward pass more.",
        when=(
            "Many tasks that should all make progress, at the price of equal weighting."
        ),
        when_not=(
            "Losses at or below their lower bound. Noisy batches without "
            "`next_losses=`: it takes the change from batch to batch for progress."
        ),
        situations=("all", "many", "rl"),
        call="auxjax.famo(decay=1e-5)",
        figure_note=(
            "γ is the least of those in the released code: the default holds the "
            "weights nearly equal here."
        ),
        variants={
            "famo": Rule(
                WEIGHTING,
                made(weighting.famo, "num_tasks"),
                ("next_losses",),
                mean=True,
            )
        },
    ),
    Method(
        name="log_loss",
        title="Log losses (adaptive loss balancing)",
        kind=WEIGHTING,
        paper="Hu et al., 2017, arXiv 1708.06832",
        backward="1",
        tangent="0",
        when=(
            "Losses come in different units: ∇ log L forgets them. Put it before "
            "another rule, as OL-AUX's paper does."
        ),
        when_not=(
            "A loss at or below zero has no logarithm and is passed on as it is; one "
            "that goes to zero gets an endless weight (`offset=` bounds it)."
        ),
        situations=("main", "all", "many", "rl"),
        call="optax.chain(auxjax.scale_by_log_loss(), auxjax.sum_tasks())",
        variants={
            "log_loss": Rule(
                WEIGHTING,
                chained(made(weighting.scale_by_log_loss), made(aggregation.sum_tasks)),
            )
        },
    ),
    Method(
        name="scale_to_sum",
        title="Applied weights that sum to T",
        kind=WEIGHTING,
        backward="1",
        tangent="0",
        price_note="`own_heads=True`: the heads' share of a second one.",
        when=(
            "Behind any weighting, under an optimizer that feels a gradient's size "
            "(SGD): logarithms of losses near zero and weights in the thousands no "
            "longer lengthen the step. And to compare rules at one total weight."
        ),
        when_not=(
            "In the lookahead of Auto-λ. The rule's scale is what you want of it, as "
            "with a loss that should fade away."
        ),
        situations=("main", "all", "many", "rl"),
        call=(
            "optax.chain(auxjax.scale_by_log_loss(), auxjax.scale_to_sum(), "
            "auxjax.sum_tasks())"
        ),
        figure_note="Behind log losses.",
        variants={
            "scale_to_sum": Rule(
                WEIGHTING,
                chained(
                    made(weighting.scale_by_log_loss),
                    made(weighting.scale_to_sum, "num_tasks"),
                    made(aggregation.sum_tasks),
                ),
            )
        },
    ),
)
