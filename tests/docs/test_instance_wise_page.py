"""A loss for every example: the page's code runs, with 256 of them."""

import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

PAGE = Path(__file__).parents[2] / "docs" / "instance_wise.md"


@functools.cache
def page():
    """What its code leaves behind, run once."""
    names = {"__name__": PAGE.name}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for code in blocks:
            exec(compile(code, PAGE.name, "exec"), names)
    return names


@functools.cache
def rows_by_numpy():
    """`[256, params]`: `jax.grad` of each example's loss, in the page's last state."""
    names = page()
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        grads = jax.vmap(jax.grad(names["loss"]), (None, 0, 0))(
            names["params"], names["x"], names["labels"]
        )
    flat = [np.asarray(g, np.float64).reshape(256, -1) for g in jax.tree.leaves(grads)]
    return np.concatenate(flat, axis=1)


def flat(gradient):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(gradient)])


def jacobian():
    names = page()
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return auxjax.task_jacobian(
            names["losses"], names["params"], (names["x"], names["labels"])
        )


def test_it_trains_on_256_examples():
    names = page()
    assert names["B"] == 256
    assert names["means"][-1] < 0.8 * names["means"][0]
    assert names["memory"] < 0.1 * names["rows"]


def test_the_gramian_is_that_of_the_examples_gradients():
    rows = rows_by_numpy()
    expected = rows @ rows.T
    for chunk_size in (None, 16, 100):
        found = jacobian().gramian(chunk_size=chunk_size)
        np.testing.assert_allclose(found, expected, atol=2e-6 * expected.max())
    np.testing.assert_allclose(
        jacobian().norms(), np.linalg.norm(rows, axis=1), rtol=1e-4, atol=1e-6
    )


def test_the_shortest_combination_of_256_gradients():
    """What the page computes in the open: optimal by its own conditions, in NumPy."""
    rows, names = rows_by_numpy(), page()
    d, w = flat(names["gradient"]), np.asarray(names["weights"])
    np.testing.assert_allclose(w.sum(), 1.0, rtol=1e-5)
    assert w.min() >= 0
    size = np.linalg.norm(rows, axis=1).max()
    np.testing.assert_allclose(d, w @ rows, atol=1e-6 * size)
    assert np.min(rows @ d) >= d @ d - 1e-4 * size * np.linalg.norm(d)


@pytest.mark.parametrize("rule", ["mgda", "krum", "dualproj", "mean_tasks", "imtl_g"])
def test_a_rule_is_its_weights_of_256_rows(rule):
    rows = rows_by_numpy()
    gramian = jnp.asarray(rows @ rows.T, jnp.float32)
    weights = {
        "mean_tasks": lambda g: jnp.full(256, 1 / 256),
        "krum": auxjax.krum_weights,
        "mgda": auxjax.mgda_weights,
        "dualproj": auxjax.dualproj_weights,
        "imtl_g": auxjax.imtl_g_weights,
    }[rule](gramian)
    params, jac = page()["params"], jacobian()
    tx = getattr(auxjax, rule)()
    found, _ = tx.update(jac, tx.init(params), params)
    expected = np.asarray(weights, np.float64) @ rows
    length = np.abs(weights) @ np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(flat(found), expected, atol=2e-4 * float(length))


def test_upgrad_harms_no_example():
    """Of 48: it solves a problem of that size for each, as the page says."""
    rng = np.random.default_rng(0)
    x = 1.0 + 0.1 * rng.normal(size=(48, 60))
    target = np.where(np.arange(48) < 3, -5.0, 5.0)
    x, target = jnp.asarray(x, jnp.float32), jnp.asarray(target, jnp.float32)

    def losses(w):
        return jax.vmap(lambda x, y: (x @ w - y) ** 2)(x, target)

    tx, w = auxjax.upgrad(), jnp.zeros(60)
    found, _ = jax.jit(
        lambda w: tx.update(auxjax.task_jacobian(losses, w), tx.init(w))
    )(w)
    rows = np.asarray(-2 * target[:, None] * x, np.float64)
    scale = np.linalg.norm(rows, axis=1).max() * np.linalg.norm(found)
    assert np.min(rows @ np.asarray(found, np.float64)) > -1e-4 * scale
    assert np.linalg.norm(found) > 0
    assert np.min(rows @ rows.mean(0)) < -1e-2 * scale  # the mean would harm some


def test_examples_that_are_padding_count_nothing():
    names, rows = page(), rows_by_numpy()
    here = np.arange(256) < 200
    tx = optax.chain(auxjax.mgda(), optax.identity())
    params = names["params"]
    found, _ = tx.update(
        jacobian(), tx.init(params), params, task_mask=jnp.asarray(here)
    )
    some = rows[here]
    w = auxjax.mgda_weights(jnp.asarray(some @ some.T, jnp.float32))
    expected = np.asarray(w, np.float64) @ some
    size = np.linalg.norm(some, axis=1).max()
    np.testing.assert_allclose(flat(found), expected, atol=2e-4 * size)


def test_the_page_says_what_would_be_a_pass_for_each():
    """`logits[arange, labels]` is; along an axis is not; nor is the page's own."""
    from auxjax.jacobian import needs_no_rows

    x, labels = jnp.ones((8, 3)), jnp.zeros(8, jnp.int32)
    indexed = lambda p: (x @ p)[jnp.arange(8), labels]  # noqa: E731
    along = lambda p: jnp.take_along_axis(x @ p, labels[:, None], 1)[:, 0]  # noqa: E731
    needs = [
        not needs_no_rows(auxjax.task_jacobian(f, jnp.ones((3, 4))), None)
        for f in (indexed, along)
    ]
    assert needs == [True, False]
    assert needs_no_rows(jacobian(), None)
