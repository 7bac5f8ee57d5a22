"""Rows are pulled back together only where one program serves for all of them."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax import task_jacobian
from auxjax.jacobian._fingerprint import _value, fingerprint

W = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6)), jnp.float32)


def each_by_grad(losses, params):
    return [jax.grad(f)(params) for f in losses]


def together(losses):
    return lambda params: tuple(f(params) for f in losses)


def with_slope(slope):
    """A function whose derivative hides in a closure."""

    @jax.custom_jvp
    def f(x):
        return slope * x

    f.defjvp(lambda primals, tangents: (f(*primals), slope * tangents[0]))
    return f


def scanned(factor):
    def loss(w):
        return jax.lax.scan(lambda c, row: (c * factor + row.sum(), None), 0.0, w)[0]

    return loss


def chosen(factor):
    def loss(w):
        return jax.lax.cond(w[0, 0] < 9, lambda x: factor * x, lambda x: x, w.sum())

    return loss


SMALL = [1.0, 0.004, 0.003, 0.002, 0.001]
ODD = [1e-4, 1.00004e-4, 1.00008e-4, 1.00012e-4, 1.00016e-4]
DIFFERENT = {
    "numbers": [lambda w, c=c: np.float32(c) * jnp.sum(w**2) for c in SMALL],
    "near numbers": [lambda w, c=c: np.float32(c) * jnp.sum(w**2) for c in ODD],
    "slices": [lambda w, i=i: jnp.sum(w[:, i : i + 2]) for i in range(5)],
    "strides": [lambda w, s=s: jnp.sum(w[:, ::s]) for s in (1, 2, 3, 4)],
    "axes": [
        lambda w, a=a: jnp.sum(jnp.cumsum(w, axis=a)[:2, :2]) for a in (0, 1, 0, 1)
    ],
    "reversed axes": [
        lambda w, a=a: jnp.flip(w, a)[0, 0] + jnp.flip(w, a)[1, 2] for a in (0, 1, 0, 1)
    ],
    "dtypes": [
        lambda w, d=d: jnp.sum(w.astype(d).astype(jnp.float32) * 3)
        for d in (jnp.float32, jnp.bfloat16, jnp.float16, jnp.bfloat16)
    ],
    "nested programs": [
        lambda w, c=c: jax.jit(lambda x: c * x)(w.sum()) for c in SMALL
    ],
    "scans": [scanned(c) for c in SMALL],
    "conditions": [chosen(c) for c in SMALL],
    "closures": [
        lambda w, f=f: f(jnp.sum(w)) for f in map(with_slope, (1.0, 2.0, 3.0, 4.0, 5.0))
    ],
    "arrays": [lambda w, a=a: jnp.sum(w * a) for a in np.eye(4, 6, dtype=np.float32)],
    "matrices": [
        lambda w, a=a: jnp.sum(w @ a)
        for a in np.random.default_rng(1).normal(size=(4, 6, 2)).astype(np.float32)
    ],
    "padding": [lambda w, k=k: jnp.sum(jnp.pad(w, k)[:3, :3]) for k in (0, 1, 2, 1)],
    "gathers": [lambda w, i=i: jnp.sum(w[np.array([i, 0])]) for i in (0, 1, 2, 3)],
}


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("printing", [{}, {"precision": 2, "suppress": True}])
def test_programs_that_differ_in_one_thing(name, printing):
    losses = DIFFERENT[name]
    with np.printoptions(**printing), jax.numpy_rank_promotion("allow"):
        jac = task_jacobian(together(losses), W)
        rows, gramian = jac.rows(chunk_size=len(losses)), jac.gramian()
        expected = jnp.stack(each_by_grad(losses, W))
    np.testing.assert_allclose(rows, expected, rtol=1e-6, atol=1e-12)
    flat = np.asarray(expected, np.float64).reshape(len(losses), -1)
    np.testing.assert_allclose(gramian, flat @ flat.T, rtol=1e-5, atol=1e-12)


def key_of(f, *args):
    return fingerprint(jax.make_jaxpr(f)(*args).jaxpr)


def test_what_is_alike_is_equal():
    one, other = (key_of(lambda w: jnp.sum(jnp.tanh(w[1:3]) * 0.3), W) for _ in "ab")
    assert one == other
    assert hash(one) == hash(other)
    assert one != key_of(lambda w: jnp.sum(jnp.tanh(w[1:3]) * 0.30001), W)
    assert one != key_of(lambda w: jnp.sum(jnp.tanh(w[1:3]) * 0.3), W[:, :2])


def test_functions_that_are_gone_do_not_lend_their_identity():
    """A key keeps what it was made of: Python uses the ids of the dead again."""
    keys = [key_of(with_slope(float(slope)), 1.0) for slope in range(20)]
    gc.collect()
    keys += [key_of(with_slope(float(slope)), 1.0) for slope in range(20)]
    assert len(set(keys)) == 40


def test_arrays_on_a_device_count_by_their_identity():
    one, other = jnp.ones(2), jnp.ones(2)
    assert _value(one) == _value(one)
    assert _value(one) != _value(other)


def test_one_program_a_loss_function():
    """What was compiled for a Jacobian serves the next one."""

    def losses(p, x):
        return jnp.sum((p * x) ** 2), jnp.sum(p) * 2.0

    traces = []

    @jax.jit
    def use(jac):
        traces.append(jac.names)
        return jac.gramian() + jac.at(jac.params * 2.0).losses[None]

    for i in range(3):
        p, x = jnp.full(3, 1.0 + i), jnp.arange(3.0)
        found = use(task_jacobian(losses, p, x))
        rows = np.stack([2 * np.asarray(p * x**2), np.full(3, 2.0)])
        later = [np.sum((2 * p * x) ** 2), np.sum(4 * p)]
        np.testing.assert_allclose(found, rows @ rows.T + np.asarray(later), rtol=1e-6)
    assert len(traces) == 1
    use(task_jacobian(losses, p, jnp.arange(3.0)[:1]))
    use(task_jacobian(lambda p, x: losses(p, x), p, x))  # another function
    assert len(traces) == 3
