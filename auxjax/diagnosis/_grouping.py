"""Which tasks should be trained together: every grouping is tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from auxjax.diagnosis._checks import check_at_least

MAX_TASKS = 10


class Grouping(NamedTuple):
    """Groups of tasks, one network each."""

    groups: tuple[tuple[Any, ...], ...]
    """The names, or numbers, of the tasks that are trained together."""

    serves: tuple[tuple[Any, ...], ...]
    """The tasks for which each group is there; all of it, without `overlap`."""

    affinities: np.ndarray
    """`[T]`, the mean affinity of the others in its group onto each task."""

    mean: float
    """Their mean, the largest there is."""


def group_tasks(
    affinity: Any,
    groups: int,
    *,
    overlap: bool = False,
    alone: float = 0.0,
    names: Sequence[str] | None = None,
) -> Grouping:
    r"""The best grouping of tasks into at most so many groups, by their affinity.

    It maximises the mean over the tasks of the affinity onto each,

        1/T Σⱼ a(j),    a(j) = 1/(|G|−1) Σ_{i ∈ G, i ≠ j} Z_{i→j},    G the group of j

    over every way to part the tasks; a(j) is `alone` for a task on its own. With
    `overlap` a group may train tasks that it is not there for, as in TAG: j is
    served by one group alone, and a(j) counts there. The search is exact: dynamic
    programming over all sets of tasks and, with `overlap`, their supersets. Of equals
    the one with fewer groups is taken.

    Args:
      affinity: `[T, T]`, row i onto column j, as from `task_affinity`; T at most 10.
        The diagonal does not count.
      groups: at most so many.
      overlap: whether a task may help in a group that does not serve it.
      alone: the affinity onto a task that is trained alone. 0: nobody helps or harms
        it, so that a task goes its own way where the others harm it on average.
        `-math.inf` is the authors' code: no task alone, if it can be helped.
      names: the tasks'; None: their numbers.

    Returns:
      A `Grouping`, of NumPy arrays.

    Raises:
      ValueError: for more than 10 tasks, an affinity that is no square or not finite
        off the diagonal, groups < 1, or where there are not T names.

    Example:
      >>> import auxjax
      >>> affinity = [[0.9, 0.2, -0.1], [0.4, 0.9, 0.1], [-0.3, -0.2, 0.9]]
      >>> found = auxjax.group_tasks(affinity, 2, names=["depth", "normals", "noise"])
      >>> found.groups, round(found.mean, 3)
      ((('depth', 'normals'), ('noise',)), 0.2)
      >>> auxjax.group_tasks(affinity, 2, overlap=True).groups  # 1 helps 2 a little
      ((0, 1), (1, 2))

    References:
      Fifty et al., *Efficiently Identifying Task Groupings for Multi-Task Learning*
      (TAG), NeurIPS 2021, arXiv 2109.04617: the network selection problem.

    Paper and code:
      Compared with the authors' notebook for network selection:

      | | released code | here |
      |---|---|---|
      | groups | may overlap | `overlap=False` |
      | a task alone | −10⁶ | `alone=0.0` |
      | the search | every choice of groups | every set, as above: the same optimum |
    """
    values = _check(affinity, groups, names)
    num_tasks = len(values)
    onto = _onto(values, alone)
    score, best_of = _scores(onto, overlap)
    served = _partition(score, groups, (1 << num_tasks) - 1)
    found = np.zeros(num_tasks)
    for part in served:
        for j in _members(part):
            found[j] = onto[best_of[part], j]
    label = list(range(num_tasks)) if names is None else list(names)

    def named(part):
        return tuple(label[j] for j in _members(part))

    return Grouping(
        groups=tuple(named(int(best_of[part])) for part in served),
        serves=tuple(named(part) for part in served),
        affinities=found,
        mean=float(found.mean()),
    )


def _check(affinity: Any, groups: int, names: Sequence[str] | None) -> np.ndarray:
    """The affinities in float64, with zeros on the diagonal."""
    check_at_least("groups", groups, 1)
    values = np.array(affinity, np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not len(values):
        raise ValueError(f"`affinity` should be of shape [T, T]. Found {values.shape}.")
    if len(values) > MAX_TASKS:
        raise ValueError(
            f"`affinity` should be of at most {MAX_TASKS} tasks, as every grouping is "
            f"tried. Found {len(values)}."
        )
    np.fill_diagonal(values, 0.0)
    if not np.all(np.isfinite(values)):
        raise ValueError(
            "`affinity` should be finite. Found a pair that is not: leave tasks out "
            "that were never there together."
        )
    if names is not None and len(names) != len(values):
        raise ValueError(
            f"`names` should be {len(values)}, one per task. Found {len(names)}."
        )
    return values


def _members(group: int) -> list[int]:
    """A set of tasks is a number whose bits they are."""
    return [j for j in range(MAX_TASKS) if group >> j & 1]


def _onto(values: np.ndarray, alone: float) -> np.ndarray:
    """`[2^T, T]`, the mean affinity within each set onto each task."""
    num_tasks = len(values)
    sets = np.arange(1 << num_tasks)
    holds = (sets[:, None] >> np.arange(num_tasks)[None]) & 1  # [2^T, T]
    others = holds.sum(1, keepdims=True) - 1
    means = holds @ values / np.maximum(others, 1)  # a member's own entry is 0
    return np.where(others > 0, means, alone)


def _scores(onto: np.ndarray, overlap: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of each set of tasks: their summed affinity, and the group that serves them."""
    number, _ = onto.shape
    sets = np.arange(number)
    score, best_of = np.full(number, -np.inf), sets.copy()
    for part in range(1, number):
        groups = sets[(sets & part) == part] if overlap else sets[part : part + 1]
        totals = onto[np.ix_(groups, _members(part))].sum(1)
        first = int(np.argmax(totals))
        score[part], best_of[part] = totals[first], groups[first]
    return score, best_of


def _partition(score: np.ndarray, groups: int, everyone: int) -> list[int]:
    """The best partition into at most so many sets, the one of the first task first."""
    totals = score.tolist()
    best = {1: {part: (totals[part], [part]) for part in range(1, everyone + 1)}}
    for number in range(2, min(groups, len(_members(everyone))) + 1):
        best[number] = {}
        for whole in range(1, everyone + 1):
            found = best[number - 1][whole]
            first, part = whole & -whole, whole & (whole - 1)
            while part:  # every proper subset with the first task in it
                part = (part - 1) & (whole ^ first)
                rest = whole ^ first ^ part
                total = totals[first | part] + best[number - 1][rest][0]
                if total > found[0] + 1e-12 * abs(found[0]):
                    found = total, [first | part, *best[number - 1][rest][1]]
            best[number][whole] = found
    return best[max(best)][everyone][1]
