"""`monitor_tasks`: the numbers of `diagnose` while training, and nothing is changed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from auxjax.run import restore, save
from tests.diagnosis.conftest import Problem


def close(found, expected, rtol=1e-9):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


def watch(problem, tx, x, mask=None):
    """The state after these batches, by one `scan`; the parameters stay."""
    params = problem.params()

    def step(state, batch):
        jac = auxjax.task_jacobian(problem.losses, params, batch[0])
        more = {} if mask is None else {"task_mask": batch[1]}
        _, state = tx.update(jac, state, params, **more)
        return state, None

    given = jnp.asarray(x), None if mask is None else jnp.asarray(mask)
    return jax.jit(lambda state: jax.lax.scan(step, state, given)[0])(tx.init(params))


@pytest.mark.parametrize(
    ("window", "every", "last"),
    [(5, 0, []), (5, 1, [7, 8, 9, 10, 11]), (5, 3, [6, 9]), (4, 2, [8, 10])],
)
def test_the_last_batches_are_those_of_diagnose(four, window, every, last):
    """A short window after twelve batches, which its ring has wrapped around."""
    state = watch(four, auxjax.monitor_tasks(4, window, pairs_every=every), four.x)
    found = auxjax.diagnosis_of({"opt": (state,)}, four.names)
    whole = auxjax.diagnose(four.losses, four.params(), jnp.asarray(four.x))
    close(found.inner_products, whole.inner_products[-window:])
    np.testing.assert_array_equal(found.pair_batches, last)
    close(found.pair_cosines, whole.pair_cosines[last].reshape(-1, 4, 4))
    close(found.pair_norms, whole.pair_norms[last].reshape(-1, 4))
    close(state.signal_to_noise, found.signal_to_noise)
    close(state.share_positive, found.share_positive)
    if every:
        close(state.cosines, found.cosines[0])
        close(state.norms, found.norms)
    assert (state.count, found.names) == (12, four.names)


def test_before_the_window_is_full(four):
    state = watch(four, auxjax.monitor_tasks(4, 50, pairs_every=2), four.x[:3])
    found = auxjax.diagnosis_of(state)
    assert found.names == ("main", "aux_1", "aux_2", "aux_3")
    assert found.inner_products.shape == (3, 4)
    np.testing.assert_array_equal(found.pair_batches, [0, 2])
    nothing = auxjax.monitor_tasks(4, pairs_every=2).init(four.params())
    assert auxjax.diagnosis_of(nothing).verdicts()[1] == "too few batches"
    for name in ("signal_to_noise", "share_positive", "cosines", "norms"):
        np.testing.assert_array_equal(getattr(nothing, name), np.zeros(4))
    one = watch(four, auxjax.monitor_tasks(4), four.x[:1])
    np.testing.assert_array_equal(one.signal_to_noise, np.zeros(4))


def test_it_changes_nothing(four):
    plain = optax.chain(auxjax.olaux(2, 4), optax.sgd(0.1))
    watched = optax.chain(auxjax.monitor_tasks(4, 5, pairs_every=2), plain)
    found = []
    for tx in (plain, watched):

        @jax.jit
        def step(params, state, x, tx=tx):
            jac = auxjax.task_jacobian(four.losses, params, x)
            updates, state = tx.update(jac, state, params)
            return optax.apply_updates(params, updates), state

        params, state = four.params(), tx.init(four.params())
        for x in jnp.asarray(four.x):
            params, state = step(params, state, x)
        found.append(params)
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_absent_and_broken_tasks_do_not_count(four):
    mask = np.ones((12, 4), bool)
    mask[::3, 2], mask[-1, 0] = False, False
    given = [{"x": x, "m": jnp.asarray(m)} for x, m in zip(four.x, mask, strict=True)]
    whole = auxjax.diagnose(
        lambda p, batch: four.losses(p, batch["x"]),
        four.params(),
        given,
        task_mask=lambda batch: batch["m"],
    )
    tx = auxjax.monitor_tasks(4, 50, pairs_every=1)
    found = auxjax.diagnosis_of(watch(four, tx, four.x, mask))
    close(found.inner_products, whole.inner_products)
    close(found.pair_cosines, whole.pair_cosines)

    bad = jnp.asarray(four.x).at[3].set(jnp.nan)  # every task's
    state = watch(four, tx, bad)
    np.testing.assert_array_equal(state.nonfinite, [1] * 4)
    found = auxjax.diagnosis_of(state)
    np.testing.assert_array_equal(found.counts, [11] * 4)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


def test_what_a_rule_before_it_did_is_seen(four):
    tx = optax.chain(auxjax.scale_by_log_loss(), auxjax.monitor_tasks(4, 50))
    found = auxjax.diagnosis_of(watch(four, tx, four.x)).inner_products
    values = np.stack([four.losses_at(four.w, x) for x in four.x])
    dots = np.stack([four.rows(x) @ four.rows(x)[0] for x in four.x])
    close(found, dots / (values * values[:, :1]))


def test_metrics_have_its_numbers(four):
    tx = optax.chain(auxjax.monitor_tasks(4, pairs_every=1), auxjax.olaux(2, 4))
    state = watch(four, tx, four.x)
    metrics = auxjax.task_metrics(state)
    assert set(metrics) >= {"weights", "cosines", "norms", "signal_to_noise"}
    close(metrics["signal_to_noise"], state[0].signal_to_noise)
    close(metrics["share_positive"], state[0].share_positive)
    close(metrics["diagnosis/nonfinite"], np.zeros(4))
    close(optax.tree.get(state, "share_positive"), state[0].share_positive)
    close(metrics["cosines"], state[0].cosines)


def test_stacked_gradients_one_task_and_forty(x64):
    for num_tasks in (1, 2, 40):
        problem = Problem(num_tasks)
        tx = auxjax.monitor_tasks(num_tasks, 50, pairs_every=4)
        found = auxjax.diagnosis_of(watch(problem, tx, problem.x), problem.names)
        given = jnp.asarray(problem.x)
        whole = auxjax.diagnose(problem.losses, problem.params(), given, pairs_every=4)
        close(found.inner_products, whole.inner_products)
        close(found.cosines, whole.cosines)
        state, update = tx.init({"w": problem.w}), jax.jit(tx.update)
        for x in problem.x:
            _, state = update({"w": jnp.asarray(problem.rows(x))}, state)
        found = auxjax.diagnosis_of(state)
        dots = [problem.rows(x) @ problem.rows(x)[0] for x in problem.x]
        close(found.inner_products, dots)


def test_lesser_precision():
    problem = Problem(4)
    tx = auxjax.monitor_tasks(4, 50, pairs_every=2)
    for dtype in ("float32", "bfloat16"):
        params = problem.params(dtype)

        @jax.jit
        def step(state, x, params=params):
            jac = auxjax.task_jacobian(problem.losses, params, x)
            return tx.update(jac, state)[1]

        state = tx.init(params)
        for x in problem.x:
            state = step(state, jnp.asarray(x, dtype))
        assert state.inner_products.dtype == jnp.float32
        dots = np.stack([problem.rows(x) @ problem.rows(x)[0] for x in problem.x])
        rtol = 1e-4 if dtype == "float32" else 0.05
        found = auxjax.diagnosis_of(state).inner_products
        np.testing.assert_allclose(found, dots, rtol=rtol, atol=rtol * abs(dots).max())


def test_it_is_saved_and_goes_on(four, tmp_path):
    tx = auxjax.monitor_tasks(4, 5, pairs_every=2)
    step = jax.jit(
        lambda state, x: tx.update(
            auxjax.task_jacobian(four.losses, four.params(), x), state
        )[1],
        donate_argnums=0,
    )
    state = tx.init(four.params())
    for number, x in enumerate(jnp.asarray(four.x)):
        if number == 7:
            save(tmp_path, number, state)
            _, state = restore(tmp_path, tx.init(four.params()))
        state = step(state, x)
    expected = watch(four, tx, four.x)
    jax.tree.map(np.testing.assert_allclose, state, expected)


def test_many_at_once(four):
    """Seeds side by side, by `vmap`; one of them is looked at."""
    tx = auxjax.monitor_tasks(4, 5, pairs_every=2)
    order = np.stack([four.x, four.x[::-1]])
    params = four.params()

    def of(x):
        def step(state, x):
            jac = auxjax.task_jacobian(four.losses, params, x)
            return tx.update(jac, state)[1], None

        return jax.lax.scan(step, tx.init(params), x)[0]

    states = jax.jit(jax.vmap(of))(jnp.asarray(order))
    for i in range(2):
        one = jax.tree.map(lambda x, i=i: x[i], states)
        jax.tree.map(close, one, watch(four, tx, order[i]))


def price(tx, num_tasks):
    """Operations of a step, as the compiler counts them."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    params = {
        "layers": [draw(64, 64), draw(64, 64)],
        "heads": [draw(64, 2) for _ in range(num_tasks)],
    }

    def losses(params, x):
        for layer in params["layers"]:
            x = jnp.tanh(x @ layer)
        return tuple(jnp.mean((x @ h) ** 2) for h in params["heads"])

    def step(params, state, x):
        jac = auxjax.task_jacobian(losses, params, x)
        return tx.update(jac, state, params)

    lowered = jax.jit(step).lower(params, tx.init(params), draw(32, 64))
    return lowered.compile().cost_analysis()["flops"]


def test_it_costs_what_olaux_costs():
    for num_tasks in (5, 40):
        watched = optax.chain(auxjax.monitor_tasks(num_tasks, 20), auxjax.sum_tasks())
        olaux = price(auxjax.olaux(5, num_tasks), num_tasks)
        assert 0.9 * olaux < price(watched, num_tasks) < 1.1 * olaux


@pytest.mark.parametrize("rule", [auxjax.olaux(5, 40), auxjax.gcs(num_tasks=40)])
def test_behind_it_a_rule_that_asks_the_same_costs_nothing(rule):
    """The compiler makes the inner products once."""
    both = optax.chain(auxjax.monitor_tasks(40, 20), rule)
    assert price(both, 40) < 1.05 * price(rule, 40)


def test_refusals(four):
    for options, said in {
        (0, 100): "`num_tasks` should be at least 1. Found 0",
        (3, 1): "`window` should be at least 2. Found 1",
    }.items():
        with pytest.raises(ValueError, match=said):
            auxjax.monitor_tasks(*options)
    with pytest.raises(ValueError, match=r"`pairs_every` should be at least 0"):
        auxjax.monitor_tasks(3, pairs_every=-1)
    jac = auxjax.task_jacobian(four.losses, four.params(), jnp.asarray(four.x[0]))
    tx = auxjax.monitor_tasks(3)
    with pytest.raises(ValueError, match=r"`num_tasks` should be 4"):
        tx.update(jac, tx.init(four.params()))
    with pytest.raises(ValueError, match=r"hold the state of a `monitor_tasks`"):
        auxjax.diagnosis_of(optax.adam(0.1).init(four.params()))
    state = auxjax.monitor_tasks(4).init(four.params())
    with pytest.raises(ValueError, match=r"`names` should be 4, one per task. Found 1"):
        auxjax.diagnosis_of(state, ["main"])
