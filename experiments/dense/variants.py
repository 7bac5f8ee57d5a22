"""What to train in each study of `dense_prediction.py`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import optax

import auxjax
from lab.rules import AUXILIARY, BY_NAME, Rule, Setting
from lab.training import SINGLE

STUDIES = {
    "methods": "Every method, multi-task and auxiliary (Table 1)",
    "compositions": "Weightings with aggregators (Table 5)",
    "robustness": "Auto-λ's hyper-parameters (Table 4)",
    "groupings": "Fixed groups of tasks (Figure 5)",
}
NOISE = "noise"


class Variant(NamedTuple):
    """One training, of all seeds.

    Attributes:
      label: for tables and bars.
      method: a name out of `BY_NAME`, or `single`.
      setting: "single", "multi-task" or "auxiliary": with the noise task.
      architecture: "split" or "mtan".
      tasks: the losses in order; the main one's first.
      counted: the tasks whose metrics count.
      rule: instead of `BY_NAME[method]`.
      second_stream: of the batches that look ahead.
      shown: whether its predictions are drawn.
    """

    label: str
    method: str
    setting: str
    architecture: str
    tasks: tuple[str, ...]
    counted: tuple[str, ...]
    rule: Rule | None = None
    second_stream: str = "reshuffled"
    shown: bool = False

    @property
    def folder(self) -> str:
        """The name of its folder."""
        main = f"-{self.counted[0]}" if len(self.counted) == 1 else ""
        name = f"{self.architecture}-{self.setting}-{self.label}{main}"
        return "".join(c if c.isalnum() or c in "-+=." else "_" for c in name)

    @property
    def how(self) -> dict[str, Any]:
        """What `lab.loop.train` wants to know beside the method."""
        own = ("label", "rule", "second_stream")
        return {name: getattr(self, name) for name in own}


def full_label(variant: Variant) -> str:
    """The label, with the main task where only one counts."""
    main = f" [{variant.counted[0]}]" if len(variant.counted) == 1 else ""
    return variant.label + main


def check(config: Any) -> None:
    """Raises a ValueError where options do not go together."""
    if config.backbone == "pixels" and "mtan" in config.architecture:
        raise ValueError(
            "`architecture` should be split where `backbone` is pixels, as with "
            f"`--smoke`. Found {' '.join(config.architecture)}."
        )
    chosen = config.method != type(config).method or config.setting != "both"
    if config.study != "methods" and chosen:
        raise ValueError(
            f"`method` and `setting` should not be given with the study {config.study},"
            f" which has its own. Found {' '.join(config.method)} and {config.setting}."
        )
    kinds = {BY_NAME[name].kind for name in config.method if name != SINGLE}
    if config.setting == "multi" and kinds <= {AUXILIARY}:
        raise ValueError(
            "`method` should name one that takes all tasks alike where `setting` is "
            f"multi. Found {' '.join(config.method)}."
        )


def variants(config: Any, tasks: tuple[str, ...]) -> list[Variant]:
    """All of a study; the single-task networks come first.

    They are what Δ_MTL compares with, for either architecture, as in the paper: `split`
    networks with one head. The first two variants that learn all tasks are drawn,
    preferably equal weights and Auto-λ.
    """
    make = {
        "methods": _methods,
        "compositions": _compositions,
        "robustness": _robustness,
        "groupings": _groupings,
    }[config.study]
    planned = [Variant(SINGLE, SINGLE, SINGLE, "split", (t,), (t,)) for t in tasks]
    for architecture in config.architecture:
        planned += make(config, tasks, architecture)
    whole = [v for v in planned if set(v.counted) == set(tasks)]
    whole.sort(key=lambda v: v.method not in ("equal", "autolambda-all"))
    return [v._replace(shown=v in whole[:2]) for v in planned]


def smoke_choices(config: Any) -> dict[str, Any]:
    """Of methods one; other studies have their own."""
    if config.study != "methods":
        return {}
    return {"method": ("equal",), "setting": "auxiliary"}


def few(chosen: Sequence[Variant], study: str) -> list[Variant]:
    """One single-task network and the first variant; of methods, one of each."""
    first: dict[str, Variant] = {}
    for variant in chosen:
        first.setdefault(variant.method, variant)
    return list(first.values())[: None if study == "methods" else 2]


def _methods(config: Any, tasks: Sequence[str], architecture: str) -> Iterator[Variant]:
    tasks, noisy = tuple(tasks), (*tasks, NOISE)
    for method in config.method:
        if method == SINGLE:
            continue
        if BY_NAME[method].kind == AUXILIARY:
            if config.setting != "multi":
                yield from _each_as_main(method, noisy, architecture)
            continue
        one = Variant(method, method, "multi-task", architecture, tasks, tasks)
        if config.setting != "auxiliary":
            yield one
        if config.setting != "multi":
            yield one._replace(setting="auxiliary", tasks=noisy)


def _each_as_main(
    method: str, noisy: tuple[str, ...], architecture: str
) -> Iterator[Variant]:
    """A training for every task as the main one; the noise never is."""
    for main in noisy[:-1]:
        order = (main, *(task for task in noisy if task != main))
        yield Variant(method, method, "auxiliary", architecture, order, (main,))


def _compositions(
    config: Any, tasks: Sequence[str], architecture: str
) -> Iterator[Variant]:
    del config
    tasks = tuple(tasks)
    for weighting in ("equal", "dwa", "uncertainty", "autolambda"):
        for aggregator in ("", "graddrop", "pcgrad", "cagrad"):
            label = f"{weighting}+{aggregator}" if aggregator else weighting
            name = aggregator if weighting == "equal" and aggregator else label
            name = "autolambda-all" if name == "autolambda" else name
            yield Variant(label, name, "multi-task", architecture, tasks, tasks)


def _robustness(
    config: Any, tasks: Sequence[str], architecture: str
) -> Iterator[Variant]:
    """Table 4: the paper's rates are 0.3, 3 and 10 times its default."""
    tasks, noisy = tuple(tasks), (*tasks, NOISE)
    travel = config.travel
    kinds = {
        "our setting": {},
        "finite difference": {"meta_gradient": "finite_difference"},
        "init = 0.01": {"init": 0.01},
        "init = 1.0": {"init": 1.0},
        "0.3 times the rate": {"travel": 0.3 * travel},
        "3 times the rate": {"travel": 3 * travel},
        "10 times the rate": {"travel": 10 * travel},
        "no swapping": {},
    }
    for label, options in kinds.items():
        stream = "same" if label == "no swapping" else "reshuffled"
        yield Variant(
            label,
            "autolambda-all",
            "auxiliary",
            architecture,
            noisy,
            tasks,
            rule=_auto(**{"travel": travel, **options}),
            second_stream=stream,
        )


def _auto(travel: float, **options: Any) -> Rule:
    """Auto-λ with all but the noise as primary tasks, and options of its own."""

    def build(setting: Setting):
        return auxjax.autolambda(
            setting.optimizer,
            num_tasks=setting.num_tasks,
            primary=setting.primary,
            lambda_optimizer=optax.adam(travel / setting.steps),
            **options,
        )

    return BY_NAME["autolambda-all"]._replace(build=build)


def _groupings(
    config: Any, tasks: Sequence[str], architecture: str
) -> Iterator[Variant]:
    """Equal weights on every pair and on all tasks; Auto-λ beside them."""
    del config
    tasks = tuple(tasks)
    for count in range(2, len(tasks) + 1):
        for group in itertools.combinations(tasks, count):
            label = " + ".join(group)
            yield Variant(label, "equal", "multi-task", architecture, group, group)
    one = Variant(
        "autolambda", "autolambda-all", "multi-task", architecture, tasks, tasks
    )
    yield one
    for main in tasks:
        order = (main, *(task for task in tasks if task != main))
        yield one._replace(
            method="autolambda-main",
            tasks=order,
            counted=(main,),
        )
