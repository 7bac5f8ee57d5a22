import functools
import json
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax

GOLDEN = Path(__file__).parent / "golden" / "torchjd_all_matter.json"
GOLDEN = json.loads(GOLDEN.read_text())["cases"]


def reference(rows, k):
    """The mean of each column without its k largest and its k smallest numbers."""
    columns = [sorted(column)[k : len(rows) - k] for column in rows.T]
    return np.array([np.mean(column) for column in columns])


@functools.cache
def compiled(**options):
    return jax.jit(functools.partial(auxjax.trimmed_mean_rows, **options))


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 7, 40])
def test_equals_the_definition(x64, make_rows, num_tasks):
    run = jax.jit(lambda rows, beta: auxjax.trimmed_mean_rows(rows, fraction=beta))
    for share in ("0", "1/10", "1/4", "3/10", "1/3", "49/100"):
        for seed in range(3):
            rows = make_rows(num_tasks, 6, seed=seed)
            k = int(Fraction(share) * num_tasks)
            found = run(jnp.asarray(rows), float(Fraction(share)))
            np.testing.assert_allclose(found, reference(rows, k), rtol=1e-12)


def test_a_share_that_is_whole_is_whole_in_any_precision():
    """0.3 · 10 and 0.29 · 100 are a little less than 3 and 29."""
    for num, share in ((10, 0.1), (10, 0.3), (100, 0.29), (30, 1 / 3), (40, 0.45)):
        rows = np.arange(num, dtype=np.float32)[:, None] ** 2
        found = compiled(fraction=share)(jnp.asarray(rows))
        k = round(share * num)
        np.testing.assert_allclose(found, reference(rows, k), rtol=1e-5)


@pytest.mark.parametrize("case", GOLDEN)
def test_equals_torchjd(case):
    rows = jnp.asarray(GOLDEN[case]["jacobian"], jnp.float32)
    compared = 0
    for name, expected in GOLDEN[case]["outputs"].items():
        if name.startswith("TrimmedMean"):
            tx = auxjax.trimmed_mean(count=int(name[12:-1]))
            found, _ = tx.update(rows, tx.init(rows[0]))
            largest = np.abs(expected).max() or 1.0
            np.testing.assert_allclose(found, expected, atol=1e-4 * largest)
            compared += 1
    assert compared == min((len(rows) + 1) // 2, 4)


def test_heads_keep_the_sum_and_leaves_are_independent():
    rows = {"w": jnp.array([[1.0, 9.0], [2.0, -8.0], [60.0, 1.0]]), "h": jnp.eye(3)}
    tx = auxjax.trimmed_mean(count=1, where={"w": True, "h": False})
    params = {"w": jnp.zeros(2), "h": jnp.zeros(3)}
    found, _ = tx.update(rows, tx.init(params), params)
    np.testing.assert_array_equal(found["w"], [2.0, 1.0])
    np.testing.assert_array_equal(found["h"], [1.0, 1.0, 1.0])


def test_absent_tasks_are_not_counted(x64, make_rows):
    rows = make_rows(8, 5)
    for absent in ([0], [2, 5], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6]):
        here = ~np.isin(np.arange(8), absent)
        left = int(here.sum())
        found = compiled(fraction=0.26)(jnp.asarray(rows), jnp.asarray(here))
        expected = reference(rows[here], int(0.26 * left))
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        found = compiled(count=3)(jnp.asarray(rows), jnp.asarray(here))
        expected = reference(rows[here], min(3, (left - 1) // 2))
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    nobody = compiled(fraction=0.26)(jnp.asarray(rows), jnp.zeros(8, bool))
    np.testing.assert_array_equal(nobody, np.zeros(5))


def test_what_is_infinite_is_cut_and_what_is_no_number_passes():
    rows = jnp.array([[1.0, 1.0], [jnp.inf, jnp.nan], [2.0, 2.0], [-jnp.inf, 5.0]])
    found = compiled(count=1)(rows)
    np.testing.assert_array_equal(found, [1.5, np.nan])
    here = jnp.array([True, False, True, False])  # and absent ones do neither
    np.testing.assert_array_equal(compiled(count=1)(rows, here), [1.5, 1.5])
    assert np.isinf(compiled(count=0)(rows[:3])[0])


def test_bfloat16_is_averaged_in_float32():
    """256 + 1 is 256 in bfloat16, whatever the order."""
    rows = jnp.array([[256.0], [1.0], [1.0], [2.0]], jnp.bfloat16)
    found = compiled(count=0)(rows)
    assert found.dtype == jnp.bfloat16
    assert float(found[0]) == 65.0


def test_refusals():
    for options, message in [
        ({"fraction": 0.5}, r"`fraction` should be in \[0, ½\). Found 0.5."),
        ({"fraction": -0.1}, r"`fraction` should be in \[0, ½\). Found -0.1."),
        ({"fraction": np.nan}, r"`fraction` should be in \[0, ½\). Found nan."),
        ({"count": -1}, "`count` should be at least 0. Found -1."),
    ]:
        with pytest.raises(ValueError, match=message):
            auxjax.trimmed_mean(**options)
    tx, rows = auxjax.trimmed_mean(count=2), jnp.ones((4, 2))
    with pytest.raises(ValueError, match="`count` should be at most 1 with 4 tasks"):
        tx.update(rows, tx.init(rows[0]))
