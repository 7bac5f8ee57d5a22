"""Every rule in one table: what it costs, and when to use it.

The pages of the rules and the chooser are made from this table and from the docstrings.
Prices are passes over the model in one step, the final backward pass counted; equal
weighting costs one forward and one backward pass.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """One row: a rule of `auxjax`, by the name of its page."""

    name: str
    title: str
    kind: str  # "weighting" or "aggregator"
    backward: str
    tangent: str
    when: str
    when_not: str
    situations: tuple[str, ...]  # keys of SITUATIONS
    call: str  # what the figure shows, an expression over `auxjax` and `optax`
    price_note: str = ""
    takes: tuple[str, ...] = ()  # extra arguments of the update, see `_toy.py`
    figure_note: str = ""


class Situation(NamedTuple):
    """One question of the chooser."""

    title: str
    advice: str


SITUATIONS = {
    "main": Situation(
        "One main task and helpers",
        "Only the first loss counts in the end; the others are there to help it. "
        "Train on the main task alone and with equal weights first: `fixed([1, 0, "
        "…])` and `equal()` are what a rule has to beat. Then `olaux`, which needs "
        "nothing but the batch that you have; `gcs` where helpers turn from friends "
        "to enemies while you train; `autolambda` where a second batch is at hand.",
    ),
    "all": Situation(
        "All tasks matter",
        "No loss is a means to another's end. If they differ in size, make them alike "
        "first: `scale_by_log_loss`, `uncertainty` or `imtl_l` cost nothing. If they "
        "still get in each other's way, take an aggregator: `nash_mtl` and `imtl_g` "
        "do not care about the losses' sizes, `cagrad` stays near the mean, `upgrad` "
        "harms no task. Tuned fixed weights are a strong rival of all of them ([Kurin "
        "et al., 2022](https://arxiv.org/abs/2201.04122), [Xin et al., "
        "2022](https://arxiv.org/abs/2209.11379)), and by their paper so are random "
        "ones, `rlw`. On five tasks of digits (`experiments/compare_rules.py`) most "
        "rules, these among them, could not be told from equal weights or were below "
        "them: measure.",
    ),
    "many": Situation(
        "Many tasks",
        "From a dozen tasks on, what is paid once per task decides. The rules below "
        "cost the same with 2 tasks or 200. `famo` balances the tasks' progress from "
        "the losses alone; `olaux`, `gcs` and `autolambda` see the gradients through "
        "one tangent pass. Rules that write all gradients down cost T backward "
        "passes, and T times the memory of the shared gradient.",
    ),
    "rl": Situation(
        "Reinforcement learning",
        "Gradients are noisy, batches are used once, and a policy-gradient loss is "
        "below zero half of the time: rules that need losses above zero leave it "
        "alone there. For auxiliary losses on one agent: "
        '`scale_by_log_loss("auxiliary")` with `olaux` behind it, or `gcs` with a '
        "moving average. For one agent on many worlds: `pcgrad`, `cagrad`, "
        "`nash_mtl`, `sdmgrad` or `famo`, whose papers train on Meta-World's MT10.",
    ),
}

WEIGHTINGS = (
    Rule(
        "equal",
        "Equal weighting",
        "weighting",
        "1",
        "0",
        "As the yardstick, with weights that are logged as every other rule's are.",
        "Losses of very different sizes: the largest one dominates.",
        ("main", "all", "many", "rl"),
        "auxjax.equal()",
    ),
    Rule(
        "fixed",
        "Fixed weights",
        "weighting",
        "1",
        "0",
        "You know the weights, or can afford to search for them; with `[1, 0, …]` it "
        "is the main task alone, the other yardstick.",
        "More than a few tasks: the search grows with their number. The best weights "
        "change while you train.",
        ("main", "all", "many", "rl"),
        "auxjax.fixed([1.0, 0.0])",
        figure_note="The first task alone: the second loss ends where it may.",
    ),
    Rule(
        "log_loss",
        "Log losses (adaptive loss balancing)",
        "weighting",
        "1",
        "0",
        "Losses come in different units: ∇ log L forgets them. Put it before another "
        "rule, as OL-AUX's paper does.",
        "A loss at or below zero has no logarithm and is passed on as it is; one that "
        "goes to zero gets an endless weight (`offset=` bounds it).",
        ("main", "all", "many", "rl"),
        "optax.chain(auxjax.scale_by_log_loss(), auxjax.sum_tasks())",
    ),
    Rule(
        "olaux",
        "OL-AUX",
        "weighting",
        "2",
        "1",
        "Helpers of a main task, however many, with no data beside the training "
        "batch. Made for reinforcement learning.",
        "All tasks matter. The learning rate of the weights goes with the square of "
        "the gradients' size: without `scale_by_log_loss` it wants tuning.",
        ("main", "many", "rl"),
        "optax.chain(auxjax.scale_by_log_loss(), auxjax.olaux(clip_at_zero=True))",
        price_note="With two tasks: two backward passes in all. `smoothing` above 1: "
        "T.",
        figure_note="The first task is the main one. Logarithms as in the paper; "
        "weights at or above 0 as in the released code: a hindering task "
        "is given up, not fought.",
    ),
    Rule(
        "gcs",
        "Gradient cosine similarity (GCS)",
        "weighting",
        "2",
        "1",
        "Helpers that help early and hinder late: each step takes only those that "
        "point the main task's way, and forgets nothing since it learns nothing.",
        "All tasks matter. Noisy gradients: the sign of one batch's cosine is a coin "
        "toss in many dimensions; average it (`ema=`).",
        ("main", "many", "rl"),
        "auxjax.gcs()",
        price_note="`weighted`, a threshold or `ema`: T + 2, or 2 and `sketch` "
        "tangent passes more. `per_layer` or two tasks: T in all.",
        figure_note="The first task is the main one.",
    ),
    Rule(
        "autolambda",
        "Auto-λ",
        "weighting",
        "3",
        "1",
        "Weights should lower the primary tasks' loss on other data one step ahead: "
        'one task (auxiliary learning), several, or all (`primary="all"`).',
        "A second batch is dear, as on-policy. One step ahead says little about the "
        "end of the training: λ is learned slowly, and a short run ends before.",
        ("main", "all", "many"),
        "auxjax.autolambda(optax.adam(1e-3))",
        price_note="And a forward pass on the second batch. `reuse_lookahead=True`: 2 "
        "backward passes.",
        takes=("meta_losses",),
        figure_note="The first task is the primary one.",
    ),
    Rule(
        "slgrad",
        "SLGrad",
        "weighting",
        "2",
        "1",
        "Some *samples* of a task help and others hinder, as with noisy labels: it "
        "weighs every sample of every task by what it does for the main task.",
        "Losses of single samples are not to be had, as with contrastive losses. All "
        "tasks matter.",
        ("main",),
        "auxjax.slgrad()",
        price_note="One of them, with its forward pass, on held-out data of the main "
        "task. `lookahead` above 0: one backward pass more.",
        takes=("sample_losses", "meta_losses"),
        figure_note="The first task is the main one; a task has one sample here.",
    ),
    Rule(
        "auxilearn",
        "AuxiLearn",
        "weighting",
        "1",
        "0",
        "Few labels of the main task, and held-out data of it: the weights (or a "
        "small network of the losses) follow the loss where training would *end*.",
        "Training is far from any minimum: the implicit function theorem holds at "
        "one. The series needs a step size that fits the curvature.",
        ("main",),
        "auxjax.auxilearn()",
        price_note="Every 50th step (`every=`) a forward and backward pass on "
        "held-out data, `num_terms` Hessian products and a tangent pass "
        "more.",
        takes=("meta_losses",),
        figure_note="The first task is the main one.",
    ),
    Rule(
        "auxinash",
        "AuxiNash",
        "weighting",
        "T + 1",
        "0",
        "Nash-MTL's bargain, but only one task counts in the end: what each may ask "
        "for is learned from held-out data. No task vanishes meanwhile.",
        "Many tasks. Training is far from any minimum: the implicit function theorem "
        "holds at one. Near the Pareto front α grows, and the series with a fixed step "
        'size diverges: `solver="cg"` with damping does not.',
        ("main",),
        'auxjax.auxinash(solver="cg", damping=0.1)',
        price_note="Every 25th step (`every=`) a forward and backward pass on "
        "held-out data, `num_terms` Hessian products and a tangent pass "
        "more.",
        takes=("meta_losses",),
        figure_note="The first task is the main one. Conjugate gradients, since the "
        "series diverges near the front, where α grows and the curvature with it.",
    ),
    Rule(
        "uncertainty",
        "Uncertainty weighting",
        "weighting",
        "1",
        "0",
        "Losses that are log-likelihoods of different units: regression beside "
        "classification.",
        "A loss goes to zero: its weight grows without bound. Losses below zero turn "
        "the noise level into a runaway.",
        ("all", "many"),
        "auxjax.uncertainty()",
    ),
    Rule(
        "revised_uncertainty",
        "Revised uncertainty weighting",
        "weighting",
        "1",
        "0",
        "As uncertainty weighting, with a total loss that stays above zero: you watch "
        "or compare it.",
        "Losses below zero.",
        ("all", "many"),
        "auxjax.revised_uncertainty()",
    ),
    Rule(
        "dwa",
        "Dynamic weight average (DWA)",
        "weighting",
        "1",
        "0",
        "Losses fall at different speeds over epochs: the slow ones get more weight, "
        "within bounds.",
        "Losses at or below zero. Noisy single batches (`period=` averages). Losses "
        "of different sizes: it looks at ratios only.",
        ("all", "many"),
        "auxjax.dwa()",
    ),
    Rule(
        "rlw",
        "Random loss weighting (RLW)",
        "weighting",
        "1",
        "0",
        "As the control: what a learned rule gains over noise on the weights.",
        "You want the same weights twice, or a low variance of the gradient.",
        ("all", "many"),
        "auxjax.rlw()",
    ),
    Rule(
        "gls",
        "Geometric loss strategy (GLS)",
        "weighting",
        "1",
        "0",
        "Losses of different units, all above zero, none more important; no "
        "hyper-parameter at all.",
        "Losses at or below zero. One loss near zero: it gets nearly all the weight.",
        ("all", "many"),
        "auxjax.gls()",
    ),
    Rule(
        "stch",
        "Smooth Tchebycheff (STCH)",
        "weighting",
        "1",
        "0",
        "The worst task counts, or you want a given point of the Pareto front: with a "
        "small `mu` its `preference` reaches every one, concave parts too.",
        "Losses of unlike sizes, unless `log=True` or a nadir makes them alike.",
        ("all", "many"),
        "auxjax.stch()",
    ),
    Rule(
        "imtl_l",
        "IMTL-L",
        "weighting",
        "1",
        "0",
        "Losses of different units should weigh alike, smoothly; with `imtl_g` behind "
        "it, it is the paper's IMTL.",
        "Losses at or below zero: their scale stands still.",
        ("all", "many"),
        "auxjax.imtl_l()",
    ),
    Rule(
        "famo",
        "FAMO",
        "weighting",
        "1",
        "0",
        "Many tasks that should all make progress, at the price of equal weighting.",
        "Losses at or below their lower bound. Noisy batches without `next_losses=`: "
        "it takes the change from batch to batch for progress.",
        ("all", "many", "rl"),
        "auxjax.famo(decay=1e-5)",
        price_note="`next_losses=`: a forward pass more.",
        figure_note="γ is the least of those in the released code: the default holds "
        "the weights nearly equal here.",
    ),
    Rule(
        "gradnorm",
        "GradNorm",
        "weighting",
        "T + 1",
        "0",
        "Tasks learn at different speeds, and the shared layer's gradients should say "
        "how much each counts.",
        "Many tasks, unless `where=` is one small layer (the paper's way) or norms "
        "are estimated (`sketch=`). Losses at or below zero.",
        ("all",),
        "auxjax.gradnorm()",
        price_note="The T passes go no deeper than `where`. `sketch=m`: 1 backward "
        "and m tangent passes. Two tasks: two backward passes in all.",
    ),
)

AGGREGATORS = (
    Rule(
        "sum_tasks",
        "Sum",
        "aggregator",
        "1",
        "0",
        "Behind every weighting; alone it is equal weighting.",
        "The tasks' gradients conflict, or one dwarfs the others.",
        ("main", "all", "many", "rl"),
        "auxjax.sum_tasks()",
    ),
    Rule(
        "mean_tasks",
        "Mean",
        "aggregator",
        "1",
        "0",
        "Behind a weighting where the number of tasks should not change the step size.",
        "Heads without an adaptive optimizer: each gets 1/T of its own gradient.",
        ("all", "many", "rl"),
        "auxjax.mean_tasks()",
    ),
    Rule(
        "mgda",
        "MGDA",
        "aggregator",
        "T",
        "0",
        "You want a step that lowers all losses, and to stop on the Pareto front.",
        "One gradient is much shorter than the others: it alone sets the pace (scale "
        "the rows first). It stops anywhere on the front.",
        ("all",),
        "auxjax.mgda()",
    ),
    Rule(
        "pcgrad",
        "PCGrad",
        "aggregator",
        "T",
        "0",
        "Gradients that conflict now and then, with no parameter to tune.",
        "Many tasks: the order in which they meet matters more and more. It stops "
        "anywhere on the front.",
        ("all", "rl"),
        "auxjax.pcgrad()",
    ),
    Rule(
        "gradvac",
        "GradVac",
        "aggregator",
        "T",
        "0",
        "Tasks that are akin, as languages are: it also pulls together gradients that "
        "are less alike than usual.",
        "Tasks without a stable relation; a large T (T² targets per group).",
        ("all",),
        "auxjax.gradvac()",
    ),
    Rule(
        "graddrop",
        "GradDrop",
        "aggregator",
        "T",
        "0",
        "Conflicts within single weights, with noise that helps out of joint minima; "
        "a main task can be kept whole (`leak=`).",
        "You want low-variance gradients: what survives is drawn anew for every "
        "weight.",
        ("main", "all"),
        "auxjax.graddrop()",
    ),
    Rule(
        "cagrad",
        "CAGrad",
        "aggregator",
        "T",
        "0",
        "You care about the mean loss, but want no task left behind on the way.",
        "Losses of very different sizes: the mean is the largest one's.",
        ("all", "rl"),
        "auxjax.cagrad(c=0.4)",
    ),
    Rule(
        "imtl_g",
        "IMTL-G",
        "aggregator",
        "T",
        "0",
        "Every task should advance alike, whatever its gradient's length.",
        "Many or nearly parallel gradients: weights may be negative, and may turn the "
        "step against the tasks.",
        ("all",),
        "auxjax.imtl_g()",
    ),
    Rule(
        "nash_mtl",
        "Nash-MTL",
        "aggregator",
        "T",
        "0",
        "Losses of different units that all matter: multiplying one by a number "
        "changes nothing.",
        "The step's length should follow the gradients': it is √T here, or `max_norm`.",
        ("all", "rl"),
        "auxjax.nash_mtl()",
    ),
    Rule(
        "aligned_mtl",
        "Aligned-MTL",
        "aggregator",
        "T",
        "0",
        "Conflicting and dominating gradients at once: the rows are made orthogonal "
        "and equally long.",
        "Nearly parallel gradients: steps become as short as the smallest singular "
        "value.",
        ("all",),
        "auxjax.aligned_mtl()",
    ),
    Rule(
        "upgrad",
        "UPGrad",
        "aggregator",
        "T",
        "0",
        "No task may be harmed, and short gradients should not be drowned: each is "
        "projected by itself.",
        "Many tasks: T problems of size T a step. One task may well pay for the "
        "others.",
        ("all",),
        "auxjax.upgrad()",
    ),
    Rule(
        "dualproj",
        "DualProj",
        "aggregator",
        "T",
        "0",
        "No task may be harmed, and the mean (or with `preference=` the main task's "
        "gradient, others as constraints) should be changed as little as possible.",
        "Gradients of very different lengths: the longest decides what is projected.",
        ("main", "all"),
        "auxjax.dualproj()",
    ),
    Rule(
        "con_fig",
        "ConFIG",
        "aggregator",
        "T",
        "0",
        "Losses of very different sizes that all have to go to zero, as the equation "
        "and the boundary of a physics-informed network.",
        "More tasks than directions: no direction has equal cosines then.",
        ("all",),
        "auxjax.con_fig()",
    ),
    Rule(
        "fairgrad",
        "FairGrad",
        "aggregator",
        "T",
        "0",
        "You want to choose between the sum and the worst-off task: α goes from one "
        "to the other.",
        "Losses of different units, unless α is 1 (Nash's bargain, which ignores "
        "them).",
        ("all",),
        "auxjax.fairgrad()",
    ),
    Rule(
        "sdmgrad",
        "SDMGrad",
        "aggregator",
        "T",
        "0",
        "Noisy gradients: independent batches make the estimate of J Jᵀ unbiased, λ "
        "keeps the step near the mean.",
        "Batches are dear: each further Jacobian is T backward passes more.",
        ("all", "rl"),
        "auxjax.sdmgrad()",
        price_note="T more for each of `second_jacobian=` and `third_jacobian=`.",
    ),
)

RULES = WEIGHTINGS + AGGREGATORS
