import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import auxjax
from auxjax.aggregation._sdmgrad import onto_simplex

J = np.array([[2.0, -1.0, 0.5, 0.0], [-1.0, 3.0, 1.0, -2.0], [0.5, -1.0, -0.5, 4.0]])
J2 = np.array([[1.0, 1.0, 0.0, -1.0], [2.0, -1.0, 1.0, 0.0], [-1.0, 0.5, 2.0, 1.0]])
J3 = np.array([[0.0, 1.0, 2.0, 1.0], [1.0, 1.0, -1.0, 0.5], [0.5, 0.0, 1.0, 2.0]])
CALM = {"learning_rate": 0.5}
AUTHORS = {"learning_rate": 10.0, "momentum": 0.5, "num_steps": 20}


def project(x):
    """Onto the simplex, by bisection on what is subtracted."""
    low, high = x.min() - 1.0, x.max()
    for _ in range(200):
        middle = (low + high) / 2
        if np.maximum(x - middle, 0).sum() > 1:
            low = middle
        else:
            high = middle
    return np.maximum(x - high, 0)


def descend(a, w, lam=0.3, learning_rate=10.0, momentum=0.5, num_steps=20):
    mean = np.full(len(w), 1 / len(w))
    a = a / np.sqrt(np.maximum(np.diagonal(a), 0)).mean() ** 2
    velocity = np.zeros(len(w))
    for _ in range(num_steps):
        velocity = momentum * velocity + a @ (w + lam * mean)
        w = project(w - learning_rate * velocity)
    return (w + lam * mean) / (1 + lam), w


def weights(a, w=None, **options):
    a = jnp.asarray(a, jnp.float32)
    w = jnp.full(len(a), 1 / len(a)) if w is None else jnp.asarray(w, jnp.float32)
    return auxjax.sdmgrad_weights(a, w, **options)


def test_projection():
    rng = np.random.default_rng(0)
    everyone = jnp.ones(4, bool)
    for scale in (0.1, 1.0, 1e6):
        x = rng.normal(size=4) * scale
        found = onto_simplex(jnp.asarray(x, jnp.float32), everyone)
        np.testing.assert_allclose(found, project(x), atol=1e-6 * max(scale, 1))
        np.testing.assert_allclose(found.sum(), 1.0, rtol=1e-5)
    some = jnp.array([True, False, True, False])
    found = onto_simplex(jnp.array([0.2, 9.0, 0.4, 1.0]), some)
    np.testing.assert_allclose(found, [0.4, 0.0, 0.6, 0.0], rtol=1e-6)


@pytest.mark.parametrize("options", [AUTHORS, CALM, CALM | {"lam": 2, "num_steps": 3}])
def test_against_algorithm_1(options, x64):
    w, mine = np.full(3, 1 / 3), jnp.full(3, 1 / 3)
    for a in (J @ J.T, J @ J2.T, J2 @ J2.T):
        expected, w = descend(a, w, **options)
        found, mine = auxjax.sdmgrad_weights(jnp.asarray(a), mine, **options)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_allclose(mine, w, atol=1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("options", [{}, {"learning_rate": 0.2, "num_steps": 500}])
def test_at_rest_it_is_the_minimum(lam, options):
    """KKT: the slope is the same where w > 0, and no less where w = 0."""
    gramian = J @ J.T
    _, w = weights(gramian, lam=lam, **options)
    w = np.asarray(w, np.float64)
    slope = gramian @ (w + lam / 3)
    np.testing.assert_allclose(w.sum(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(slope[w > 1e-4], slope.min(), atol=1e-3)


def minimum(rows, lam=0.3):
    """Σ wᵢ∇Lᵢ + λ ∇L̄ over 1 + λ, the shortest: least squares, Σw = 1 as a heavy row."""
    hull = rows + lam * rows.mean(axis=0)
    heavy = 1e5 * np.abs(hull).max()
    system = np.concatenate([hull.T, np.full((1, len(rows)), heavy)])
    right = np.append(np.zeros(rows.shape[1]), heavy)
    w, _ = scipy.optimize.nnls(system, right, maxiter=10_000)
    return w @ hull / (1 + lam)


def aggregated(rows, times=1, **options):
    tx = auxjax.sdmgrad(len(rows), **options)
    rows = jnp.asarray(rows)
    state = tx.init(rows[0])
    for _ in range(times):
        found, state = tx.update(rows, state)
    return np.asarray(found)


def test_by_default_it_is_the_minimum(x64):
    """At the first update; the authors' numbers often end worse than they began."""
    rows = np.array([[1.0, 0.0], [-2.0, 1.0]])
    np.testing.assert_allclose(aggregated(rows), [0.1, 0.3], atol=1e-9)
    np.testing.assert_allclose(minimum(rows), [0.1, 0.3], atol=1e-9)
    rng, worse = np.random.default_rng(0), 0
    for case in range(16):
        size = (4, 12)[case // 8]
        rows = rng.normal(size=(5, size)) * 10.0 ** rng.uniform(-0.5, 0.5, (5, 1))
        expected = minimum(rows)
        scale = np.abs(rows).max()
        np.testing.assert_allclose(aggregated(rows), expected, atol=1e-6 * scale)
        theirs = aggregated(rows, times=5, **AUTHORS)
        assert np.linalg.norm(theirs) > np.linalg.norm(expected) - 1e-6 * scale
        worse += np.linalg.norm(theirs) > np.linalg.norm(rows.mean(axis=0))
    assert worse >= 3


def test_from_more_batches_the_step_is_safe(x64):
    """1 / √(‖A‖₁ ‖A‖∞), in units of A over the square of the mean norm."""
    a = J @ J2.T
    scaled = np.abs(a) / np.sqrt(np.maximum(np.diagonal(a), 0)).mean() ** 2
    rate = 1 / np.sqrt(scaled.sum(axis=0).max() * scaled.sum(axis=1).max())
    expected, w = descend(a, np.full(3, 1 / 3), learning_rate=rate)
    found = auxjax.sdmgrad_weights(jnp.asarray(a), jnp.full(3, 1 / 3), symmetric=False)
    np.testing.assert_allclose(found[0], expected, atol=1e-9)
    np.testing.assert_allclose(found[1], w, atol=1e-9)
    # As the aggregator has it; a Gramian of sampled objectives is an estimate, too.
    first, second = jnp.asarray(J), jnp.asarray(J2)
    tx = auxjax.sdmgrad(3)
    g, _ = tx.update(first, tx.init(first[0]), second_jacobian=second)
    np.testing.assert_allclose(g, expected @ J, atol=1e-6)
    tx = auxjax.sdmgrad(3, objectives=3)
    _, state = tx.update(first, tx.init(first[0]))
    a = J @ J.T
    scaled = np.abs(a) / np.sqrt(np.diagonal(a)).mean() ** 2
    _, w = descend(a, np.full(3, 1 / 3), learning_rate=1 / scaled.sum(axis=0).max())
    np.testing.assert_allclose(state[0].weights, w, atol=1e-6)


def test_noisy_batches_come_near_the_minimum():
    """Far better than equal weights, which the authors' numbers are not."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(4, 20))
    rows[0] *= 3.0
    best = np.linalg.norm(minimum(rows))
    equal = np.linalg.norm(rows.mean(axis=0))

    def gap(**options):
        """How much longer than the minimum, over 100 updates; equal weights: 1."""
        tx = auxjax.sdmgrad(4, **options)

        def step(state, key):
            noise = 0.3 * jax.random.normal(key, (3, 4, 20))
            first, second, third = jnp.asarray(rows, jnp.float32)[None] + noise
            _, state = tx.update(
                first, state, second_jacobian=second, third_jacobian=third
            )
            return state, (state[0].weights + 0.3 / 4) / 1.3

        keys = jax.random.split(jax.random.key(0), 100)
        _, w = jax.jit(lambda s: jax.lax.scan(step, s, keys))(tx.init(jnp.zeros(20)))
        lengths = np.linalg.norm(np.asarray(w[50:], np.float64) @ rows, axis=1)
        return (lengths.mean() - best) / (equal - best)

    default = gap()
    assert default < 0.3
    assert gap(learning_rate=0.02, momentum=0.0) < default < gap(**AUTHORS)


def test_a_large_lambda_is_the_mean():
    found, _ = weights(J @ J.T, lam=1e6)
    np.testing.assert_allclose(found, np.full(3, 1 / 3), atol=1e-5)


def test_agrees_with_torchjd():
    """TorchJD 0.18: SDMGradWeighting(lr=1.0) on J Jᵀ, then on J J2ᵀ."""
    found, w = weights(J @ J.T, learning_rate=1.0)
    np.testing.assert_allclose(found, [0.372924, 0.3687386, 0.2583375], atol=1e-4)
    found, _ = weights(J @ J2.T, w, learning_rate=1.0)
    np.testing.assert_allclose(found, [0.8461538, 0.0769231, 0.0769231], atol=1e-4)


def test_degenerate_gradients():
    third = np.full(3, 1 / 3)
    np.testing.assert_allclose(weights(np.zeros((3, 3)))[0], third, rtol=1e-6)
    np.testing.assert_allclose(weights(np.ones((3, 3)))[0], third, rtol=1e-5)
    np.testing.assert_allclose(
        weights([[1, -2], [-2, 4]], lam=0.0, num_steps=60, **CALM)[0],
        [2 / 3, 1 / 3],
        atol=1e-4,
    )
    np.testing.assert_allclose(weights([[1, 0], [0, 0]], lam=0.0)[0], [0, 1], atol=1e-9)
    np.testing.assert_allclose(weights([[7.0]])[0], [1.0], rtol=1e-6)
    # From two batches even the diagonal may be negative.
    found, _ = weights([[-1.0, 2.0], [0.5, -3.0]], symmetric=False)
    assert np.all(np.isfinite(found))
    np.testing.assert_allclose(found.sum(), 1.0, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_scales(scale):
    found, _ = weights(J @ J.T * scale, **CALM)
    np.testing.assert_allclose(found, weights(J @ J.T, **CALM)[0], rtol=1e-4)


def test_an_absent_task_counts_nothing():
    w = jnp.array([0.5, 0.2, 0.3])
    present = jnp.array([True, False, True])
    found, moved = weights(J @ J.T, w, present=present, **CALM)
    kept, moved_small = weights((J @ J.T)[::2, ::2], jnp.array([0.6, 0.4]), **CALM)
    np.testing.assert_allclose(found, [kept[0], 0.0, kept[1]], atol=1e-5)
    np.testing.assert_allclose(moved[::2], moved_small, atol=1e-5)
    np.testing.assert_array_equal(moved[1], w[1])


def rows_of(*matrices):
    return [jnp.asarray(m, jnp.float32) for m in matrices]


def test_independent_batches():
    """One, two or three Jacobians: which product w follows, which rows are summed."""
    first, second, third = rows_of(J, J2, J3)
    tx = auxjax.sdmgrad(3, **CALM)
    state = tx.init(jnp.zeros(4))
    for given, cross in [
        ({}, J @ J.T),
        ({"second_jacobian": second}, J @ J2.T),
        ({"second_jacobian": second, "third_jacobian": third}, J2 @ J3.T),
    ]:
        found, after = tx.update(first, state, **given)
        expected, w = descend(cross, np.full(3, 1 / 3), **CALM)
        np.testing.assert_allclose(found, expected @ J, atol=1e-4)
        np.testing.assert_allclose(after[0].weights, w, atol=1e-4)


def test_the_weights_are_taken_on():
    (rows,) = rows_of(J)
    tx = auxjax.sdmgrad(3, num_steps=1, momentum=0.0, **CALM)
    state, w = tx.init(jnp.zeros(4)), np.full(3, 1 / 3)
    for _ in range(4):
        found, state = tx.update(rows, state)
        expected, w = descend(J @ J.T, w, num_steps=1, momentum=0.0, **CALM)
        np.testing.assert_allclose(found, expected @ J, atol=1e-5)


def model(params, x):
    features = jnp.tanh(x @ params["body"])
    return tuple(jnp.mean((features @ params[h] - i) ** 2) for i, h in enumerate("ab"))


def test_heads_see_their_own_batch_only():
    params = {
        "body": jnp.array([[0.5, -0.3], [0.2, 0.8]]),
        "a": jnp.array([1.0, -1.0]),
        "b": jnp.array([0.5, 0.5]),
    }
    x = [jax.random.normal(jax.random.key(i), (8, 2)) for i in range(3)]
    jacs = [auxjax.task_jacobian(model, params, batch) for batch in x]
    where = {"body": True, "a": False, "b": False}
    for options in ({}, {"task_mask": jnp.array([True, True])}):
        tx = auxjax.sdmgrad(**CALM)
        found, state = tx.update(
            jacs[0],
            tx.init(params),
            params,
            second_jacobian=jacs[1],
            third_jacobian=jacs[2],
            **options,
        )
        rows = [np.asarray(jac.rows()["body"]).reshape(2, -1) for jac in jacs]
        expected, w = descend(rows[1] @ rows[2].T, np.full(2, 0.5), **CALM)
        np.testing.assert_allclose(
            found["body"].reshape(-1), expected @ rows[0], atol=1e-5
        )
        np.testing.assert_allclose(state[0].weights, w, atol=1e-4)
        total = jacs[0].vjp(jnp.ones(2))
        for head in "ab":
            np.testing.assert_allclose(found[head], total[head], rtol=1e-5)
        stacked = auxjax.sdmgrad(where=where, **CALM)
        again, _ = stacked.update(
            jacs[0].rows(),
            stacked.init(params),
            second_jacobian=jacs[1].rows(),
            third_jacobian=jacs[2].rows(),
            **options,
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4), found, again)


def test_integer_parameters_are_let_through():
    params = {"x": jnp.array([1.0, 2.0]), "n": jnp.array([3])}

    def losses(p):
        return jnp.sum(p["x"] ** 2), p["x"][0] * p["n"][0].astype(float)

    jac = auxjax.task_jacobian(losses, params)
    tx = auxjax.sdmgrad(**CALM)
    found, _ = tx.update(jac, tx.init(params), params, second_jacobian=jac)
    alone, _ = tx.update(jac, tx.init(params), params)
    np.testing.assert_allclose(found["x"], alone["x"], rtol=1e-5)
    assert found["n"].dtype == jax.dtypes.float0
    assert found["n"].shape == (1,)


def test_sampled_objectives():
    """Two of three tasks per update, the gradient 3/2 times as long; all get a turn."""
    tx = auxjax.sdmgrad(3, objectives=2, key=jax.random.key(1), **CALM)
    step = jax.jit(lambda state: tx.update(jnp.eye(3), state))
    state, seen = tx.init(jnp.zeros(3)), set()
    for _ in range(30):
        before = np.asarray(state[0].weights)
        found, state = step(state)
        sampled = np.asarray(found) != 0
        assert sampled.sum() == 2
        cross = np.eye(3) * sampled
        expected, _ = descend(cross, before, **CALM)
        np.testing.assert_allclose(found, 1.5 * expected * sampled, atol=1e-4)
        seen.add(tuple(sampled.tolist()))
    assert len(seen) == 3


def test_refusals():
    for options, message in [
        ({"num_tasks": 0}, "`num_tasks` should be at least 1. Found 0."),
        ({"num_steps": 0}, "`num_steps` should be at least 1. Found 0."),
        ({"lam": -1.0}, "`lam` should be at least 0. Found -1.0."),
        ({"learning_rate": 0.0}, "`learning_rate` should be above 0. Found 0.0."),
        ({"momentum": 1.0}, r"`momentum` should be in \[0, 1\). Found 1.0."),
        ({"objectives": 3}, r"`objectives` should be in 1..2. Found 3."),
    ]:
        with pytest.raises(ValueError, match=message):
            auxjax.sdmgrad(**options)
    tx = auxjax.sdmgrad()
    state = tx.init(jnp.zeros(4))
    rows = jnp.asarray(J[:2], jnp.float32)
    with pytest.raises(ValueError, match="`second_jacobian` should be given with"):
        tx.update(rows, state, third_jacobian=rows)
    with pytest.raises(ValueError, match="`num_tasks` should be 3"):
        tx.update(rows, state, second_jacobian=jnp.asarray(J, jnp.float32))


@pytest.mark.parametrize("options", [{}, {"learning_rate": 0.1}, {"objectives": 1}])
def test_a_batch_that_is_not_finite_leaves_no_trace(options):
    tx = auxjax.sdmgrad(**options)
    params = jnp.zeros(2)
    good, bad = jnp.eye(2) * 2.0, jnp.array([[1.0, 0.0], [jnp.inf, 0.0]])
    _, before = tx.update(good, tx.init(params), params)
    update, after = tx.update(bad, before, params)
    assert not np.all(np.isfinite(update)) or options.get("objectives")
    np.testing.assert_array_equal(after[0].weights, before[0].weights)
    update, _ = tx.update(good, after, params)
    assert np.all(np.isfinite(update))
