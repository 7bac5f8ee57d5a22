"""Every rule of auxjax as a whole optimizer, by name: one registry for all comparisons.

`RULES[name](setting)` is the optimizer: the rule in front of `setting.optimizer`, or
around it. A name is that of the function in `auxjax`; a variant follows after a hyphen
(`gcs-weighted`), what is chained after a plus (`dwa+pcgrad`).

>>> import optax
>>> setting = Setting(num_tasks=3, optimizer=optax.adam(1e-3), steps=1000)
>>> tx = RULES["cagrad"](setting)
>>> RULES["autolambda-all"].takes
('meta_losses',)

What a rule learns beside the network and its paper learns slowly (Auto-λ's λ,
uncertainty's variances, IMTL-L's scales, AuxiLearn's network) is learned by Adam at the
rate `travel / steps`, so that it gets about as far in a short training as in the
paper's. Everything else has its default. Nothing was tuned for any rule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import auxjax

WEIGHTING, AGGREGATOR = "weighting", "aggregator"
COMPOSITION, AUXILIARY = "composition", "main + auxiliary"
KINDS = (WEIGHTING, AGGREGATOR, COMPOSITION, AUXILIARY)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What rules want to know of the problem.

    Attributes:
      num_tasks: T; the first task is the main one, for rules that have one.
      optimizer: gradient → update.
      steps: of the whole training.
      epoch_steps: of one pass over the data.
      first_losses: `[T]`, about where each loss begins; empty: 1 each.
      classification: the indices of the tasks whose loss is a cross-entropy.
      primary: the indices of the tasks that count where a rule takes all of them as
        primary ones; empty: all.
      travel: how far Adam may move a learned weight in all. Auto-λ's 1e-4 over its
        40,000 steps on NYUv2 is 4.
      key: of what rules draw; None: each rule's default, the same in every training.
    """

    num_tasks: int
    optimizer: optax.GradientTransformation
    steps: int
    epoch_steps: int = 1
    first_losses: tuple[float, ...] = ()
    classification: tuple[int, ...] = ()
    primary: tuple[int, ...] = ()
    travel: float = 4.0
    key: jax.Array | None = None

    def learn(self, every: int = 1) -> optax.GradientTransformation:
        """The optimizer of a learned weight that moves every so many steps."""
        return optax.adam(self.travel * every / self.steps)


class Rule(NamedTuple):
    """One way to train on several losses.

    Attributes:
      kind: one of `KINDS`. Rules of the last want the first task to do well, and the
        others only as far as they help it.
      build: from a setting to Jacobian → gradient; or, where the rule is wrapped
        around the optimizer, to Jacobian → update.
      takes: extra arguments of the update: `meta_losses` (the losses on a second
        batch), `sample_losses` (the batch's losses, sample by sample), `next_losses`
        (those of the batch before, at the parameters of now).
      mean: whether its gradient is a mean of the tasks' and not a sum. It is multiplied
        by T, which for SGD is a learning rate times T; Adam does not care.
      around: whether `build` returns a whole optimizer.
    """

    kind: str
    build: Callable[[Setting], optax.GradientTransformation]
    takes: tuple[str, ...] = ()
    mean: bool = False
    around: bool = False

    def __call__(self, setting: Setting) -> optax.GradientTransformationExtraArgs:
        """The whole optimizer, Jacobian → update."""
        built = self.build(setting)
        if self.around:
            return optax.with_extra_args_support(built)
        times = [optax.scale(float(setting.num_tasks))] if self.mean else []
        return optax.chain(built, *times, setting.optimizer)


def _fixed(setting: Setting) -> Any:
    """What makes all losses alike where they begin; the weights sum to T."""
    weights = 1 / np.asarray(setting.first_losses or (1.0,) * setting.num_tasks)
    return auxjax.fixed(weights * setting.num_tasks / weights.sum())


def _uncertainty(rule: Callable) -> Callable[[Setting], Any]:
    return lambda setting: rule(
        setting.num_tasks,
        optimizer=setting.learn(),
        classification=setting.classification,
    )


def _stch(setting: Setting) -> Any:
    """The authors' recipe for networks: logarithms, a warm-up of four epochs.

    λ is 1 each and the whole is T times the maximum, so that it is a sum as in the
    warm-up: the same as λ = μ = T, of which only the ratio counts in the maximum.
    """
    num_tasks = setting.num_tasks
    return auxjax.stch(
        num_tasks,
        mu=float(num_tasks),
        preference=[float(num_tasks)] * num_tasks,
        log=True,
        warmup=4 * setting.epoch_steps,
        nadir_steps=setting.epoch_steps,
    )


def _dwa(rule: Callable) -> Callable[[Setting], Any]:
    """The mean losses of epochs."""
    return lambda setting: rule(setting.num_tasks, period=setting.epoch_steps)


def _autolambda(
    primary: int | str, aggregator: Callable | None = None, *, mean: bool = False
) -> Callable:
    """Around the optimizer; `aggregator` from a setting, `mean` as in `Rule`."""

    def build(setting):
        chosen = setting.primary if primary == "all" and setting.primary else primary
        options = {}
        if aggregator is not None:
            times = [optax.scale(float(setting.num_tasks))] if mean else []
            options["aggregator"] = optax.chain(aggregator(setting), *times)
        return auxjax.autolambda(
            setting.optimizer,
            num_tasks=setting.num_tasks,
            primary=chosen,
            lambda_optimizer=setting.learn(),
            **options,
        )

    return build


def _auxilearn(setting: Setting) -> Any:
    """Its network moves once per epoch."""
    every = setting.epoch_steps
    return auxjax.auxilearn(
        setting.num_tasks, every=every, optimizer=setting.learn(every)
    )


def _auxinash(setting: Setting) -> Any:
    """The powers move once per epoch."""
    return auxjax.auxinash(setting.num_tasks, every=setting.epoch_steps)


def _made(rule: Callable, *wants: str, **options: Any) -> Callable[[Setting], Any]:
    """A rule that wants some of `num_tasks`, `key`, and as `optimizer` Adam's rate."""

    def build(setting):
        known = {"num_tasks": setting.num_tasks, "key": setting.key}
        known["optimizer"] = setting.learn()
        return rule(**{name: known[name] for name in wants}, **options)

    return build


def _chained(*builds: Callable[[Setting], Any]) -> Callable[[Setting], Any]:
    return lambda setting: optax.chain(*(build(setting) for build in builds))


_META = ("meta_losses",)
_N, _KEY, _LEARN = "num_tasks", "key", "optimizer"

RULES: dict[str, Rule] = {
    "equal": Rule(WEIGHTING, _made(auxjax.equal, _N)),
    "fixed": Rule(WEIGHTING, _fixed),
    "uncertainty": Rule(WEIGHTING, _uncertainty(auxjax.uncertainty)),
    "revised_uncertainty": Rule(WEIGHTING, _uncertainty(auxjax.revised_uncertainty)),
    "dwa": Rule(WEIGHTING, _dwa(auxjax.dwa)),
    "rlw-normal": Rule(WEIGHTING, _made(auxjax.rlw, _N, _KEY), mean=True),
    "rlw-dirichlet": Rule(
        WEIGHTING,
        _made(auxjax.rlw, _N, _KEY, distribution="dirichlet"),
        mean=True,
    ),
    "gradnorm": Rule(WEIGHTING, _made(auxjax.gradnorm, _N)),
    "gls": Rule(WEIGHTING, _made(auxjax.gls, _N), mean=True),
    "stch": Rule(WEIGHTING, _stch),
    "imtl_l": Rule(WEIGHTING, _made(auxjax.imtl_l, _N, _LEARN)),
    "famo": Rule(WEIGHTING, _made(auxjax.famo, _N), ("next_losses",), mean=True),
    "log_loss": Rule(
        WEIGHTING, _chained(_made(auxjax.scale_by_log_loss), _made(auxjax.sum_tasks))
    ),
    "autolambda-all": Rule(WEIGHTING, _autolambda("all"), _META, around=True),
    "autolambda-main": Rule(AUXILIARY, _autolambda(0), _META, around=True),
    "olaux": Rule(AUXILIARY, _made(auxjax.olaux, _N)),
    "gcs": Rule(AUXILIARY, _made(auxjax.gcs, _N)),
    "gcs-weighted": Rule(AUXILIARY, _made(auxjax.gcs, _N, weighted=True)),
    "auxilearn": Rule(AUXILIARY, _auxilearn, _META),
    "auxinash": Rule(AUXILIARY, _auxinash, _META),
    "slgrad": Rule(
        AUXILIARY, _made(auxjax.slgrad, _N), (*_META, "sample_losses"), mean=True
    ),
    "mean_tasks": Rule(AGGREGATOR, _made(auxjax.mean_tasks), mean=True),
    "mgda": Rule(AGGREGATOR, _made(auxjax.mgda), mean=True),
    "pcgrad": Rule(AGGREGATOR, _made(auxjax.pcgrad, _KEY)),
    "gradvac": Rule(AGGREGATOR, _made(auxjax.gradvac, _N, _KEY)),
    "graddrop": Rule(AGGREGATOR, _made(auxjax.graddrop, _KEY)),
    "cagrad": Rule(AGGREGATOR, _made(auxjax.cagrad), mean=True),
    "imtl_g": Rule(AGGREGATOR, _made(auxjax.imtl_g), mean=True),
    "nash_mtl": Rule(AGGREGATOR, _made(auxjax.nash_mtl)),
    "aligned_mtl": Rule(AGGREGATOR, _made(auxjax.aligned_mtl), mean=True),
    "upgrad": Rule(AGGREGATOR, _made(auxjax.upgrad), mean=True),
    "dualproj": Rule(AGGREGATOR, _made(auxjax.dualproj), mean=True),
    "con_fig": Rule(AGGREGATOR, _made(auxjax.con_fig)),
    "fairgrad": Rule(AGGREGATOR, _made(auxjax.fairgrad)),
    "sdmgrad": Rule(AGGREGATOR, _made(auxjax.sdmgrad, _N, _KEY), mean=True),
}
"""By name; `equal` first, what every other rule is held against."""


def _compositions() -> dict[str, Rule]:
    """Auto-λ's Table 5: its weightings with its aggregators."""
    aggregators = {
        "graddrop": (_made(auxjax.graddrop, _KEY), False),
        "pcgrad": (_made(auxjax.pcgrad, _KEY), False),
        "cagrad": (_made(auxjax.cagrad), True),
    }
    weightings = {
        "dwa": _dwa(auxjax.scale_by_dwa),
        "uncertainty": _uncertainty(auxjax.scale_by_uncertainty),
    }
    found = {}
    for second, (aggregate, mean) in aggregators.items():
        for first, weigh in weightings.items():
            both = _chained(weigh, aggregate)
            found[f"{first}+{second}"] = Rule(COMPOSITION, both, mean=mean)
        auto = _autolambda("all", aggregate, mean=mean)
        found[f"autolambda+{second}"] = Rule(COMPOSITION, auto, _META, around=True)
    return found


RULES |= _compositions()


def spelled_out(names: tuple[str, ...], defaults: tuple[str, ...]) -> tuple[str, ...]:
    """The papers' short names in full: `multi`, and `autolambda` as in the defaults.

    Example:
      >>> spelled_out(("multi", "autolambda"), ("equal", "gcs", "autolambda-all"))
      ('equal', 'autolambda-all')
    """
    own = tuple(name for name in defaults if name.startswith("autolambda-"))
    full = {"multi": ("equal",), "autolambda": own or ("autolambda-main",)}
    return tuple(long for name in names for long in full.get(name, (name,)))


def check_names(names: tuple[str, ...]) -> None:
    """A ValueError that lists the names where one is unknown."""
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise ValueError(
            f"`methods` should be among {', '.join(RULES)}. Found {', '.join(unknown)}."
        )
