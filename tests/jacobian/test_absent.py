"""`mask`: absent tasks bring nothing to the others, not even NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax import as_jacobian, task_jacobian

X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)


def start():
    rng = np.random.default_rng(1)
    trunk, heads = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    return {
        "trunk": jnp.asarray(trunk, jnp.float32),
        "heads": list(map(jnp.asarray, heads.astype("f"))),
    }


def one(params, labelled, i):
    """A mean over the labelled rows; 0/0 without any."""
    error = (jnp.tanh(X @ params["trunk"]) @ params["heads"][i] - i) ** 2
    return jnp.sum(labelled * error) / jnp.sum(labelled)


def scalars(params, labels):
    return tuple(one(params, labels[i], i) for i in range(3))


def stacked(params, labels):
    return jnp.stack(scalars(params, labels))


def by_vmap(params, labels):
    z = jnp.tanh(X @ params["trunk"])
    heads, targets = jnp.stack(params["heads"]), jnp.arange(3.0)

    def loss(head, target, labelled):
        return jnp.sum(labelled * (z @ head - target) ** 2) / jnp.sum(labelled)

    return jax.vmap(loss)(heads, targets, labels)


def by_lax_map(params, labels):
    z = jnp.tanh(X @ params["trunk"])

    def loss(given):
        head, target, labelled = given
        return jnp.sum(labelled * (z @ head - target) ** 2) / jnp.sum(labelled)

    return jax.lax.map(loss, (jnp.stack(params["heads"]), jnp.arange(3.0), labels))


def by_matrix(params, labels):
    z, heads = jnp.tanh(X @ params["trunk"]), jnp.stack(params["heads"])
    errors = (z @ heads.T - jnp.arange(3.0)[None]) ** 2
    return jnp.sum(errors * labels.T, axis=0) / jnp.sum(labels, axis=1)


def by_nan(params, labels):
    """Nobody's labels are NaN."""
    z, heads = jnp.tanh(X @ params["trunk"]), jnp.stack(params["heads"])
    targets = jnp.where(labels.T > 0, jnp.arange(3.0)[None], jnp.nan)
    return jnp.mean((z @ heads.T - targets) ** 2, axis=0)


FORMS = {
    "scalars": scalars,
    "stacked": stacked,
    "vmap": by_vmap,
    "a tuple of vmap's": lambda *given: tuple(by_vmap(*given)),
    "lax.map": by_lax_map,
    "a tuple of lax.map's": lambda *given: tuple(by_lax_map(*given)),
    "matrix": by_matrix,
    "a tuple of a matrix": lambda *given: tuple(by_matrix(*given)),
    "labels that are NaN": lambda *given: tuple(by_nan(*given)),
}
WHOLE = {"scalars", "stacked"}  # whose rows are their own, even written down
SOME = jnp.ones((3, 5)).at[1].set(0.0)  # nobody labelled the second task's
PRESENT = jnp.array([True, False, True])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["lazy", "materialized", "stacked"])
def test_an_absent_task_without_a_label(form, kind):
    params = start()
    whole = task_jacobian(FORMS[form], params, jnp.ones((3, 5)))
    jac = task_jacobian(FORMS[form], params, SOME)
    assert np.isnan(jac.losses[1])
    scale = jnp.array([2.0, 3.0, -1.0])
    if kind == "stacked":
        jac = as_jacobian(jac.rows(), params, losses=jac.losses)
        if form not in WHOLE:  # whose rows were spoilt when they were written down
            jac = as_jacobian(whole.rows(), params, losses=jac.losses)
    jac = jac.scale(scale).mask(PRESENT)
    if kind == "materialized":
        jac = jac.materialize()
    expected = jax.tree.map(
        lambda x: (
            x * jnp.where(PRESENT, scale, 0.0).reshape((-1,) + (1,) * (x.ndim - 1))
        ),
        whole.rows(),
    )
    flat = np.concatenate(
        [np.asarray(x).reshape(3, -1) for x in jax.tree.leaves(expected)], axis=1
    )
    for found, right in zip(
        jax.tree.leaves(jac.rows()), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)
    tolerance = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(jac.gramian(), flat @ flat.T, **tolerance)
    np.testing.assert_allclose(jac.gramian_row(0), flat @ flat[0], **tolerance)
    np.testing.assert_allclose(jac.norms(), np.linalg.norm(flat, axis=1), **tolerance)
    np.testing.assert_allclose(jac.losses[1], 0.0)
    total = jac.vjp(jnp.ones(3))
    for found, right in zip(
        jax.tree.leaves(total), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(found, np.sum(right, axis=0), rtol=1e-4, atol=1e-5)
    if kind == "lazy":
        again = jac.at(params)
        np.testing.assert_allclose(again.gramian(), flat @ flat.T, **tolerance)
        assert again.losses[1] == 0.0
        assert np.all(np.isfinite(jac.norms(sketch=2, key=jax.random.key(0))))


def test_present_tasks_keep_what_is_not_finite():
    jac = task_jacobian(scalars, start(), SOME)
    masked = jac.mask(jnp.array([True, True, False]))
    assert np.isnan(masked.losses[1])
    assert np.all(np.isnan(masked.vjp(jnp.ones(3))["trunk"]))


def test_a_mask_is_part_of_the_program():
    step = jax.jit(
        lambda p, m: task_jacobian(scalars, p, SOME).mask(m).vjp(jnp.ones(3))
    )
    found = step(start(), PRESENT)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(found))
    assert np.all(np.isnan(step(start(), ~PRESENT)["trunk"]))


def test_masks_are_joined():
    jac = task_jacobian(scalars, start(), jnp.ones((3, 5)))
    both = jac.mask(PRESENT).mask(jnp.array([True, True, False]))
    np.testing.assert_array_equal(both.norms() > 0, [True, False, False])
    np.testing.assert_array_equal(both.at(start()).norms() > 0, [True, False, False])


def test_the_hessian_of_a_masked_task_is_zero():
    """Products with it are taken through `at`."""
    params = start()
    jac = task_jacobian(scalars, params, SOME).mask(PRESENT)
    _, push = jax.linearize(lambda p: jac.at(p).vjp(jnp.ones(3)), params)
    found = push(params)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(found))
    np.testing.assert_array_equal(found["heads"][1], np.zeros(4))
