"""GO4Align, against NumPy and all groupings there are."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax
from auxjax.weighting._groups import group_on_a_line

STEPS = 7


def partitions(items, most):
    """All ways to put the items into at most so many groups."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for groups in partitions(rest, most):
        for i, group in enumerate(groups):
            yield [*groups[:i], [first, *group], *groups[i + 1 :]]
        if len(groups) < most:
            yield [[first], *groups]


def intervals(order, most):
    """Those of them that are intervals of the sorted numbers."""
    for cuts in itertools.combinations(range(1, len(order)), most - 1):
        ends = (0, *cuts, len(order))
        yield [order[a:b] for a, b in itertools.pairwise(ends)]


def best_means(gamma, num_groups):
    """Eq. 3 by trying everything: small T all groupings, large T the intervals."""
    if len(gamma) <= 6:
        ways = partitions(list(range(len(gamma))), num_groups)
    else:
        ways = intervals(list(np.argsort(gamma)), num_groups)
    best, chosen = np.inf, None
    for groups in ways:
        cost = sum(np.sum((gamma[g] - gamma[g].mean()) ** 2) for g in groups)
        if cost < best - 1e-13:
            best, chosen = cost, groups
    found = np.empty(len(gamma))
    for group in chosen:
        found[group] = gamma[group].mean()
    return found


def reference(values, num_groups, beta):
    """Algorithm 1, with Q as it stands in Eq. 6."""
    q = np.full(values.shape[1], 1 / values.shape[1])
    found = []
    for losses in values:
        p = losses.mean() / losses
        q = q * np.exp(-beta * losses)
        q = q / q.sum()
        found.append(best_means(p * q, num_groups))
    return np.array(found)


def values_of(num_tasks, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.2, 5.0, (STEPS, num_tasks))


@functools.cache
def compiled(**options):
    tx = auxjax.scale_by_go4align(**options)

    @jax.jit
    def run(values, masks):
        rows = jnp.ones((values.shape[1], 1), values.dtype)

        def step(state, now):
            losses, mask = now
            found, state = tx.update(rows, state, losses=losses, task_mask=mask)
            return state, (found.grads[:, 0], state.groups)

        return jax.lax.scan(step, tx.init(rows[0]), (values, masks))

    def call(values, masks=None):
        masks = np.ones(np.shape(values), bool) if masks is None else masks
        return run(jnp.asarray(values), jnp.asarray(masks))

    return call


@pytest.mark.parametrize("beta", [1e-4, 0.3])
@pytest.mark.parametrize(
    ("num_tasks", "num_groups"),
    [(2, 2), (3, 1), (3, 2), (6, 3), (40, 3)],
)
def test_equals_the_algorithm(x64, num_tasks, num_groups, beta):
    values = values_of(num_tasks)
    options = {"num_groups": num_groups, "beta": beta}
    state, (found, groups) = compiled(num_tasks=num_tasks, **options)(values)
    expected = reference(values, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(state.weights, expected[-1], rtol=1e-9)
    for own, weights in zip(np.asarray(groups), expected, strict=True):
        sizes, inverse = np.unique(weights.round(12), return_inverse=True)
        assert len(sizes) == num_groups
        np.testing.assert_array_equal(own, inverse)


@pytest.mark.parametrize("num_groups", [1, 2, 4, 6])
def test_the_grouping_is_the_best_one(x64, num_groups):
    """Where k-means from a random start may stop short, ties and equal numbers too."""
    rng = np.random.default_rng(1)
    run = jax.jit(functools.partial(group_on_a_line, num_groups=num_groups))
    cases = [rng.normal(size=6) ** 3 for _ in range(20)]
    cases += [rng.integers(0, 3, 6).astype(float) for _ in range(20)]
    cases += [np.zeros(6), np.array([1e9, 1e9 + 1, 1e9 + 9, 1e9 + 10, 2e9, 2e9])]
    for gamma in cases:
        found, labels = run(jnp.asarray(gamma), jnp.ones(6, bool))
        expected = best_means(gamma, num_groups)
        cost, least = (np.sum((gamma - x) ** 2) for x in (np.asarray(found), expected))
        np.testing.assert_allclose(cost, least, rtol=1e-9, atol=1e-12)
        labels = np.asarray(labels)
        assert labels.min() == 0
        assert labels.max() < num_groups
        order = np.argsort(gamma, kind="stable")
        assert np.all(np.diff(labels[order]) >= 0)


def test_nearly_equal_numbers_are_told_apart_in_single_precision():
    """Sums of squares less the square of a sum would see nothing here."""
    gamma = np.array([1.0, 1.0001, 1.01, 1.0101, 1.0102], np.float32)
    _, labels = group_on_a_line(jnp.asarray(gamma), jnp.ones(5, bool), 2)
    assert labels.tolist() == [0, 0, 1, 1, 1]


def test_numbers_that_are_not_among_them_are_not_grouped(x64):
    gamma = jnp.array([5.0, jnp.nan, 1.0, jnp.inf, 1.5, -jnp.inf])
    among = jnp.array([True, False, True, False, True, False])
    found, labels = jax.jit(group_on_a_line, static_argnums=2)(gamma, among, 2)
    np.testing.assert_array_equal(found, [5.0, 0, 1.25, 0, 1.25, 0])
    np.testing.assert_array_equal(labels, [1, 0, 0, 0, 0, 0])
    found, labels = group_on_a_line(gamma, jnp.zeros(6, bool), 2)
    np.testing.assert_array_equal(found, np.zeros(6))
    found, _ = group_on_a_line(gamma, jnp.arange(6) == 2, 3)
    np.testing.assert_array_equal(found, [0, 0, 1.0, 0, 0, 0])


def test_absent_tasks_keep_their_share_of_what_is_remembered(x64):
    """Q of the others is as if they were alone; both shares of 1 stay."""
    values, masks = values_of(4), np.ones((STEPS, 4), bool)
    masks[2:5, 1] = False
    run = compiled(num_tasks=4, num_groups=4, beta=0.3)
    state, (found, _) = run(values, masks)
    q = np.full(4, 0.25)
    for losses, here, weights in zip(values, masks, np.asarray(found), strict=True):
        share = q[here].sum()
        new = q[here] * np.exp(-0.3 * losses[here])
        q[here] = share * new / new.sum()
        gamma = losses[here].mean() / losses[here] * q[here] / share
        np.testing.assert_allclose(weights[here], gamma, rtol=1e-10)
        np.testing.assert_array_equal(weights[~here], 0)
    smooth = np.exp(np.asarray(state.logits))
    np.testing.assert_allclose(smooth / smooth.sum(), q, rtol=1e-10)


def test_what_is_remembered_neither_under_nor_overflows():
    """exp(−βΣL) of a loss of 1e4 over 200 steps is 0; its logarithm is not."""
    values = np.tile(np.array([[1e4, 1.0, 2.0]], np.float32), (200, 1))
    state, (found, _) = compiled(num_tasks=3, num_groups=3, beta=0.1)(values)
    assert np.all(np.isfinite(found))
    assert np.all(np.isfinite(state.logits))
    np.testing.assert_allclose(found[-1, 0], 0.0, atol=1e-30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_groups": 0}, "`num_groups` should be at least 1. Found 0."),
        ({"num_groups": 3}, "`num_groups` should be at most 2, the number of tasks."),
        ({"beta": -1.0}, "`beta` should be at least 0. Found -1.0."),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        auxjax.go4align(**options)
