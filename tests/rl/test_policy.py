"""The action distributions against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from auxjax.envs import Box, Discrete
from auxjax.rl._policy import make_policy

LOGITS = np.array([[0.0, 1.0, -2.0, 0.5], [30.0, 0.0, -30.0, 0.0]])


def probabilities(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def test_categorical_densities():
    policy, logits = make_policy(Discrete(4)), jnp.asarray(LOGITS, jnp.float32)
    p = probabilities(LOGITS)
    for action in range(4):
        found = policy.log_prob(logits, jnp.full(2, action))
        assert found.shape == (2,)
        np.testing.assert_allclose(found, np.log(p[:, action]), rtol=1e-5, atol=1e-6)
    expected = scipy.stats.entropy(p, axis=-1)
    np.testing.assert_allclose(policy.entropy(logits), expected, rtol=1e-5, atol=1e-9)
    uniform = policy.entropy(jnp.zeros((3, 2, 4)))
    np.testing.assert_allclose(uniform, np.full((3, 2), np.log(4)), rtol=1e-6)


def test_categorical_samples():
    policy, logits = make_policy(Discrete(4)), jnp.asarray(LOGITS[:1], jnp.float32)
    n = 20_000
    actions = policy.sample(jax.random.key(0), jnp.tile(logits, (n, 1)))
    assert actions.dtype == jnp.int32
    assert policy.to_env(actions) is actions
    counts = np.bincount(actions, minlength=4)
    assert scipy.stats.chisquare(counts, n * probabilities(LOGITS[0])).pvalue > 1e-3


@pytest.fixture
def gaussian():
    return make_policy(Box((3,), -1.0, 1.0))


MEAN = np.array([[0.0, 1.0, -2.0], [0.5, 0.5, 3.0]])
LOG_STD = np.array([[0.0, -1.0, 0.7], [0.2, 0.0, -3.0]])


def parameters():
    return jnp.asarray(MEAN, jnp.float32), jnp.asarray(LOG_STD, jnp.float32)


def test_gaussian_densities(gaussian):
    normal = scipy.stats.norm(MEAN, np.exp(LOG_STD))
    action = np.array([[0.1, 5.0, -2.0], [0.0, 0.6, 3.01]])
    found = gaussian.log_prob(parameters(), jnp.asarray(action, jnp.float32))
    np.testing.assert_allclose(found, normal.logpdf(action).sum(-1), rtol=1e-4)
    found = gaussian.entropy(parameters())
    np.testing.assert_allclose(found, normal.entropy().sum(-1), rtol=1e-5)


def test_gaussian_samples(gaussian):
    n = 20_000
    tiled = jax.tree.map(lambda x: jnp.tile(x[:1], (n, 1)), parameters())
    actions = np.asarray(gaussian.sample(jax.random.key(0), tiled))
    assert actions.shape == (n, 3)
    for k in range(3):
        expected = scipy.stats.norm(MEAN[0, k], np.exp(LOG_STD[0, k]))
        assert scipy.stats.kstest(actions[:, k], expected.cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(actions.T) - np.eye(3)).max() < 0.03


def test_only_the_environment_sees_clipped_actions(gaussian):
    actions = gaussian.sample(jax.random.key(0), parameters())
    assert actions[0, 2] < -1  # the mean is -2
    clipped = gaussian.to_env(actions)
    np.testing.assert_array_equal(clipped, np.clip(actions, -1, 1))
    # The density is that of what was drawn, not of what was done.
    differ = gaussian.log_prob(parameters(), actions) != gaussian.log_prob(
        parameters(), clipped
    )
    assert differ.all()
