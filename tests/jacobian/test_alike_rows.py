"""Rows that are alike are pulled back by one `vmap`; others pay for themselves alone.

Read off the jaxpr and off the compiler's own count of operations and memory.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from auxjax import task_grads, task_jacobian


def count(jaxpr, name):
    """How often a primitive occurs, inner jaxprs included."""
    here = sum(eqn.primitive.name == name for eqn in jaxpr.eqns)
    return here + sum(count(inner, name) for inner in core.subjaxprs(jaxpr))


def compiled(f, *args):
    """Operations and temporary memory of a compiled function."""
    program = jax.jit(f).lower(*args).compile()
    memory = program.memory_analysis().temp_size_in_bytes
    return program.cost_analysis()["flops"], memory


def equal_heads(num_tasks, size=64):
    """One trunk, then the same decoder with other weights for every task."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    params = {
        "trunk": draw(16, size),
        "heads": [draw(size, 4) for _ in range(num_tasks)],
    }
    x = draw(64, 16)

    def losses(params):
        z = jnp.tanh(x @ params["trunk"])
        return tuple(jnp.mean(jnp.tanh(z @ h) ** 2) for h in params["heads"])

    return losses, params


def growing_decoders(num_tasks, join):
    """One small trunk, then decoders of different widths."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    decoders = [draw(8, 32 * (i + 1)) for i in range(num_tasks)]
    params = {"trunk": draw(8, 8), "decoders": decoders}
    x = draw(16, 8)

    def losses(params):
        z = jnp.tanh(x @ params["trunk"])
        return join([jnp.mean(jnp.tanh(z @ d) ** 2) for d in params["decoders"]])

    return losses, params


def rows_jaxpr(losses, params):
    jac = task_jacobian(losses, params)
    return jax.make_jaxpr(lambda jac: jac.rows())(jac).jaxpr


def test_forty_alike_rows_are_one_program():
    products = {
        t: count(rows_jaxpr(*equal_heads(t, size=4)), "dot_general") for t in (5, 40)
    }
    assert products[40] == products[5] > 0


def test_different_rows_are_unrolled():
    losses, params = growing_decoders(3, tuple)
    # Decoder weights, decoder input and trunk weights: three products per task.
    assert count(rows_jaxpr(losses, params), "dot_general") == 9


def test_one_odd_row_does_not_keep_the_others_apart():
    losses, params = equal_heads(4, size=4)
    alike = count(rows_jaxpr(losses, params), "dot_general")

    def with_odd(params):
        return (*losses(params), jnp.sum(params["heads"][0] ** 2))

    assert count(rows_jaxpr(with_odd, params), "dot_general") == alike


def test_what_all_heads_share_does_not_tell_the_first_of_them_apart():
    """It is first used by the first head, behind a number of that head's own."""

    def losses(params):
        shared = jnp.sin(jnp.arange(3.0))
        z = jnp.tanh(jnp.ones((3, 4)) @ params["trunk"])
        own = [jax.lax.stop_gradient(jnp.cos(h[0])) for h in params["heads"]]
        heads = zip(params["heads"], own, strict=True)
        return tuple(jnp.sum((z @ h) * scale * shared) for h, scale in heads)

    def products(num_tasks):
        heads = [jnp.arange(2.0) + i for i in range(num_tasks)]
        params = {"trunk": jnp.ones((4, 2)), "heads": heads}
        return count(rows_jaxpr(losses, params), "dot_general")

    assert products(5) == products(1) > 0


def test_rows_of_two_kinds_come_back_in_the_order_of_the_tasks():
    """Each kind is pulled back together; the tasks alternate."""
    params, stretch = jnp.arange(1.0, 5.0), jnp.arange(1.0, 7.0)

    def losses(p):
        kinds = [lambda x: jnp.sum(x**2), lambda x: jnp.sum(jnp.cumsum(x) ** 3)]
        return tuple(kinds[i % 2](p * stretch[i]) for i in range(6))

    found = task_jacobian(losses, params).rows()
    np.testing.assert_allclose(found, jax.jacrev(losses)(params), rtol=1e-5)


@pytest.mark.parametrize("join", [tuple, jnp.stack], ids=["tuple", "stacked"])
def test_a_row_does_not_pay_for_other_decoders(join):
    losses, params = growing_decoders(5, join)
    apart, _ = growing_decoders(5, tuple)
    mine, _ = compiled(task_grads(losses), params)
    by_jacrev, _ = compiled(jax.jacrev(losses), params)
    separate = sum(
        compiled(jax.grad(lambda p, i=i: apart(p)[i]), params)[0] for i in range(5)
    )
    # `separate` runs the small trunk five times, `mine` once.
    assert 0.8 * separate < mine < 1.1 * separate
    assert mine < by_jacrev / 2


def test_one_row_costs_what_its_own_gradient_costs():
    losses, params = growing_decoders(5, tuple)
    row, _ = compiled(lambda p: task_jacobian(losses, p).row(0), params)
    own, _ = compiled(jax.grad(lambda p: losses(p)[0]), params)
    assert row < 1.05 * own


def test_vjp_costs_what_the_gradient_of_the_sum_costs():
    losses, params = equal_heads(8)
    sums = lambda p: task_jacobian(losses, p).vjp(jnp.ones(8))  # noqa: E731
    mine, _ = compiled(sums, params)
    plain, _ = compiled(jax.grad(lambda p: sum(losses(p))), params)
    assert mine < 1.02 * plain


@pytest.mark.parametrize(
    "contract",
    [
        lambda jac, size: jac.rows(chunk_size=size),
        lambda jac, size: jac.norms(chunk_size=size),
        lambda jac, size: jac.gramian({"trunk": True, "heads": False}, chunk_size=size),
    ],
    ids=["rows", "norms", "gramian"],
)
def test_chunk_size_bounds_memory_and_changes_no_number(contract):
    losses, params = equal_heads(16)
    found = {}
    for size in (16, 1):
        program = jax.jit(lambda p, n=size: contract(task_jacobian(losses, p), n))
        program = program.lower(params).compile()
        found[size] = program.memory_analysis().temp_size_in_bytes, program(params)
    assert found[1][0] < 0.7 * found[16][0]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        found[1][1],
        found[16][1],
    )


@pytest.mark.parametrize("chunk_size", [2, 3, 5, 9])
def test_chunks_need_not_divide_the_number_of_tasks(chunk_size):
    losses, params = equal_heads(5, size=4)
    whole = task_grads(losses)(params)[1]
    chunks = task_grads(losses, chunk_size=chunk_size)(params)[1]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        chunks,
        whole,
    )
