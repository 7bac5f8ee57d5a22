import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

GOLDEN = Path(__file__).parent / "golden" / "torchjd_all_matter.json"
GOLDEN = json.loads(GOLDEN.read_text())["cases"]


def reference(rows, f, m, squared=True):
    """From the differences themselves; equal scores go to the smaller index."""
    num = len(rows)
    power = 2 if squared else 1
    apart = [[np.linalg.norm(a - b) ** power for b in rows] for a in rows]
    scores = []
    for i in range(num):
        others = sorted(apart[i][j] for j in range(num) if j != i)
        scores.append(sum(others[: min(max(num - f - 2, 1), num - 1)]))
    chosen = sorted(range(num), key=lambda i: (round(scores[i], 9), i))[:m]
    return np.isin(np.arange(num), chosen) / len(chosen)


@functools.cache
def compiled(**options):
    return jax.jit(functools.partial(auxjax.krum_weights, **options))


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("num_tasks", [2, 3, 7, 40])
def test_equals_the_definition(x64, make_rows, num_tasks, squared):
    seen = set()
    for f in (0, 2) if num_tasks > 4 else (0,):
        for m in (1, 2):
            run = compiled(num_byzantine=f, num_selected=m, squared=squared)
            for seed in range(6):
                rows = make_rows(num_tasks, 5, seed=seed)
                found = np.asarray(run(jnp.asarray(rows @ rows.T)))
                expected = reference(rows, f, m, squared)
                np.testing.assert_allclose(found, expected, rtol=1e-12)
                seen.add(tuple(np.flatnonzero(found)))
    assert len(seen) > (4 if num_tasks > 2 else 1)  # not always the same rows


def test_squares_and_distances_choose_differently(x64):
    """Two neighbours: of 0.1, at 0.1 and 1.8; of 50, at 1 twice: 1.9, 2; 3.25, 2."""
    rows = np.array([[0.0], [0.1], [1.9], [49.0], [50.0], [51.0]])
    for squared, chosen in ((True, 4), (False, 1)):
        found = np.asarray(compiled(num_byzantine=2, squared=squared)(rows @ rows.T))
        np.testing.assert_array_equal(found, np.arange(6) == chosen)
        np.testing.assert_array_equal(found, reference(rows, 2, 1, squared))


def test_four_rows_by_hand():
    """T − f − 2 = 1 neighbour: distances 2, 1, 1, 30; the first of the two at 1."""
    rows = np.array([[0.0, 0.0], [2.0, 0.0], [3.0, 0.0], [3.0, 30.0]])
    found = compiled(num_byzantine=1)(jnp.asarray(rows @ rows.T, jnp.float32))
    assert found.tolist() == [0.0, 1.0, 0.0, 0.0]
    found = compiled(num_byzantine=1, num_selected=3)(
        jnp.asarray(rows @ rows.T, jnp.float32)
    )
    np.testing.assert_allclose(found, [1 / 3, 1 / 3, 1 / 3, 0.0], rtol=1e-6)


@pytest.mark.parametrize("f", [1, 2, 3])
def test_rows_that_may_be_anything_are_not_followed(x64, make_rows, f):
    """T > 2f + 2 honest rows near one another; the others far away, at one place."""
    honest = 1.0 + 0.1 * make_rows(f + 3, 6, seed=f)
    liars = np.tile(make_rows(1, 6, seed=9) * 50.0, (f, 1))
    rows = np.concatenate([liars, honest])
    run = compiled(num_byzantine=f, num_selected=2)
    assert np.all(np.asarray(run(rows @ rows.T))[:f] == 0)


def same_as_theirs():
    for case, found in GOLDEN.items():
        for name, expected in found["outputs"].items():
            if name.startswith("Krum"):
                yield pytest.param(case, name, expected, id=f"{name}-{case}")


def tied(rows, f, m):
    """Whether the last row chosen and the first that is not have equal scores."""
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    scores = np.sort(apart, axis=1)[:, 1 : len(rows) - f - 1].sum(axis=1)
    ordered = np.sort(scores)
    return m < len(rows) and np.isclose(ordered[m - 1], ordered[m], rtol=1e-9)


@pytest.mark.parametrize(("case", "name", "expected"), list(same_as_theirs()))
def test_equals_torchjd(x64, case, name, expected):
    f, m = (int(x) for x in name[5:-1].split(","))
    rows = np.array(GOLDEN[case]["jacobian"])
    tx = auxjax.krum(num_byzantine=f, num_selected=m, squared=False)
    found, _ = tx.update(jnp.asarray(rows), tx.init(jnp.zeros(rows.shape[1])))
    if tied(rows, f, m):  # theirs is any of them: the first is ours
        expected = rows.T @ reference(rows, f, m, squared=False)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


def test_enough_of_theirs_have_no_ties():
    cases = [
        tied(np.array(GOLDEN[case]["jacobian"]), *map(int, name[5:-1].split(",")))
        for case, name, _ in (param.values for param in same_as_theirs())
    ]
    assert cases.count(False) > 25


def test_absent_tasks_are_neither_neighbours_nor_selected(x64, make_rows):
    rows = make_rows(7, 5)
    gramian = jnp.asarray(rows @ rows.T)
    for absent in ([0], [2, 5], [1, 2, 3, 4], [0, 1, 2, 3, 4, 5], list(range(7))):
        here = ~np.isin(np.arange(7), absent)
        run = compiled(num_byzantine=1, num_selected=2)
        found = np.asarray(run(gramian, jnp.asarray(here)))
        expected = np.zeros(7)
        if here.any():
            expected[here] = reference(rows[here], 1, 2)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_row_without_end_is_not_followed():
    rows = jnp.array([[1.0], [1e20], [1.1], [1.2], [0.9]])
    for bad in (1e20, jnp.inf, jnp.nan):
        gramian = rows.at[1].set(bad) @ rows.at[1].set(bad).T
        found = compiled(num_byzantine=1)(gramian)
        assert found[1] == 0
        assert found.sum() == 1


def test_refusals():
    for options, message in [
        ({"num_byzantine": -1}, "`num_byzantine` should be at least 0. Found -1."),
        ({"num_selected": 0}, "`num_selected` should be at least 1. Found 0."),
    ]:
        with pytest.raises(ValueError, match=message):
            auxjax.krum(**options)
    rows = jnp.ones((3, 2))
    for options, message in [
        ({"num_byzantine": 1}, "`num_byzantine` should be at most 0, the number of ta"),
        ({"num_selected": 4}, "`num_selected` should be at most 3, the number of tas"),
    ]:
        tx = auxjax.krum(**options)
        with pytest.raises(ValueError, match=message):
            tx.update(rows, tx.init(rows[0]))
