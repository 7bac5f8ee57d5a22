"""SLGrad: every sample's weight against brute force in float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

TASKS, BATCH = 3, 5
rng = np.random.default_rng(1)
X, Y = rng.normal(size=(BATCH, 3)), rng.normal(size=(TASKS, BATCH))
OTHER_X, OTHER_Y = rng.normal(size=(4, 3)), rng.normal(size=(TASKS, 4))


def start(dtype=None):
    draws = np.random.default_rng(2)
    tree = {"w": draws.normal(size=(3, 2)), "heads": list(draws.normal(size=(3, 2)))}
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


def samples(params, x=X, y=Y):
    """`[T, B]`: each task's loss of each sample."""
    z = jnp.tanh(jnp.asarray(x, params["w"].dtype) @ params["w"])
    heads = jnp.stack(params["heads"])
    return (heads @ z.T - jnp.asarray(y, z.dtype)) ** 2


def losses(params):
    return tuple(jnp.mean(samples(params), axis=1))


def meta_losses(params):
    return tuple(jnp.mean(samples(params, OTHER_X, OTHER_Y), axis=1))


EXTRA = {"sample_losses": samples, "meta_losses": meta_losses}


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def brute_force(params, lookahead=0.0, absent=()):
    """Every sample's own gradient, and NumPy for the rest."""
    ahead = params
    if lookahead:
        grad = jax.grad(lambda p: sum(losses(p)) / TASKS)(params)
        ahead = jax.tree.map(lambda p, g: p - lookahead * g, params, grad)
    d = flat(jax.grad(lambda p: meta_losses(p)[0])(ahead))
    every = jax.jacrev(samples)(params)
    grads = np.array(
        [
            [flat(jax.tree.map(lambda g: g[t, i], every)) for i in range(BATCH)]  # noqa: B023
            for t in range(TASKS)
        ]
    )
    w = np.maximum(grads @ d, 0)
    w[list(absent)] = 0
    w = w / w.sum()
    return w, np.einsum("ti,tip->tp", w, grads)


def update(params=None, tx=None, **extra):
    params = start() if params is None else params
    tx = auxjax.slgrad(TASKS) if tx is None else tx
    jac = auxjax.task_jacobian(losses, params)
    run = jax.jit(lambda: tx.update(jac, tx.init(params), params, **EXTRA, **extra))
    return run()


@pytest.mark.parametrize("lookahead", [0.0, 0.3])
def test_equals_the_gradients_of_all_samples(x64, lookahead):
    params = start()
    w, rows = brute_force(params, lookahead)
    assert 0 < np.sum(w == 0) < w.size  # some help, some do not
    scaled, state = update(tx=auxjax.scale_by_slgrad(TASKS, lookahead=lookahead))
    found = scaled.rows()
    for t in range(TASKS):
        row = flat(jax.tree.map(lambda x: x[t], found))  # noqa: B023
        np.testing.assert_allclose(row, rows[t], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(state.weights, w.sum(1), rtol=1e-10)
    np.testing.assert_allclose(scaled.losses, losses(params), rtol=1e-12)
    total, _ = update(tx=auxjax.slgrad(TASKS, lookahead=lookahead))
    np.testing.assert_allclose(flat(total), rows.sum(0), rtol=1e-10, atol=1e-12)


def test_a_weight_is_the_validation_loss_that_a_step_saves(x64):
    """∂M/∂w where θ′ is one step of SGD ahead, by JAX through the step."""
    params = start()

    def ahead(w):
        grad = jax.grad(lambda p: jnp.sum(w * samples(p)))(params)
        moved = jax.tree.map(lambda p, g: p - g, params, grad)
        return meta_losses(moved)[0]

    slope = jax.grad(ahead)(jnp.zeros((TASKS, BATCH)))
    w = np.maximum(-slope, 0)
    np.testing.assert_allclose(w / w.sum(), brute_force(params)[0], rtol=1e-10)


def test_several_steps_lower_the_validation_loss_of_the_main_task(x64):
    params = start()
    tx = optax.chain(auxjax.slgrad(TASKS), optax.sgd(0.3))
    state, values, reference = tx.init(params), [], params

    @jax.jit
    def step(params, state):
        jac = auxjax.task_jacobian(losses, params)
        updates, state = tx.update(jac, state, params, **EXTRA)
        return optax.apply_updates(params, updates), state

    for _ in range(5):
        values.append(float(meta_losses(params)[0]))
        rows = brute_force(reference)[1].sum(0)
        moved = flat(reference) - 0.3 * rows
        _, unflatten = jax.flatten_util.ravel_pytree(reference)
        reference = unflatten(jnp.asarray(moved))
        params, state = step(params, state)
        np.testing.assert_allclose(flat(params), flat(reference), rtol=1e-9)
    assert np.all(np.diff(values) < 0)


def test_stacked_gradients_dicts_and_uneven_tasks_are_as_good(x64):
    params, tx = start(), auxjax.scale_by_slgrad(TASKS)
    state, jac = tx.init(params), auxjax.task_jacobian(losses, params)
    lazy, first = tx.update(jac, state, params, **EXTRA)
    stacked, second = tx.update(jac.rows(), state, params, **EXTRA)
    same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12)  # noqa: E731
    jax.tree.map(same, (lazy.rows(), first), (stacked.grads, second))

    def uneven(p):  # the third task has four samples, in a square
        x = samples(p)
        return x[0], x[1], x[2, :4].reshape(2, 2)

    _, found = tx.update(jac, state, params, **{**EXTRA, "sample_losses": uneven})
    d = jax.grad(lambda p: meta_losses(p)[0])(params)
    w = [np.maximum(x, 0) for x in jax.jvp(uneven, (params,), (d,))[1]]
    share = np.array([x.sum() for x in w]) / sum(x.sum() for x in w)
    np.testing.assert_allclose(found.weights, share, rtol=1e-12)

    def by_name(f):
        return lambda p: dict(zip(("main", "b", "a"), f(p), strict=True))

    jac = auxjax.task_jacobian(by_name(losses), params)
    extra = {
        "sample_losses": jax.jit(by_name(uneven)),  # comes back sorted
        "meta_losses": by_name(meta_losses),
    }
    scaled, again = tx.update(jac, state, params, **extra)
    np.testing.assert_allclose(again.weights, share, rtol=1e-12)
    assert scaled.names == ("main", "b", "a")


def test_absent_tasks_have_no_share(x64):
    w, rows = brute_force(start(), absent=(1,))
    total, state = update(task_mask=jnp.array([True, False, True]))
    np.testing.assert_allclose(flat(total), rows.sum(0), rtol=1e-10, atol=1e-12)
    shares = optax.tree.get(state, "weights")
    np.testing.assert_allclose(shares, [w[0].sum(), 1.0, w[2].sum()], rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_precisions(dtype):
    params = start(dtype)
    total, state = update(params)
    assert total["w"].dtype == dtype
    weights = optax.tree.get(state, "weights")
    assert weights.dtype == jnp.float32
    np.testing.assert_allclose(jnp.sum(weights), 1.0, rtol=1e-2)


def test_the_weights_alone():
    found = auxjax.slgrad_weights(jnp.array([[3.0, -1.0], [1.0, jnp.nan]]))
    np.testing.assert_allclose(found, [[0.75, 0.0], [0.25, 0.0]])
    for nothing in (-1.0, 0.0, jnp.nan, jnp.inf):
        np.testing.assert_array_equal(auxjax.slgrad_weights(jnp.full(3, nothing)), 0)


def test_no_sample_helps_and_the_step_is_zero():
    params, tx = start(), auxjax.slgrad(TASKS)
    jac = auxjax.task_jacobian(losses, params)
    worse = lambda p: [-x for x in losses(p)]  # noqa: E731
    only_main = lambda p: samples(p) * jnp.array([[1.0], [0.0], [0.0]])  # noqa: E731
    one = lambda p: only_main(p)[:, :1]  # noqa: E731
    meta = lambda p: [-jnp.sum(one(p)), *worse(p)[1:]]  # noqa: E731
    extra = {"sample_losses": one, "meta_losses": meta}
    total, state = tx.update(jac, tx.init(params), params, **extra)
    np.testing.assert_array_equal(flat(total), 0)
    np.testing.assert_array_equal(optax.tree.get(state, "weights"), 0)


def test_bad_input():
    with pytest.raises(ValueError, match="`num_tasks` should be at least 2"):
        auxjax.slgrad(1)
    with pytest.raises(ValueError, match=r"`lookahead` should be at least 0\. Found -"):
        auxjax.slgrad(2, lookahead=-0.1)
    with pytest.raises(ValueError, match="`lookahead` should be finite"):
        auxjax.slgrad(2, lookahead=np.nan)
    params, tx = start(), auxjax.slgrad(TASKS)
    jac, state = auxjax.task_jacobian(losses, params), tx.init(params)
    two = lambda p: samples(p)[:2]  # noqa: E731
    other = lambda p: dict(zip("bcx", samples(p), strict=True))  # noqa: E731
    named = auxjax.task_jacobian(
        lambda p: dict(zip("abc", losses(p), strict=True)), params
    )
    for updates, args, extra, message in (
        (jac, (), EXTRA, "`scale_by_slgrad` needs the parameters. Found None"),
        (jac, (params,), {}, "needs the losses on a second batch"),
        (jac, (params,), {"meta_losses": losses}, "needs the losses of single samples"),
        (jac, (params,), {**EXTRA, "sample_losses": two}, "the losses of 3 tasks. Fou"),
        (jac, (params,), {**EXTRA, "meta_losses": two}, "`losses` should return a di"),
        (
            jac,
            (params,),
            {**EXTRA, "meta_losses": lambda p: losses(p)[:2]},
            "`meta_losses` should return 3 losses, one per task (main, aux_1, aux_2). ",
        ),
        (
            named,
            (params,),
            {"meta_losses": losses, "sample_losses": other},
            "`sample_losses` should return the tasks ('a', 'b', 'c'). Found ('b', ",
        ),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            tx.update(updates, state, *args, **extra)
