"""Focal loss, entropies and factors against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.labelling import (
    Hierarchy,
    batch_entropy,
    focal_loss,
    focal_loss_of_logits,
    label_use,
    weight_factor,
    weight_scale,
)

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(6, 5)) * 2
P = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
LABELS = RNG.integers(5, size=6)
SOFT = RNG.dirichlet(np.ones(5), size=6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("soft", [True, False])
def test_focal_loss(x64, gamma, soft):
    y = SOFT if soft else np.eye(5)[LABELS]
    targets = jnp.asarray(SOFT if soft else LABELS)
    expected = -np.sum(y * (1 - P) ** gamma * np.log(P), axis=1)
    found = focal_loss(jnp.asarray(P), targets, gamma)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    found = focal_loss_of_logits(jnp.asarray(Z), targets, gamma)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_focal_loss_where_a_probability_is_zero():
    p, y = jnp.array([0.0, 1.0]), jnp.array([1.0, 1.0])
    np.testing.assert_allclose(focal_loss(p, y), 20 * np.log(10), rtol=1e-6)
    assert np.isfinite(jax.grad(focal_loss)(p, y)).all()
    assert np.isfinite(jax.hessian(focal_loss)(p, y)).all()


def test_focal_loss_of_logits_does_not_saturate():
    slope = jax.grad(focal_loss_of_logits)(jnp.array([200.0, 0.0]), jnp.array(1))
    np.testing.assert_allclose(slope, [1.0, -1.0], rtol=1e-6)


def test_batch_entropy(x64):
    mean = SOFT.mean(0)
    expected = -np.sum(mean * np.log(mean))
    np.testing.assert_allclose(batch_entropy(jnp.asarray(SOFT)), expected, rtol=1e-12)


def test_batch_entropy_is_higher_for_an_even_use():
    even, uneven, one = (
        float(batch_entropy(jax.nn.one_hot(jnp.array(labels), 4)))
        for labels in ([0, 1, 2, 3], [0, 0, 0, 3], [1, 1, 1, 1])
    )
    np.testing.assert_allclose(even, np.log(4), rtol=1e-6)
    assert even > uneven > one == 0
    slope = jax.grad(batch_entropy)(jax.nn.one_hot(jnp.array([0, 1]), 4))
    assert np.isfinite(slope).all()


def test_label_use():
    blocks = Hierarchy(3, 2)
    # Even; three to one; a class that nobody is of.
    counts = jnp.array([5.0, 5.0, 3.0, 1.0, 0.0, 0.0])
    quarter = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    np.testing.assert_allclose(label_use(counts, blocks), (1 + quarter) / 2, rtol=1e-6)
    assert float(label_use(jnp.zeros(6), blocks)) == 0
    assert float(label_use(jnp.array([4.0, 2.0]), Hierarchy(2, 1))) == 1


def test_weight_factors():
    classes = np.arange(21)
    w = classes * 0.05
    found = weight_factor(jnp.asarray(classes, jnp.int32))
    np.testing.assert_allclose(found, 2.0 ** (10 * w - 5), rtol=1e-5)
    found = weight_factor(jnp.asarray(classes, jnp.int32), formula="code")
    np.testing.assert_allclose(found, 2.0 ** (8 * w - 3), rtol=1e-5)
    few = weight_factor(jnp.array([0, 1, 2]), num_classes=3)
    np.testing.assert_allclose(few, [1 / 32, 1, 32])
    found = weight_scale(jnp.asarray(w, jnp.float32), 3.0)
    np.testing.assert_allclose(found, 2.0 ** (6 * w - 3), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: weight_factor(jnp.array([0]), formula="mine"), 'be "paper" or "code"'),
        (lambda: weight_factor(jnp.array([0]), num_classes=1), "at least 2. Found 1"),
        (lambda: focal_loss(jnp.ones(2), jnp.array(0), -1.0), "at least 0. Found -1"),
        (lambda: focal_loss(jnp.ones((3, 2)), jnp.ones(3)), "labels of shape"),
        (lambda: focal_loss(jnp.ones((3, 2)), jnp.array([0])), "labels of shape"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
