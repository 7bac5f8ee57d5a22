"""`from_weights` and `from_rows`: everything about aggregators that is no method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax
from auxjax.aggregation._build import from_rows, from_weights, gramian_of, weighted_sum

P = {
    "body": {"w": jnp.array([[0.5, -0.3], [0.2, 0.8]]), "b": jnp.array([0.1, -0.2])},
    "a": jnp.array([1.0, -1.0]),
    "b": jnp.array([0.5, 2.0]),
}
X = jnp.array([[1.0, 2.0], [-1.0, 0.5], [0.3, -0.7]])
BODY = {"body": True, "a": False, "b": False}


def losses(p):
    features = jnp.tanh(X @ p["body"]["w"] + p["body"]["b"][None])
    return (
        jnp.mean((features @ p["a"] - 1.0) ** 2),
        jnp.mean((features @ p["b"] + 2.0) ** 2),
    )


def fixed(*weights, **options):
    return from_weights(lambda gramian, present: jnp.array(weights), **options)


def by_gramian(**options):
    """Weights that tell which Gramian they came from."""
    return from_weights(lambda gramian, present: jnp.diagonal(gramian), **options)


def run(tx, updates, params=P, **extra):
    return tx.update(updates, tx.init(P), params, **extra)[0]


def close(found, expected, rtol=1e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol, 1e-6), found, expected
    )


@pytest.fixture
def jac():
    return auxjax.task_jacobian(losses, P)


@pytest.fixture
def rows(jac):
    return jax.tree.map(np.asarray, jac.rows())


def test_heads_keep_their_own_gradient(jac, rows):
    """The shared parameters are found from the losses; heads get the plain sum."""
    found = run(fixed(2.0, -3.0), jac)
    close(found["body"], jax.tree.map(lambda r: 2 * r[0] - 3 * r[1], rows["body"]))
    close(found["a"], rows["a"][0])
    close(found["b"], rows["b"][1])
    assert np.all(rows["a"][1] == 0)
    assert np.any(rows["a"][0] != 0)


@pytest.mark.parametrize("where", [BODY, lambda params: BODY], ids=["mask", "function"])
def test_where_for_stacked_gradients(jac, rows, where):
    for updates in (jac, jac.rows()):
        found = run(fixed(2.0, -3.0, where=where), updates)
        close(found, run(fixed(2.0, -3.0), jac))


def test_stacked_gradients_are_shared_everywhere(jac, rows):
    found = run(fixed(2.0, -3.0), jac.rows())
    close(found, jax.tree.map(lambda r: 2 * r[0] - 3 * r[1], rows))


def test_where_may_leave_shared_leaves_out(jac, rows):
    where = {"body": {"w": True, "b": False}, "a": False, "b": False}
    found = run(fixed(2.0, -3.0, where=where), jac)
    close(found["body"]["w"], 2 * rows["body"]["w"][0] - 3 * rows["body"]["w"][1])
    close(found["body"]["b"], rows["body"]["b"].sum(axis=0))


def test_where_nothing(jac):
    found = run(fixed(2.0, -3.0, where=lambda p: False), jac)
    close(found, jac.vjp(jnp.ones(2)))


def test_the_gramian_is_that_of_the_shared_parameters(jac, rows):
    seen = []
    tx = from_weights(lambda g, present: (seen.append(g), jnp.ones(2))[1], where=BODY)
    run(tx, jac.rows())
    flat = np.concatenate([x.reshape(2, -1) for x in jax.tree.leaves(rows["body"])], 1)
    assert len(seen) == 1
    np.testing.assert_allclose(seen[0], flat @ flat.T, rtol=1e-5)


def alone(rows, picked):
    """`by_gramian` of some leaves alone."""
    flat = np.concatenate([rows[k].reshape(2, -1) for k in picked], 1)
    norms = np.sum(flat**2, 1)
    return {k: np.tensordot(norms, rows[k], 1) for k in picked}


def test_rows_of_numpy(rows):
    found = run(fixed(2.0, -3.0), rows)
    close(found, jax.tree.map(lambda r: 2 * r[0] - 3 * r[1], rows))


FLAT = {"u": jnp.zeros(2), "v": jnp.zeros((2, 3)), "w": jnp.zeros(())}
FLAT_ROWS = {
    "u": np.array([[1.0, 2.0], [0.5, -1.0]], np.float32),
    "v": np.arange(12, dtype=np.float32).reshape(2, 2, 3) / 5 - 1,
    "w": np.array([3.0, -2.0], np.float32),
}


@pytest.mark.parametrize(
    ("groups", "parts"),
    [
        (None, ["uvw"]),
        ("leaf", ["u", "v", "w"]),
        ({"u": 0, "v": 1, "w": 0}, ["uw", "v"]),
        (lambda p: {k: "big" if x.ndim == 2 else "small" for k, x in p.items()}, None),
        (lambda p: "one", ["uvw"]),
    ],
)
def test_each_group_is_aggregated_alone(groups, parts):
    expected = {}
    for part in parts or ["uw", "v"]:
        expected |= alone(FLAT_ROWS, part)
    tx = by_gramian(groups=groups)
    state = tx.init(FLAT)
    assert len(state) == len(parts or ["uw", "v"])
    for params in (FLAT, None):
        found, after = tx.update(FLAT_ROWS, state, params)
        close(found, expected)
        assert len(after) == len(state)


def test_a_label_may_stand_for_a_subtree(jac, rows):
    labels = {"body": "trunk", "a": "head", "b": "head"}
    found = run(by_gramian(groups=labels), jac)
    close(found, run(by_gramian(), jac))
    leaves = run(by_gramian(groups="leaf"), jac)
    bias = rows["body"]["b"]
    close(leaves["body"]["b"], np.sum(bias**2, 1) @ bias)


def test_groups_have_states_of_their_own():
    def reduce(leaves, present, state, losses):
        return [leaf[0] * state for leaf in leaves], state + len(leaves)

    tx = from_rows(
        reduce, init_group=lambda i: 10.0 * (i + 1), groups={"u": 0, "v": 1, "w": 0}
    )
    state = tx.init(FLAT)
    assert state == (10.0, 20.0)
    found, state = tx.update(FLAT_ROWS, state, FLAT)
    assert state == (12.0, 21.0)
    close(found["v"], 20 * FLAT_ROWS["v"][0])
    close(found["w"], 10 * FLAT_ROWS["w"][0])


def test_a_group_without_shared_leaves_keeps_its_state(jac, rows):
    def reduce(leaves, present, state, losses):
        return [leaf[0] for leaf in leaves], state + 1.0

    tx = from_rows(reduce, init_group=lambda i: 0.0, groups={"body": 0, "a": 1, "b": 1})
    found, state = tx.update(jac, tx.init(P), P)
    assert state == (0.0, 1.0)  # the heads' group comes first: "a" before "body"
    close(found["b"], rows["b"][1])


@pytest.mark.parametrize("groups", ["layer", {"u": 0}, {"x": 0, "v": 0, "w": 0}])
def test_refused_groups(groups):
    with pytest.raises(ValueError, match="`groups` should be"):
        by_gramian(groups=groups).init(FLAT)


def test_the_reducer_sees_mask_and_losses(jac):
    seen = []

    def reduce(leaves, present, state, losses):
        seen.append((present, losses))
        return [leaf[0] for leaf in leaves], state

    tx = from_rows(reduce)
    mask = jnp.array([True, False])
    run(tx, jac)
    run(tx, jac.rows(), losses=jnp.array([5.0, 7.0]), task_mask=mask)
    run(tx, jac.rows())
    assert seen[0][0] is None
    np.testing.assert_allclose(seen[0][1], jac.losses)
    np.testing.assert_array_equal(seen[1][0], mask)
    np.testing.assert_array_equal(seen[1][1], [5.0, 0.0])  # an absent task's is 0
    assert seen[2] == (None, None)


def test_an_absent_task_counts_nothing(jac, rows):
    mask = jnp.array([False, True])
    found = run(fixed(2.0, -3.0), jac, task_mask=mask)
    close(found["body"], jax.tree.map(lambda r: -3 * r[1], rows["body"]))
    np.testing.assert_array_equal(found["a"], np.zeros(2))
    close(found["b"], rows["b"][1])


@pytest.mark.parametrize(
    "mask", [jnp.array([True]), jnp.array([1.0, 0.0]), jnp.ones((2, 1), bool)]
)
def test_refused_task_masks(jac, mask):
    with pytest.raises(ValueError, match="`task_mask` should be bools of shape"):
        run(fixed(1.0, 1.0), jac, task_mask=mask)


def test_the_number_of_tasks(jac):
    tx = from_rows(lambda leaves, *_: ([x[0] for x in leaves], ()), num_tasks=3)
    for updates in (jac, jac.rows()):
        with pytest.raises(ValueError, match="Pass `num_tasks=2` to the rule"):
            run(tx, updates)


def test_a_summed_gradient_is_refused(jac):
    with pytest.raises(ValueError, match="already summed over the tasks"):
        run(fixed(1.0, 1.0), jac.vjp(jnp.ones(2)))
    summed = jax.tree.map(lambda r: r[0], FLAT_ROWS)
    for params in (FLAT, None):
        with pytest.raises(ValueError, match="already summed over the tasks"):
            run(fixed(1.0, 1.0), summed, params)


def test_another_structure_is_refused(jac):
    with pytest.raises(ValueError, match="structure of the parameters"):
        run(fixed(1.0, 1.0), {"body": jac.rows()["body"]})


def test_losses_of_another_shape_are_refused(jac):
    with pytest.raises(ValueError, match="`losses` should have shape"):
        run(fixed(1.0, 1.0), jac.rows(), losses=jnp.ones(3))


def test_bfloat16_rows_are_summed_in_float32():
    """256 + 1 is 256 in bfloat16: a sum that rounds on the way loses all the ones."""
    rows = jnp.concatenate([jnp.full((1, 3), 256.0), jnp.ones((64, 3))])
    rows = rows.astype(jnp.bfloat16)
    tx = from_weights(lambda gramian, present: jnp.ones(65, gramian.dtype))
    found, _ = tx.update(rows, tx.init(rows[0]), rows[0])
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found.astype(jnp.float32), np.full(3, 320.0))
    gramian = gramian_of([rows])
    assert gramian.dtype == jnp.float32
    assert gramian[0, 1] == 768.0
    assert gramian_of([rows, rows.astype(jnp.float32)])[0, 1] == 1536.0


def test_leaves_of_different_precision():
    rows = {"x": jnp.ones((2, 3), jnp.bfloat16), "y": jnp.ones((2, 2))}
    params = jax.tree.map(lambda r: r[0], rows)
    tx = by_gramian()
    found, _ = tx.update(rows, tx.init(params), params)
    assert (found["x"].dtype, found["y"].dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_array_equal(found["y"], [10.0, 10.0])


def test_float64(x64):
    rows = jnp.array([[1.0, 2.0], [3.0, 4.0]]) / 3
    tx = by_gramian()
    found, _ = tx.update(rows, tx.init(rows[0]), rows[0])
    assert found.dtype == jnp.float64
    expected = np.diagonal(rows @ rows.T) @ np.asarray(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_integer_parameters_are_let_through():
    params = {"n": jnp.array([3]), "x": jnp.array([1.0, 2.0])}

    def two(p):
        return jnp.sum(p["x"] ** 2), p["x"][0] * p["n"][0].astype(float)

    jac = auxjax.task_jacobian(two, params)
    for updates in (jac, jac.rows()):
        tx = fixed(1.0, 10.0)
        found, _ = tx.update(updates, tx.init(params), params)
        np.testing.assert_allclose(found["x"], [2.0 + 30.0, 4.0])
        assert found["n"].dtype == jax.dtypes.float0
        assert found["n"].shape == (1,)


def test_weighted_sum_and_gramian_by_hand():
    leaves = [jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([5.0, -6.0])]
    np.testing.assert_array_equal(gramian_of(leaves), [[30.0, -19.0], [-19.0, 61.0]])
    first, second = weighted_sum(jnp.array([2.0, 1.0]), leaves)
    np.testing.assert_array_equal(first, [5.0, 8.0])
    np.testing.assert_array_equal(second, 4.0)
    first, second = weighted_sum(
        jnp.array([2.0, jnp.nan]), leaves, jnp.array([True, False])
    )
    np.testing.assert_array_equal(first, [2.0, 4.0])
    np.testing.assert_array_equal(second, 10.0)


def test_under_jit_and_in_a_chain(jac):
    import optax

    tx = optax.chain(auxjax.scale_by_fixed((1.0, 0.5)), fixed(2.0, 4.0), optax.sgd(0.1))

    @jax.jit
    def step(params, state):
        jac = auxjax.task_jacobian(losses, params)
        return tx.update(jac, state, params)

    updates, _ = step(P, tx.init(P))
    body = jax.tree.map(lambda r: -0.1 * (2 * r[0] + 2 * r[1]), jac.rows()["body"])
    close(updates["body"], body)
    close(updates["b"], -0.05 * jac.rows()["b"][1])
