"""Heads stay heads, whatever the losses are packed in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax import shared_mask, task_jacobian

TASKS = 4
_rng = np.random.default_rng(0)
PARAMS = {
    "trunk": jnp.asarray(_rng.normal(size=(3, 5)), jnp.float32),
    "heads": [jnp.asarray(_rng.normal(size=5), jnp.float32) for _ in range(TASKS)],
}
X = jnp.asarray(_rng.normal(size=(6, 3)), jnp.float32)


def scalars(p):
    z = jnp.tanh(X @ p["trunk"])
    return [jnp.mean((z @ head - i) ** 2) for i, head in enumerate(p["heads"])]


def stack(p):
    return jnp.stack(scalars(p))


APART = {
    "stack": stack,
    "array": lambda p: jnp.array(scalars(p)),
    "a tuple of a stack": lambda p: tuple(stack(p)),
    "indices": lambda p: {f"{i}": stack(p)[i] for i in reversed(range(TASKS))},
    "slices": lambda p: (*stack(p)[:2], *stack(p)[2:]),
    "unstack": lambda p: jnp.unstack(stack(p)),
    "split": lambda p: tuple(x[0] for x in jnp.split(stack(p), TASKS)),
    "inner jit": lambda p: jax.jit(stack)(p),
    "a tuple out of an inner jit": lambda p: jax.jit(lambda p: tuple(scalars(p)))(p),
    "jit in jit": lambda p: tuple(jax.jit(lambda p: 2.0 * jax.jit(stack)(p))(p)),
    "concatenate": lambda p: jnp.concatenate([stack(p)[:1], stack(p)[1:]]),
    "scaled": lambda p: stack(p) * jnp.arange(1.0, 5.0),
    "divided": lambda p: stack(p) / 2.0,
    "added": lambda p: stack(p) + stack(p) * 3.0,
    "negative": lambda p: -stack(p),
    "reshaped": lambda p: stack(p).reshape(2, 2).reshape(-1),
}
TOGETHER = {"vmap", "reshaped"}


@pytest.mark.parametrize("name", APART)
def test_each_head_belongs_to_one_task(name):
    losses = APART[name]
    with jax.numpy_rank_promotion("allow"):
        found = shared_mask(losses, PARAMS)
        jac = task_jacobian(losses, PARAMS)
        rows, gramian = jac.rows(), jac.gramian(found)

        def as_array(p):
            values = losses(p)
            values = values.values() if isinstance(values, dict) else values
            return jnp.stack([*values])

        expected = jax.jacrev(as_array)(PARAMS)
    assert found["trunk"] is True
    assert found["heads"] == [name in TOGETHER] * TASKS
    for x, y in zip(jax.tree.leaves(rows), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    flat = np.asarray(expected["trunk"]).reshape(TASKS, -1)
    if name not in TOGETHER:
        np.testing.assert_allclose(gramian, flat @ flat.T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jac.losses, as_array(PARAMS), rtol=1e-6)


def test_what_vmap_computed_stays_together():
    """So `where=` has to say which parameters are shared."""

    def losses(p):
        z = jnp.tanh(X @ p["trunk"])
        return jax.vmap(lambda head: jnp.mean((z @ head) ** 2))(jnp.stack(p["heads"]))

    assert shared_mask(losses, PARAMS)["heads"] == [True] * TASKS
