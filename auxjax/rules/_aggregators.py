"""Rows of the table: aggregators."""

from __future__ import annotations

from auxjax import aggregation
from auxjax.rules._build import made
from auxjax.rules._rule import AGGREGATOR, Method, Rule

ROWS: tuple[Method, ...] = (
    Method(
        name="sum_tasks",
        title="Sum",
        kind=AGGREGATOR,
        backward="1",
        tangent="0",
        when="Behind every weighting; alone it is equal weighting.",
        when_not="The tasks' gradients conflict, or one dwarfs the others.",
        situations=("main", "all", "many", "rl"),
        call="auxjax.sum_tasks()",
    ),
    Method(
        name="mean_tasks",
        title="Mean",
        kind=AGGREGATOR,
        backward="1",
        tangent="0",
        when=(
            "Behind a weighting where the number of tasks should not change the step "
            "size."
        ),
        when_not=(
            "Heads without an adaptive optimizer: each gets 1/T of its own gradient."
        ),
        situations=("all", "many", "rl"),
        call="auxjax.mean_tasks()",
        variants={
            "mean_tasks": Rule(AGGREGATOR, made(aggregation.mean_tasks), mean=True)
        },
    ),
    Method(
        name="mgda",
        title="MGDA",
        kind=AGGREGATOR,
        paper="Sener & Koltun, NeurIPS 2018, arXiv 1810.04650",
        backward="T",
        tangent="0",
        when="You want a step that lowers all losses, and to stop on the Pareto front.",
        when_not=(
            "One gradient is much shorter than the others: it alone sets the pace "
            "(scale the rows first). It stops anywhere on the front."
        ),
        situations=("all",),
        call="auxjax.mgda()",
        variants={"mgda": Rule(AGGREGATOR, made(aggregation.mgda), mean=True)},
    ),
    Method(
        name="pcgrad",
        title="PCGrad",
        kind=AGGREGATOR,
        paper="Yu et al., NeurIPS 2020, arXiv 2001.06782",
        backward="T",
        tangent="0",
        when="Gradients that conflict now and then, with no parameter to tune.",
        when_not=(
            "Many tasks: the order in which they meet matters more and more. It stops "
            "anywhere on the front."
        ),
        situations=("all", "rl"),
        call="auxjax.pcgrad()",
        variants={"pcgrad": Rule(AGGREGATOR, made(aggregation.pcgrad, "key"))},
    ),
    Method(
        name="gradvac",
        title="GradVac",
        kind=AGGREGATOR,
        paper="Wang et al., ICLR 2021, arXiv 2010.05874",
        backward="T",
        tangent="0",
        when=(
            "Tasks that are akin, as languages are: it also pulls together gradients "
            "that are less alike than usual."
        ),
        when_not="Tasks without a stable relation; a large T (T² targets per group).",
        situations=("all",),
        call="auxjax.gradvac()",
        variants={
            "gradvac": Rule(AGGREGATOR, made(aggregation.gradvac, "num_tasks", "key"))
        },
    ),
    Method(
        name="graddrop",
        title="GradDrop",
        kind=AGGREGATOR,
        paper="Chen et al., NeurIPS 2020, arXiv 2010.06808",
        backward="T",
        tangent="0",
        when=(
            "Conflicts within single weights, with noise that helps out of joint "
            "minima; a main task can be kept whole (`leak=`)."
        ),
        when_not=(
            "You want low-variance gradients: what survives is drawn anew for every "
            "weight."
        ),
        situations=("main", "all"),
        call="auxjax.graddrop()",
        variants={"graddrop": Rule(AGGREGATOR, made(aggregation.graddrop, "key"))},
    ),
    Method(
        name="cagrad",
        title="CAGrad",
        kind=AGGREGATOR,
        paper="Liu et al., NeurIPS 2021, arXiv 2110.14048",
        backward="T",
        tangent="0",
        when="You care about the mean loss, but want no task left behind on the way.",
        when_not="Losses of very different sizes: the mean is the largest one's.",
        situations=("all", "rl"),
        call="auxjax.cagrad(c=0.4)",
        variants={"cagrad": Rule(AGGREGATOR, made(aggregation.cagrad), mean=True)},
    ),
    Method(
        name="imtl_g",
        title="IMTL-G",
        kind=AGGREGATOR,
        paper="Liu et al., ICLR 2021",
        backward="T",
        tangent="0",
        when="Every task should advance alike, whatever its gradient's length.",
        when_not=(
            "Many or nearly parallel gradients: weights may be negative, and may turn "
            "the step against the tasks."
        ),
        situations=("all",),
        call="auxjax.imtl_g()",
        variants={"imtl_g": Rule(AGGREGATOR, made(aggregation.imtl_g), mean=True)},
    ),
    Method(
        name="nash_mtl",
        title="Nash-MTL",
        kind=AGGREGATOR,
        paper="Navon et al., ICML 2022, arXiv 2202.01017",
        backward="T",
        tangent="0",
        when=(
            "Losses of different units that all matter: multiplying one by a number "
            "changes nothing."
        ),
        when_not=(
            "The step's length should follow the gradients': it is √T here, or "
            "`max_norm`."
        ),
        situations=("all", "rl"),
        call="auxjax.nash_mtl()",
        variants={"nash_mtl": Rule(AGGREGATOR, made(aggregation.nash_mtl))},
    ),
    Method(
        name="aligned_mtl",
        title="Aligned-MTL",
        kind=AGGREGATOR,
        paper="Senushkin et al., CVPR 2023, arXiv 2305.19000",
        backward="T",
        tangent="0",
        when=(
            "Conflicting and dominating gradients at once: the rows are made "
            "orthogonal and equally long."
        ),
        when_not=(
            "Nearly parallel gradients: steps become as short as the smallest "
            "singular value."
        ),
        situations=("all",),
        call="auxjax.aligned_mtl()",
        variants={
            "aligned_mtl": Rule(AGGREGATOR, made(aggregation.aligned_mtl), mean=True)
        },
    ),
    Method(
        name="upgrad",
        title="UPGrad",
        kind=AGGREGATOR,
        paper="Quinton & Rey, 2024, arXiv 2406.16232",
        backward="T",
        tangent="0",
        when=(
            "No task may be harmed, and short gradients should not be drowned: each "
            "is projected by itself."
        ),
        when_not=(
            "Many tasks: T problems of size T per step. One task may well pay for the "
            "others."
        ),
        situations=("all",),
        call="auxjax.upgrad()",
        variants={"upgrad": Rule(AGGREGATOR, made(aggregation.upgrad), mean=True)},
    ),
    Method(
        name="dualproj",
        title="DualProj",
        kind=AGGREGATOR,
        paper="Lopez-Paz & Ranzato, NeurIPS 2017, arXiv 1706.08840",
        backward="T",
        tangent="0",
        when=(
            "No task may be harmed, and the mean (or with `preference=` the main "
            "task's gradient, others as constraints) should be changed as little as "
            "possible."
        ),
        when_not=(
            "Gradients of very different lengths: the longest decides what is "
            "projected."
        ),
        situations=("main", "all"),
        call="auxjax.dualproj()",
        variants={"dualproj": Rule(AGGREGATOR, made(aggregation.dualproj), mean=True)},
    ),
    Method(
        name="con_fig",
        title="ConFIG",
        kind=AGGREGATOR,
        paper="Liu et al., ICLR 2025, arXiv 2408.11104",
        backward="T",
        tangent="0",
        when=(
            "Losses of very different sizes that all have to go to zero, as the "
            "equation and the boundary of a physics-informed network."
        ),
        when_not="More tasks than directions: no direction has equal cosines then.",
        situations=("all",),
        call="auxjax.con_fig()",
        variants={"con_fig": Rule(AGGREGATOR, made(aggregation.con_fig))},
    ),
    Method(
        name="fairgrad",
        title="FairGrad",
        kind=AGGREGATOR,
        paper="Ban & Ji, ICML 2024, arXiv 2402.15638",
        backward="T",
        tangent="0",
        when=(
            "You want to choose between the sum and the worst-off task: α goes from "
            "one to the other."
        ),
        when_not=(
            "Losses of different units, unless α is 1 (Nash's bargain, which ignores "
            "them)."
        ),
        situations=("all",),
        call="auxjax.fairgrad()",
        variants={"fairgrad": Rule(AGGREGATOR, made(aggregation.fairgrad))},
    ),
    Method(
        name="sdmgrad",
        title="SDMGrad",
        kind=AGGREGATOR,
        paper="Xiao et al., NeurIPS 2023, arXiv 2305.18409",
        backward="T",
        tangent="0",
        price_note="T more for each of `second_jacobian=` and `third_jacobian=`.",
        when=(
            "Noisy gradients: independent batches make the estimate of J Jᵀ unbiased, "
            "λ keeps the step near the mean."
        ),
        when_not="Batches are dear: each further Jacobian is T backward passes more.",
        situations=("all", "rl"),
        call="auxjax.sdmgrad()",
        variants={
            "sdmgrad": Rule(
                AGGREGATOR, made(aggregation.sdmgrad, "num_tasks", "key"), mean=True
            )
        },
    ),
)
