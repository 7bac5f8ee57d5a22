"""Grouping: by hand, and against everything that there is."""

import itertools
import math
import time

import numpy as np
import pytest

import auxjax


def onto(affinity, group, task, alone):
    others = [i for i in group if i != task]
    return np.mean([affinity[i][task] for i in others]) if others else alone


def partitions(tasks):
    """Every way to part them."""
    if not tasks:
        yield []
        return
    first, rest = tasks[0], tasks[1:]
    for size in range(len(rest) + 1):
        for company in itertools.combinations(rest, size):
            left = [x for x in rest if x not in company]
            for others in partitions(left):
                yield [(first, *company), *others]


def best_partition(affinity, budget, alone):
    tasks = list(range(len(affinity)))
    return max(
        np.mean([onto(affinity, g, j, alone) for g in parts for j in g])
        for parts in partitions(tasks)
        if len(parts) <= budget
    )


def best_selection(affinity, budget, alone):
    """As the authors' code: any groups that cover all tasks, each task in its best."""
    tasks = range(len(affinity))
    sets = [g for n in tasks for g in itertools.combinations(tasks, n + 1)]
    found = -math.inf
    for number in range(1, budget + 1):
        for chosen in itertools.combinations(sets, number):
            if len(set().union(*chosen)) == len(affinity):
                best = [
                    max(onto(affinity, g, j, alone) for g in chosen if j in g)
                    for j in tasks
                ]
                found = max(found, np.mean(best))
    return found


def value_of(found, affinity, alone):
    """What a grouping is worth, told anew; and that it serves every task once."""
    assert sorted(j for part in found.serves for j in part) == list(
        range(len(affinity))
    )
    values = np.zeros(len(affinity))
    for group, serves in zip(found.groups, found.serves, strict=True):
        assert set(serves) <= set(group)
        for j in serves:
            values[j] = onto(affinity, group, j, alone)
    np.testing.assert_allclose(found.affinities, values, atol=1e-12)
    return values.mean()


@pytest.mark.parametrize("alone", [0.0, 0.3, -math.inf])
@pytest.mark.parametrize("budget", [1, 2, 3, 9])
@pytest.mark.parametrize("num_tasks", [2, 3, 5])
def test_no_partition_is_better(num_tasks, budget, alone):
    rng = np.random.default_rng(num_tasks)
    for _ in range(5):
        affinity = rng.normal(size=(num_tasks, num_tasks))
        found = auxjax.group_tasks(affinity, budget, alone=alone)
        assert len(found.groups) <= budget
        assert found.groups == found.serves
        expected = best_partition(affinity, budget, alone)
        assert found.mean == pytest.approx(expected, abs=1e-12)
        assert value_of(found, affinity, alone) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("alone", [0.0, -math.inf])
@pytest.mark.parametrize(("num_tasks", "budget"), [(3, 1), (3, 3), (4, 2), (4, 3)])
def test_no_selection_of_groups_is_better(num_tasks, budget, alone):
    rng = np.random.default_rng(num_tasks)
    gained = 0
    for _ in range(4):
        affinity = rng.normal(size=(num_tasks, num_tasks))
        found = auxjax.group_tasks(affinity, budget, overlap=True, alone=alone)
        expected = best_selection(affinity, budget, alone)
        assert len(found.groups) <= budget
        assert found.mean == pytest.approx(expected, abs=1e-12)
        assert value_of(found, affinity, alone) == pytest.approx(expected, abs=1e-12)
        gained += expected > best_partition(affinity, budget, alone) + 1e-9
    assert gained or budget == 1


def test_by_hand():
    """Two pairs of friends; each harms the other pair."""
    affinity = np.full((4, 4), -1.0)
    affinity[0, 2], affinity[2, 0], affinity[1, 3], affinity[3, 1] = 0.4, 0.2, 0.6, 0.8
    found = auxjax.group_tasks(affinity, 2, names=["a", "b", "c", "d"])
    assert found.groups == (("a", "c"), ("b", "d"))
    np.testing.assert_allclose(found.affinities, [0.2, 0.8, 0.4, 0.6])
    assert found.mean == pytest.approx(0.5)
    together = auxjax.group_tasks(affinity, 1)
    assert together.groups == ((0, 1, 2, 3),)
    # Onto a: (0.2 − 1 − 1) / 3.
    expected = (np.array([0.2, 0.8, 0.4, 0.6]) - 2) / 3
    np.testing.assert_allclose(together.affinities, expected)


def test_foes_go_their_own_way_or_stay_if_nobody_may_be_alone():
    foes = np.full((3, 3), -0.1)
    assert auxjax.group_tasks(foes, 3).groups == ((0,), (1,), (2,))
    found = auxjax.group_tasks(foes, 3, alone=-math.inf)
    assert found.groups == ((0, 1, 2),)
    assert auxjax.group_tasks([[5.0]], 2).groups == ((0,),)


def test_of_equals_the_fewer():
    assert auxjax.group_tasks(np.ones((6, 6)), 4).groups == ((0, 1, 2, 3, 4, 5),)
    assert auxjax.group_tasks(np.zeros((6, 6)), 4).groups == ((0, 1, 2, 3, 4, 5),)
    many = auxjax.group_tasks(np.full((7, 7), 0.1), 7)
    assert len(many.groups) == 1


@pytest.mark.parametrize("overlap", [False, True])
def test_ten_tasks_take_no_time(overlap):
    rng = np.random.default_rng(0)
    affinity = rng.normal(size=(10, 10))
    begin = time.perf_counter()
    found = auxjax.group_tasks(affinity, 4, overlap=overlap)
    assert time.perf_counter() - begin < 10
    assert value_of(found, affinity, 0.0) == pytest.approx(found.mean)
    for _ in range(200):  # none of these is better
        label = rng.integers(4, size=10)
        parts = [tuple(np.flatnonzero(label == k)) for k in range(4)]
        worth = np.mean([onto(affinity, g, j, 0.0) for g in parts for j in g])
        assert worth <= found.mean + 1e-12


def test_refusals():
    with pytest.raises(ValueError, match=r"at most 10 tasks.* Found 11\."):
        auxjax.group_tasks(np.zeros((11, 11)), 2)
    with pytest.raises(ValueError, match=r"shape \[T, T\]. Found \(2, 3\)"):
        auxjax.group_tasks(np.zeros((2, 3)), 2)
    with pytest.raises(ValueError, match=r"`affinity` should be finite"):
        auxjax.group_tasks([[0.0, np.nan], [0.0, 0.0]], 2)
    auxjax.group_tasks([[np.nan, 1.0], [0.0, np.inf]], 2)  # the diagonal does not count
    with pytest.raises(ValueError, match=r"`groups` should be at least 1. Found 0"):
        auxjax.group_tasks(np.zeros((2, 2)), 0)
    with pytest.raises(ValueError, match=r"`names` should be 2, one per task. Found 1"):
        auxjax.group_tasks(np.zeros((2, 2)), 2, names=["a"])
