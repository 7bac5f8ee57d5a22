"""A task that is there now and then: what is remembered of it is of its own batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

ZERO = jnp.zeros(2)
ROWS = jnp.array([[3.0, 4.0], [6.0, 8.0], [-1.0, 0.5]])  # the second's cosine is 1
BAD_LOSS = jnp.array([1.0, jnp.inf, 1.0])


def run(tx, batches, state=None):
    """The state after batches of stacked rows, losses and masks."""
    state = tx.init(ZERO) if state is None else state
    update = jax.jit(tx.update)
    for rows, losses, mask in batches:
        _, state = update(rows, state, ZERO, losses=losses, task_mask=mask)
    return state


def now_and_then(steps, every, task=1, first=1):
    """Masks: all are there, but one task in every so many-th step only."""
    for t in range(steps):
        mask = np.ones(3, bool)
        mask[task] = (t + 1) % every == first % every
        yield jnp.asarray(mask)


@pytest.mark.parametrize("sketch", [None, 64])
def test_the_cosine_of_a_task_in_every_tenth_batch(sketch):
    """Debiased by its own count: 1, and not a tenth of it."""
    tx = auxjax.scale_by_gcs(
        True, ema=0.999, num_tasks=3, sketch=sketch, where=lambda _: True
    )
    state = run(tx, [(ROWS, jnp.ones(3), mask) for mask in now_and_then(30, 10)])
    np.testing.assert_array_equal(state.steps, [30, 3, 30])
    np.testing.assert_allclose(state.cosines[1], 1.0, rtol=1e-5)
    np.testing.assert_allclose(state.weights[1], 1.0, rtol=1e-5)
    full = run(tx, [(ROWS, jnp.ones(3), jnp.ones(3, bool))] * 30)
    np.testing.assert_allclose(state.cosines, full.cosines, rtol=1e-5)


def test_a_cosine_by_sketches_is_none_above_one():
    """Few tangent passes find a norm too small, and so a cosine too large."""

    def losses(p):
        return jnp.sum(p * 3.0), jnp.sum(p * 2.0), -jnp.sum(p)

    params = jnp.ones(5)
    jac = auxjax.task_jacobian(losses, params)
    seen = []
    for seed in range(8):
        tx = auxjax.scale_by_gcs(
            True, ema=0.5, num_tasks=3, sketch=1, key=jax.random.key(seed)
        )
        _, state = tx.update(jac, tx.init(params), params)
        seen.append(np.asarray(state.cosines))
    assert np.max(np.abs(seen)) == 1.0
    assert np.min(np.abs(seen)) < 1.0


@pytest.mark.parametrize("options", [{}, {"statistic": "last_step"}])
def test_olaux_moves_a_weight_after_n_of_the_tasks_own_steps(options):
    """Never there at an n-th step of all; Algorithm 1 on its own batches."""
    tx = auxjax.scale_by_olaux(2, 3, 0.01, **options)
    scales = jnp.arange(1.0, 13.0)
    batches = [
        (ROWS * s, jnp.ones(3), mask)
        for s, mask in zip(scales, now_and_then(12, 4), strict=True)
    ]
    state = run(tx, batches)
    own = [b for b in batches if b[2][1]]  # the first, fifth and ninth
    alone = run(tx, own)
    assert len(own) == 3
    np.testing.assert_allclose(state.weights[1], alone.weights[1], rtol=1e-6)
    np.testing.assert_array_equal(state.steps, [0, 1, 0])
    product = 50.0 * (25.0 if options else 26.0)  # of the last, or of both: s² ⟨·,·⟩
    np.testing.assert_allclose(state.weights[1], 1 + 0.01 * product, rtol=1e-6)
    assert state.count == 12
    always = run(tx, [(b[0], b[1], jnp.ones(3, bool)) for b in batches])
    np.testing.assert_allclose(state.weights[2], always.weights[2], rtol=1e-6)


def test_smoothing_averages_a_tasks_own_gradients():
    tx = auxjax.scale_by_olaux(1, 3, 0.01, smoothing=2)
    batches = [
        (ROWS * s, jnp.ones(3), mask)
        for s, mask in zip((1.0, 2.0, 3.0, 4.0), now_and_then(4, 2), strict=True)
    ]
    state = run(tx, batches)
    np.testing.assert_array_equal(state.pushed, [4, 2, 4])
    kept = np.asarray(state.history[0])[:, 1]
    np.testing.assert_allclose(kept, np.outer([1.0, 3.0], ROWS[1]))
    # ⟨mean of the main's 2 and 3, mean of its own 1 and 3⟩, and 1 · 1 at first.
    products = 50.0 * (1.0 + 2.5 * 2.0)
    np.testing.assert_allclose(state.weights[1], 1 + 0.01 * products, rtol=1e-6)


ADAM = optax.adam(0.05)
OWN = {
    "uncertainty": lambda n: auxjax.scale_by_uncertainty(n, optimizer=ADAM),
    "revised": lambda n: auxjax.scale_by_revised_uncertainty(n, optimizer=ADAM),
    "imtl_l": lambda n: auxjax.scale_by_imtl_l(n, optimizer=ADAM),
    "dwa": lambda n: auxjax.scale_by_dwa(n, period=2),
    "stch": lambda n: auxjax.scale_by_stch(n, log=True, warmup=3),
}


@pytest.mark.parametrize("rule", OWN)
def test_a_tasks_own_batches_are_all_that_counts(rule):
    """Adam's count of steps and a period's too: as if the others had not been."""
    tx = OWN[rule](3)
    values = jnp.asarray(np.random.default_rng(0).uniform(0.5, 9.0, (9, 3)), "float32")
    masks = list(now_and_then(9, 3))
    state = run(tx, [(ROWS, v, m) for v, m in zip(values, masks, strict=True)])
    own = [(ROWS, v, jnp.ones(3, bool)) for v in values[::3]]
    alone = run(tx, own)
    if rule in ("dwa", "stch"):  # whose weights are relative to the others'
        state, alone = (s._replace(weights=None) for s in (state, alone))
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(alone), strict=True):
        own = (1, 1) if a.shape == (3, 3) else 1  # a copy of moments per task
        np.testing.assert_allclose(a[own], b[own], rtol=1e-6)


def test_autolambda_counts_a_tasks_own_steps():
    """Under Adam each first step is one of 0.05, whenever it is made."""

    def losses(p, x):
        return jnp.sum((p - x) ** 2), jnp.sum(jnp.abs(p - x)), jnp.sum(p**2)

    tx = auxjax.scale_by_autolambda(0.1, num_tasks=3, lambda_optimizer=ADAM)
    state, x = tx.init(ZERO), jnp.ones(2)
    jac = auxjax.task_jacobian(losses, ZERO + 0.3, x)
    meta = lambda p: losses(p, 0.9 * x)  # noqa: E731
    for mask in now_and_then(5, 5, first=0):
        _, state = tx.update(jac, state, ZERO, meta_losses=meta, task_mask=mask)
    np.testing.assert_allclose(abs(state.weights[1] - 0.1), 0.05, rtol=1e-4)
    np.testing.assert_array_equal(state.lambda_state[0].count, [5, 1, 5])


def test_one_copy_a_task_is_one_optimizer_while_all_are_there():
    """Clipped by the norm of all slopes, with decay of the weights themselves."""
    from auxjax.weighting._build import move, start_moments

    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(0.1, weight_decay=0.3)
    )
    x = y = jnp.array([1.0, -2.0, 0.5])
    copies, one = start_moments(optimizer, x), optimizer.init(y)
    everybody = jnp.ones(3, bool)
    for t in range(4):
        slope = jnp.array([3.0, -1.0, 2.0]) * (t - 1.5)
        x, copies, refused = move(optimizer, slope, copies, x, everybody)
        with jax.numpy_dtype_promotion("standard"):
            step, one = optimizer.update(slope, one, y)
        y = y + step
        np.testing.assert_allclose(x, y, rtol=1e-6)
        assert not np.any(refused)


# What is finite in the losses and not in the gradients.

GRADIENT_RULES = {
    "olaux": lambda: auxjax.scale_by_olaux(1, 3, 0.1),
    "olaux smoothing": lambda: auxjax.scale_by_olaux(1, 3, 0.1, smoothing=2),
    "olaux cosine": lambda: auxjax.scale_by_olaux(1, 3, 0.1, inner_products="cosine"),
    "olaux exponentiated": lambda: auxjax.scale_by_olaux(
        1, 3, 0.1, update="exponentiated"
    ),
    "olaux sketch": lambda: auxjax.scale_by_olaux(
        1, 3, 0.1, inner_products="cosine", update="exponentiated", sketch=2
    ),
    "gcs": lambda: auxjax.scale_by_gcs(num_tasks=3),
    "gcs weighted": lambda: auxjax.scale_by_gcs(True, num_tasks=3),
    "gcs ema": lambda: auxjax.scale_by_gcs(True, ema=0.9, num_tasks=3),
    "gcs layers": lambda: auxjax.scale_by_gcs(True, per_layer=True, num_tasks=3),
    "gcs sketch": lambda: auxjax.scale_by_gcs(True, ema=0.9, sketch=2, num_tasks=3),
    "gradnorm": lambda: auxjax.scale_by_gradnorm(3),
    "metabalance": lambda: auxjax.scale_by_metabalance(3),
    "dga": lambda: auxjax.scale_by_dga(3),
    "dga cosine": lambda: auxjax.scale_by_dga(3, inner_products="cosine"),
    "balance_at": lambda: auxjax.scale_by_balance_at(True, 3),
    "excess_mtl": lambda: auxjax.scale_by_excess_mtl(3, learning_rate=0.5),
}


# They remember the others' gradients while the main task's is not finite.
ALONE = ("gradnorm", "metabalance", "excess_mtl", "balance_at")


@pytest.mark.parametrize("rule", GRADIENT_RULES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("task", [0, 1])
def test_a_gradient_that_is_not_finite_is_not_remembered(rule, bad, task):
    tx, ones, everybody = GRADIENT_RULES[rule](), jnp.ones(3), jnp.ones(3, bool)
    first = run(tx, [(ROWS, ones, everybody)])
    spoilt = ROWS.at[task, 0].set(bad)
    state = run(tx, [(spoilt, ones, everybody)], first)
    np.testing.assert_array_equal(state.nonfinite, np.arange(3) == task)
    absent = run(tx, [(ROWS, ones, everybody.at[task].set(False))], first)
    absent = absent._replace(nonfinite=state.nonfinite)
    jax.tree.map(np.testing.assert_array_equal, *map(plain, (state, absent)))
    if task == 0 and rule not in ALONE:  # nothing to compare the others with
        keep = {"count": first.count, "nonfinite": first.nonfinite}
        if rule.endswith("sketch"):
            keep["key"] = first.key
        if rule == "olaux smoothing":
            keep |= {"history": first.history, "pushed": first.pushed}
        kept = state._replace(**keep)
        jax.tree.map(np.testing.assert_array_equal, *map(plain, (kept, first)))


def plain(state):
    """Keys as their bits."""

    def one(x):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.key_data(x)
        return x

    return jax.tree.map(one, state)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_rows_of_an_absent_task_are_zero_for_whoever_comes_behind(bad):
    mask, losses = jnp.array([True, False, True]), jnp.array([1.0, bad, 1.0])
    for tx in (auxjax.scale_by_olaux(1, 3), auxjax.scale_by_dwa(3)):
        rows, _ = tx.update(
            ROWS.at[1].set(bad), tx.init(ZERO), ZERO, losses=losses, task_mask=mask
        )
        np.testing.assert_allclose(rows.rows(), ROWS.at[1].set(0.0), rtol=1e-6)


def test_the_rows_of_slgrad_are_masked_again():
    """It makes a Jacobian of its own, which nobody behind it has to mask."""

    def samples(p):
        bad = jnp.sum(p) / 0.0 * jnp.zeros(2)
        return [jnp.stack([p[0] ** 2, p[1]]), p * 3.0, bad]

    losses = lambda p: tuple(jnp.mean(x) for x in samples(p))  # noqa: E731
    tx, params = auxjax.scale_by_slgrad(3), jnp.ones(2)
    rows, state = tx.update(
        auxjax.task_jacobian(losses, params),
        tx.init(params),
        params,
        sample_losses=samples,
        meta_losses=losses,
        task_mask=jnp.array([True, True, False]),
    )
    np.testing.assert_array_equal(rows.rows()[2], np.zeros(2))
    assert np.all(np.isfinite(rows.rows()))
    np.testing.assert_array_equal(rows.vjp(jnp.ones(3)), rows.rows().sum(0))
    np.testing.assert_array_equal(state.nonfinite, [0, 0, 0])


def test_a_lookahead_with_momentum_survives_a_bad_batch():
    """Else every θ′ would be NaN from then on, and λ never move again."""

    def losses(p, x):
        return jnp.sum((p - x) ** 2), jnp.sum(jnp.abs(p - x)) * jnp.exp(x[0])

    tx = auxjax.scale_by_autolambda(
        optax.sgd(0.1, momentum=0.9), lambda_optimizer=optax.sgd(0.1)
    )
    meta = lambda p: losses(p, jnp.ones(2))  # noqa: E731

    @jax.jit
    def step(state, x):
        jac = auxjax.task_jacobian(losses, ZERO, x)
        return tx.update(jac, state, ZERO, meta_losses=meta)[1]

    first = step(tx.init(ZERO), jnp.ones(2))
    second = step(first, jnp.array([jnp.inf, 1.0]))
    jax.tree.map(np.testing.assert_array_equal, second.opt_state, first.opt_state)
    np.testing.assert_array_equal(second.weights, first.weights)
    third = step(second, jnp.ones(2))
    assert np.all(np.isfinite(third.weights))
    assert np.any(third.weights != second.weights)


def test_the_safety_net_takes_no_number_that_was_finite():
    """A rule that looks after nothing itself."""
    from typing import Any, NamedTuple

    from auxjax.weighting._build import row_transform

    class State(NamedTuple):
        weights: jax.Array
        table: jax.Array
        nonfinite: Any = None

    def init(params):
        del params
        return State(jnp.ones(3), jnp.full((3, 2), jnp.inf))

    def rule(jac, state, *, new):
        return jac, State(state.weights * 2, new)

    tx = row_transform(init, rule)
    state = tx.init(ZERO)
    table = jnp.array([[1.0, jnp.inf], [2.0, 3.0], [jnp.nan, 4.0]])
    _, state = tx.update(ROWS, state, ZERO, new=table)  # it was infinite: no harm
    np.testing.assert_array_equal(state.table, table)
    np.testing.assert_array_equal(state.nonfinite, [0, 0, 0])
    worse = jnp.array([[jnp.nan, 5.0], [6.0, jnp.inf], [7.0, 8.0]])
    mask = jnp.array([True, True, False])
    _, state = tx.update(ROWS, state, ZERO, new=worse, task_mask=mask)
    expected = [[1.0, 5.0], [6.0, 3.0], [np.nan, 4.0]]
    np.testing.assert_array_equal(state.table, expected)
    np.testing.assert_array_equal(state.weights, [4.0, 4.0, 2.0])
    np.testing.assert_array_equal(state.nonfinite, [1, 1, 0])


def test_log_loss_passes_an_infinite_loss_on():
    tx = auxjax.scale_by_log_loss()
    updates, state = tx.update(ROWS, tx.init(ZERO), ZERO, losses=BAD_LOSS)
    np.testing.assert_array_equal(updates.rows(), ROWS)
    assert state.nonfinite == 1
    assert auxjax.task_metrics(state) == {}
