"""The label network's gradient against differentiating the whole step, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from auxjax.labelling import (
    Made,
    MainBatch,
    MainTask,
    batch_entropy,
    label_gradient,
    masked_softmax,
    maxl_gradient,
    weight_scale,
)

OPTIMIZERS = {
    "sgd": lambda: optax.sgd(0.3),
    "momentum_and_decay": lambda: optax.chain(
        optax.add_decayed_weights(1e-2), optax.sgd(0.3, momentum=0.9)
    ),
    "adam": lambda: optax.adam(1e-2),
}


@pytest.fixture(autouse=True)
def _exact_numbers():
    with jax.enable_x64(True):
        yield


def problem(network, blocks, optimizer, weighted):
    """A main network with warm moments, a label network, and a batch."""
    keys = jax.random.split(jax.random.key(0), 4)
    images = jax.random.normal(keys[0], (7, 3), jnp.float64)
    labels = jnp.array([0, 1, 1, 0, 1, 0, 0])
    task = MainTask(network(2, 6), optimizer, aux_weight=0.8)
    label_network = network(6, 1)
    phi = label_network.init(keys[1], images)[0]
    main = task.init(keys[2], images)
    some = MainBatch(images, labels, jnp.array([0, 3, 4, 1, 5, 2, 0]))
    for _ in range(2):
        main = task.step(main, some)[0]

    def generate(phi):
        logits, weight = label_network.apply(phi, None, images, train=True)[0]
        factors = weight_scale(jax.nn.sigmoid(weight[:, 0])) if weighted else None
        return Made(masked_softmax(logits, labels, blocks), factors), None

    return task, main, generate, phi, images, labels


def by_brute_force(task, main, generate, images, labels, entropy_coef):
    """φ ↦ M(θ⁺(φ)) − c H(p̄(φ)), nothing clever."""

    def objective(phi):
        made = generate(phi)[0]
        batch = MainBatch(images, labels, *made[:2])
        ahead = task.step(main, batch)[0]
        outputs = task.network.apply(ahead.params, None, images, train=True)[0]
        loss = jnp.mean(task.primary_loss(outputs[0], labels))
        return loss - entropy_coef * batch_entropy(made.targets)

    return objective


def close(found, expected, tolerance):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == jnp.float64
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * 1e-2)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_is_reverse_over_reverse(network, blocks, name, weighted):
    args = problem(network, blocks, OPTIMIZERS[name](), weighted)
    task, main, generate, phi, images, labels = args
    found = maxl_gradient(*args, entropy_coef=0.2)
    brute = by_brute_force(task, main, generate, images, labels, 0.2)
    value, expected = jax.value_and_grad(brute)(phi)
    close(found.gradient, expected, 1e-10)
    np.testing.assert_allclose(found.meta_loss + found.penalty, value, rtol=1e-12)
    assert optax.tree.norm(expected) > 1e-4


@pytest.mark.parametrize("method", ["exact", "difference"])
def test_the_entropys_gradient_is_not_lost(network, blocks, method):
    args = problem(network, blocks, optax.sgd(0.3), False)
    generate, phi = args[2], args[3]
    with_it = maxl_gradient(*args, entropy_coef=0.2, method=method).gradient
    without = maxl_gradient(*args, entropy_coef=0.0, method=method).gradient
    expected = jax.grad(lambda p: -0.2 * batch_entropy(generate(p)[0].targets))(phi)
    close(jax.tree.map(jnp.subtract, with_it, without), expected, 1e-9)
    assert optax.tree.norm(expected) > 0.1 * optax.tree.norm(without)


@pytest.mark.parametrize("name", ["sgd", "momentum_and_decay"])
def test_the_finite_difference_is_near(network, blocks, name):
    args = problem(network, blocks, OPTIMIZERS[name](), True)
    exact = maxl_gradient(*args, entropy_coef=0.0).gradient
    near = maxl_gradient(*args, entropy_coef=0.0, method="difference").gradient
    error = optax.tree.norm(jax.tree.map(jnp.subtract, near, exact))
    assert 0 < error < 1e-3 * optax.tree.norm(exact)


def test_one_step_by_hand():
    """θ⁺ = θ − α(θ − φ²), M = ½θ⁺²: ∂M/∂φ = θ⁺ · 2αφ; the penalty is 3φ²."""
    for method in ("exact", "difference"):
        found = label_gradient(
            lambda phi: (phi**2, "kept"),
            lambda theta, y: 0.5 * (theta - y) ** 2,
            lambda theta: 0.5 * theta**2,
            jnp.array(2.0),
            jnp.array(6.0),
            optax.sgd(0.25),
            optax.sgd(0.25).init(jnp.array(6.0)),
            penalty=lambda y: 3 * y,
            method=method,
        )
        np.testing.assert_allclose(found.gradient, 5.5 * 1.0 + 12.0, rtol=1e-10)
        assert (float(found.meta_loss), float(found.penalty)) == (0.5 * 5.5**2, 12)
        assert found.aux == "kept"


def test_it_learns_labels_that_help(network, blocks):
    """Descending it, one step on the labels helps the main task more and more."""
    args = problem(network, blocks, optax.sgd(2.0), False)

    @jax.jit
    def descend(phi):
        found = maxl_gradient(*args[:3], phi, *args[4:], entropy_coef=0.0)
        step = jax.tree.map(lambda p, g: p - 3.0 * g, phi, found.gradient)
        return step, found.meta_loss

    phi, losses = args[3], []
    for _ in range(30):
        phi, loss = descend(phi)
        losses.append(float(loss))
    assert losses[-1] < losses[0] - 1e-3
    assert (np.diff(losses) < 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "both"}, '`method` should be "exact" or "difference"'),
        ({"epsilon": 0.0}, "`epsilon` should be above 0. Found 0.0"),
    ],
)
def test_what_is_refused(options, message):
    one = jnp.array(1.0)
    with pytest.raises(ValueError, match=message):
        label_gradient(
            lambda p: (p, None),
            lambda t, y: t * y,
            lambda t: t,
            one,
            one,
            optax.sgd(0.1),
            optax.sgd(0.1).init(one),
            **options,
        )


def test_where_the_meta_loss_is_flat_the_difference_is_zero():
    one = jnp.array(1.0)
    tx = optax.sgd(0.1)
    found = label_gradient(
        lambda p: (p, None), lambda t, y: t * y, lambda t: 0 * t, one, one, tx,
        tx.init(one), method="difference",
    )  # fmt: skip
    assert float(found.gradient) == 0
