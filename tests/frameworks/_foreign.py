"""Is a Jacobian right whose losses somebody else's code differentiates?"""

import jax
import jax.numpy as jnp
import numpy as np

import auxjax
from auxjax.jacobian import _linear

STEP = 0.01
SOURCES = {}
"""`{name: make}`: from nothing to losses, parameters, other arguments, tolerance."""

LAMBDA = np.array([1.0, 0.5, -0.25])


def source(name, tolerance=1e-9):
    """Registers a function that returns losses, parameters and other arguments."""

    def register(make):
        assert name not in SOURCES
        SOURCES[name] = lambda: (*make(), tolerance)
        return make

    return register


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def flat(tree, leading=()):
    """A pytree as one array `[*leading, P]`."""
    leaves = [jnp.reshape(x, (*leading, -1)) for x in jax.tree.leaves(tree)]
    return jnp.concatenate(leaves, axis=-1)


def tangent_pass(jac, direction):
    """How inner products with a direction are computed, in the page's words."""
    linear, tangents = jac._linear, jax.tree.leaves(direction)
    if _linear.has_forward_mode(linear):
        return "a tangent pass"
    try:
        _linear.double_transpose(linear, tangents)
    except _linear.NOT_TRANSPOSABLE:
        return "the rows, one by one"
    return "the backward pass, transposed"


def by_auxjax(losses, params, args, direction, num_tasks):
    """What rules ask for, and Auto-λ's meta-gradient."""
    jac = auxjax.task_jacobian(losses, params, *args)
    held = jac.materialize()  # one backward pass per task to compile, instead of three
    weights = jnp.asarray(LAMBDA[:num_tasks])
    rule = auxjax.scale_by_autolambda(STEP, num_tasks=num_tasks)
    state = rule.init(params)._replace(weights=weights)
    _, state = rule.update(jac, state, params, meta_losses=lambda p: losses(p, *args))
    return tangent_pass(jac, direction), {
        "losses": jac.losses,
        "rows": flat(held.rows(), (num_tasks,)),
        "vjp": flat(jac.vjp(weights)),
        "jvp": jac.jvp(direction),
        "norms": held.norms(),
        "gramian": held.gramian(),
        "gramian_row": jac.gramian_row(0),
        "meta": state.meta_gradient,
    }


def by_grad(losses, params, args, direction, num_tasks):
    """The same by JAX's own backward pass, task by task, and through the lookahead."""

    def values_of(p):
        return jnp.stack(list(losses(p, *args).values()))

    weights = jnp.asarray(LAMBDA[:num_tasks])
    values, pull = jax.vjp(values_of, params)
    grads = [pull(one_hot)[0] for one_hot in jnp.eye(num_tasks)]
    rows = jnp.stack([flat(grad) for grad in grads])

    def ahead(weights):
        steps = [
            jax.tree.map(lambda g, w=w: STEP * w * g, grad)
            for w, grad in zip(weights, grads, strict=True)
        ]
        moved = jax.tree.map(lambda p, *s: p - sum(s), params, *steps)
        return values_of(moved)[0]

    gramian = rows @ rows.T
    return {
        "losses": values,
        "rows": rows,
        "vjp": weights @ rows,
        "jvp": rows @ flat(direction),
        "norms": jnp.sqrt(jnp.diagonal(gramian)),
        "gramian": gramian,
        "gramian_row": gramian[0],
        "meta": jax.grad(ahead)(weights),
    }


def check(losses, params, args, tolerance):
    """Compares the two in float64.

    Args:
      losses: a function of the parameters and `args` to a dict of two or three losses.
      params: floating-point arrays.
      args: arrays.
      tolerance: of each number, relative to the largest of its kind.

    Returns:
      How inner products with a direction were computed.
    """
    num_tasks = len(jax.eval_shape(losses, params, *args))
    leaves, treedef = jax.tree.flatten(params)
    direction = treedef.unflatten(
        [draw(100 + i, *jnp.shape(x)) for i, x in enumerate(leaves)]
    )

    used = []

    @jax.jit
    def both(params, args):
        given = losses, params, args, direction, num_tasks
        how, found = by_auxjax(*given)
        used.append(how)
        return found, by_grad(*given)

    found, expected = both(params, args)
    for name, right in expected.items():
        assert right.dtype == jnp.float64, name
        scale = np.abs(right).max()
        assert scale > 1e-6, f"{name} says nothing"
        np.testing.assert_allclose(
            found[name] / scale, right / scale, atol=tolerance, err_msg=name
        )
    return used[0]
