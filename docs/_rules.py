"""The chooser's questions; what the pages say of a rule is in `auxjax.rules`."""

from __future__ import annotations

from typing import NamedTuple

from auxjax.rules import AGGREGATOR, METHODS, WEIGHTING, Method

RULES: tuple[Method, ...] = tuple(METHODS.values())
WEIGHTINGS = tuple(row for row in RULES if row.kind == WEIGHTING)
AGGREGATORS = tuple(row for row in RULES if row.kind == AGGREGATOR)


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
