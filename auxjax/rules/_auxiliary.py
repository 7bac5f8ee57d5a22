"""Rows of the table: weightings that serve a main task."""

from __future__ import annotations

from auxjax import weighting
from auxjax.rules._build import (
    autolambda,
    auxilearn,
    auxinash,
    chained,
    made,
    olaux_of_logs,
    select_then_train,
)
from auxjax.rules._rule import AUXILIARY, WEIGHTING, Method, Rule

ROWS: tuple[Method, ...] = (
    Method(
        name="autolambda",
        title="Auto-λ",
        kind=WEIGHTING,
        paper="Liu et al., TMLR 2022, arXiv 2202.03091",
        backward="3",
        tangent="1",
        price_note=(
            "And a forward pass on the second batch. `reuse_lookahead=True`: 2 "
            "backward passes."
        ),
        when=(
            "Weights should lower the primary tasks' loss on other data one step "
            'ahead: one task (auxiliary learning), several, or all (`primary="all"`).'
        ),
        when_not=(
            "A second batch is dear, as on-policy. One step ahead says little about "
            "the end of the training: λ is learned slowly, and a short run ends "
            "before."
        ),
        situations=("main", "all", "many"),
        takes=("meta_losses",),
        call="auxjax.autolambda(optax.adam(1e-3))",
        figure_note="The first task is the primary one.",
        variants={
            "autolambda-all": Rule(
                WEIGHTING, autolambda("all"), ("meta_losses",), around=True
            ),
            "autolambda-main": Rule(
                AUXILIARY, autolambda(0), ("meta_losses",), around=True
            ),
            "autolambda-softmax": Rule(
                AUXILIARY,
                autolambda(0, parametrisation="softmax"),
                ("meta_losses",),
                around=True,
            ),
            "autolambda-log-exp": Rule(
                AUXILIARY,
                chained(
                    made(weighting.scale_by_log_loss),
                    autolambda(0, parametrisation="exp", meta_objective="log"),
                ),
                ("meta_losses",),
                around=True,
            ),
        },
    ),
    Method(
        name="olaux",
        title="OL-AUX",
        kind=WEIGHTING,
        paper="Lin et al., NeurIPS 2019",
        backward="2",
        tangent="1",
        price_note=(
            "With two tasks: two backward passes in all. `smoothing` above 1: T. "
            "Cosines: T more, or `sketch` tangent passes."
        ),
        when=(
            "Helpers of a main task, however many, with no data beside the training "
            "batch. Made for reinforcement learning."
        ),
        when_not=(
            "All tasks matter. The learning rate of the weights goes with the square "
            "of the gradients' size: without `scale_by_log_loss` it wants tuning."
        ),
        situations=("main", "many", "rl"),
        call="optax.chain(auxjax.scale_by_log_loss(), auxjax.olaux(clip_at_zero=True))",
        figure_note=(
            "The first task is the main one. Logarithms as in the paper; weights at "
            "or above 0 as in the released code: a hindering task is given up, not "
            "fought."
        ),
        variants={
            "olaux": Rule(
                AUXILIARY, made(weighting.olaux, "num_tasks", "clip_at_zero")
            ),
            "olaux-log": Rule(AUXILIARY, olaux_of_logs()),
            "olaux-log-sum": Rule(AUXILIARY, olaux_of_logs(own_heads=True)),
            "olaux-cosine": Rule(
                AUXILIARY,
                olaux_of_logs(inner_products="cosine", update="exponentiated"),
            ),
        },
    ),
    Method(
        name="select_then_train",
        title="Select by OL-AUX, then train",
        kind=WEIGHTING,
        backward="1",
        tangent="0",
        price_note=(
            "While it searches (a quarter of the steps, `search_steps=`): OL-AUX's 2 "
            "backward and 1 tangent."
        ),
        when=(
            "Helpers of unknown worth, and you know how many labels each task has: "
            "who helps is found by OL-AUX, how much they weigh by counting."
        ),
        when_not=(
            "No time for a search, data that change while you train (reinforcement "
            "learning), or a helper's worth that changes."
        ),
        situations=("main", "many"),
        call="auxjax.select_then_train(optax.adam(1e-2), search_steps=50)",
        figure_note=(
            "The first task is the main one; after 50 steps it goes back to the start."
        ),
        variants={"select_then_train": Rule(AUXILIARY, select_then_train, around=True)},
    ),
    Method(
        name="gcs",
        title="Gradient cosine similarity (GCS)",
        kind=WEIGHTING,
        paper="Du et al., 2018, arXiv 1812.02224",
        backward="2",
        tangent="1",
        price_note=(
            "`weighted`, a threshold or `ema`: T + 2, or 2 and `sketch` tangent "
            "passes more. `per_layer` or two tasks: T in all."
        ),
        when=(
            "Helpers that help early and hinder late: each step takes only those that "
            "point the main task's way, and forgets nothing since it learns nothing."
        ),
        when_not=(
            "All tasks matter. Noisy gradients: the sign of one batch's cosine is a "
            "coin toss in many dimensions; average it (`ema=`)."
        ),
        situations=("main", "many", "rl"),
        call="auxjax.gcs()",
        figure_note="The first task is the main one.",
        variants={
            "gcs": Rule(AUXILIARY, made(weighting.gcs, "num_tasks")),
            "gcs-weighted": Rule(
                AUXILIARY, made(weighting.gcs, "num_tasks", weighted=True)
            ),
        },
    ),
    Method(
        name="auxilearn",
        title="AuxiLearn",
        kind=WEIGHTING,
        paper="Navon et al., ICLR 2021, arXiv 2007.02693",
        backward="1",
        tangent="0",
        price_note=(
            "Every 50th step (`every=`) a forward and backward pass on held-out data, "
            "`num_terms` Hessian products and a tangent pass more."
        ),
        when=(
            "Few labels of the main task, and held-out data of it: the weights (or a "
            "small network of the losses) follow the loss where training would *end*."
        ),
        when_not=(
            "Training is far from any minimum: the implicit function theorem holds at "
            "one. The series needs a step size that fits the curvature."
        ),
        situations=("main",),
        takes=("meta_losses",),
        call="auxjax.auxilearn()",
        figure_note="The first task is the main one.",
        variants={"auxilearn": Rule(AUXILIARY, auxilearn, ("meta_losses",))},
    ),
    Method(
        name="auxinash",
        title="AuxiNash",
        kind=WEIGHTING,
        paper="Shamsian et al., ICML 2023, arXiv 2301.13501",
        backward="T + 1",
        tangent="0",
        price_note=(
            "Every 25th step (`every=`) a forward and backward pass on held-out data, "
            "`num_terms` Hessian products and a tangent pass more."
        ),
        when=(
            "Nash-MTL's bargain, but only one task counts in the end: what each may "
            "ask for is learned from held-out data. No task vanishes meanwhile."
        ),
        when_not=(
            "Many tasks. Training is far from any minimum: the implicit function "
            "theorem holds at one. Near the Pareto front α grows, and the series with "
            'a fixed step size diverges: `solver="cg"` with damping does not.'
        ),
        situations=("main",),
        takes=("meta_losses",),
        call='auxjax.auxinash(solver="cg", damping=0.1)',
        figure_note=(
            "The first task is the main one. Conjugate gradients, since the series "
            "diverges near the front, where α grows and the curvature with it."
        ),
        variants={"auxinash": Rule(AUXILIARY, auxinash, ("meta_losses",))},
    ),
    Method(
        name="slgrad",
        title="SLGrad",
        kind=WEIGHTING,
        paper="Grégoire et al., Applied Intelligence 2024, arXiv 2306.04519",
        backward="2",
        tangent="1",
        price_note=(
            "One of them, with its forward pass, on held-out data of the main task. "
            "`lookahead` above 0: one backward pass more."
        ),
        when=(
            "Some *samples* of a task help and others hinder, as with noisy labels: "
            "it weighs every sample of every task by what it does for the main task."
        ),
        when_not=(
            "Losses of single samples are not to be had, as with contrastive losses. "
            "All tasks matter."
        ),
        situations=("main",),
        takes=("sample_losses", "meta_losses"),
        call="auxjax.slgrad()",
        figure_note="The first task is the main one; a task has one sample here.",
        variants={
            "slgrad": Rule(
                AUXILIARY,
                made(weighting.slgrad, "num_tasks"),
                ("meta_losses", "sample_losses"),
                mean=True,
            )
        },
    ),
)
