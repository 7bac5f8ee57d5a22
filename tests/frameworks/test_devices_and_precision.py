"""The page on many devices, half precision and frozen leaves keeps its promises."""

import jax
import numpy as np
import optax
import pytest

import auxjax
from tests.frameworks._pages import run, sections

PAGE = "devices_and_precision.md"


def together(rules):
    """Rules side by side, each with its own step; the first one moves the parameters.

    Its state is `{rule: (state, updates)}`.
    """

    def init(params):
        still = optax.tree.zeros_like(params)
        return {name: (rule.init(params), still) for name, rule in rules.items()}

    def update(jac, state, params, **extra):
        after = {}
        for name, rule in rules.items():
            updates, new = rule.update(jac, state[name][0], params, **extra)
            after[name] = new, updates
        return after[next(iter(rules))][1], after

    return optax.GradientTransformationExtraArgs(init, update)


def after_a_step(names, rules):
    """Parameters, `{rule: (state, updates)}` and losses, by the page's own step."""
    names["tx"] = tx = together(rules)
    with jax.numpy_dtype_promotion("standard"):  # for Optax's Adam
        return jax.jit(names["step"])(
            names["params"],
            tx.init(names["params"]),
            names["batch"],
            names["other_batch"],
        )


def assert_alike(found, expected, tolerance):
    """Each leaf, relative to its largest number."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for one, other in pairs:
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        scale = max(np.abs(other).max(), 1e-12)
        np.testing.assert_allclose(one / scale, other / scale, atol=tolerance)


def test_every_rule_on_eight_devices_does_what_it_does_on_one(quick_compilation):
    assert jax.device_count() == 8
    names = run(PAGE, "The model")
    tx = together(names["RULES"])
    expected = after_a_step(names, names["RULES"])
    given = {"tx": tx, "opt_state": tx.init(names["params"])}
    found = run(PAGE, "The model", "Same parameters, many devices", **given)
    assert len(found["by_jit"][2].sharding.device_set) == 8
    for how in ("by_jit", "by_shard_map"):
        assert_alike(found[how], expected, 1e-4)
    for device in range(8):
        own = jax.tree.map(lambda x, device=device: x[device], found["by_pmap"])
        assert_alike(own, expected, 1e-4)


def test_the_mean_of_the_losses_alone_is_not_enough():
    """Why the page has the parameters' mean too: the gradient is the local one."""
    names = run(PAGE, "The model")
    losses, (x, y) = names["losses"], names["batch"]
    parts = x.reshape(8, 2, 3), y.reshape(8, 2)

    def gradient(mean_of_parameters):
        def loss(params, batch):
            if mean_of_parameters:
                params = jax.lax.pmean(params, "data")
            return jax.lax.pmean(losses(params, batch)["main"], "data")

        mapped = jax.pmap(jax.grad(loss), axis_name="data", in_axes=(None, 0))
        return mapped(names["params"], parts)["trunk"]

    expected = jax.grad(lambda p: losses(p, names["batch"])["main"])(names["params"])
    local = jax.vmap(
        lambda *b: jax.grad(lambda p: losses(p, b)["main"])(names["params"])
    )
    np.testing.assert_allclose(gradient(False), local(*parts)["trunk"], rtol=1e-4)
    for own in gradient(True):
        np.testing.assert_allclose(own, expected["trunk"], rtol=1e-4)


SIZE = 0.25  # of the losses, so that 2¹⁵ times their gradients' sum is below 65,504


def in_precision(half, scale, size=SIZE):
    """What the page's rules do to `size` times the losses, in precision `half`."""
    code = sections(PAGE)["Mixed precision"][0]
    code = code.replace("SCALE = 2.0**15", f"SCALE = {scale}")
    code = code.replace("half = jnp.float16", f"half = jnp.{half}")
    code = code.replace("SCALE * jnp.mean", f"{size} * SCALE * jnp.mean")
    names = run(PAGE, "The model")
    with jax.numpy_dtype_promotion("standard"):
        exec(code, names)
    _, state, losses = after_a_step(names, names["RULES"])
    weights = {
        name: optax.tree.get(state[name][0], "weights") for name in ("olaux", "gcs")
    }
    updates = {name: state[name][1] for name in names["RULES"]}
    slope = optax.tree.get(state["autolambda"][0], "meta_gradient")
    return weights, updates, (slope / scale, losses / scale)


@pytest.fixture(scope="module")
def in_float32():
    return in_precision("float32", 1.0)


@pytest.mark.parametrize(("half", "tolerance"), [("float16", 5e-3), ("bfloat16", 4e-2)])
def test_the_loss_scale_is_felt_by_no_rule(half, tolerance, in_float32):
    found = in_precision(half, 2.0**15)
    weights = in_float32[0]["olaux"]
    assert np.abs(weights[1:] - 1).min() > 1e-4  # they moved
    assert_alike(found, in_float32, tolerance)
    np.testing.assert_allclose(
        found[0]["olaux"] - 1, weights - 1, rtol=2 * tolerance, atol=3e-7
    )


def test_what_the_loss_scale_is_for(in_float32):
    """Small gradients are there with it, and gone without."""
    size = 2.0**-20
    scaled = in_precision("float16", 2.0**15, size)[1]["cagrad"]
    plain = in_precision("float16", 1.0, size)[1]["cagrad"]
    right = jax.tree.map(lambda x: size / SIZE * x, in_float32[1]["cagrad"])
    assert_alike(scaled, right, 5e-3)
    with pytest.raises(AssertionError):
        assert_alike(plain, right, 5e-2)


def test_frozen_leaves_two_ways(quick_compilation):
    """Not differentiated, or frozen by the optimizer: the others learn the same."""
    names = run(PAGE, "The model", "Frozen leaves")
    rules = run(PAGE, "The model")["RULES"]
    names["tx"] = tx = together(rules)
    trained = names["without"](names["params"], "decoder")
    given = names["batch"], names["other_batch"]
    with jax.numpy_dtype_promotion("standard"):
        own = jax.jit(names["step_of_trained"])(trained, tx.init(trained), *given)
    all_of_them = after_a_step(names, names["RULES"])
    np.testing.assert_array_equal(all_of_them[0]["decoder"], names["params"]["decoder"])
    for rule in rules:
        updates = dict(all_of_them[1][rule][1])
        assert not np.any(updates.pop("decoder")), rule
        assert_alike(updates, own[1][rule][1], 1e-5)
        assert optax.tree.norm(updates) > 1e-3
        if rule != "cagrad":
            states = (found[1][rule][0] for found in (all_of_them, own))
            weights = [optax.tree.get(state, "weights") for state in states]
            np.testing.assert_allclose(*weights, rtol=1e-5)


@pytest.mark.parametrize("freeze", [optax.partition, optax.masked])
def test_freezing_around_a_rule_is_refused(freeze):
    names = run(PAGE, "The model")
    params = names["params"]
    rule = names["RULES"]["gcs"]
    if freeze is optax.masked:
        tx = optax.masked(rule, {"trunk": True, "head": True, "decoder": False})
    else:
        labels = {"trunk": "t", "head": "t", "decoder": "f"}
        tx = optax.partition({"t": rule, "f": optax.set_to_zero()}, labels)
    jac = auxjax.task_jacobian(names["losses"], params, names["batch"])
    with pytest.raises(ValueError, match="behind an aggregator"):
        tx.update(jac, tx.init(params), params)
