"""What an agent learns where the right answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.envs import make
from auxjax.rl import A2CConfig, make_train
from auxjax.rl._networks import make_networks, policy_of, value_of

SEEDS = 4  # each of them has to learn it


def learn(name, *, updates=300, observations=(), seeds=SEEDS, **changes):
    """The mean return at the end, and V and π of some observations, a row per seed."""
    settings = {
        "env": name,
        "method": "single",
        "num_envs": 16,
        "rollout_length": 4,
        "learning_rate": 1e-2,
        "discount": 0.9,
        "features": 16,
        "hidden": 16,
        **changes,
    }
    frames = settings["num_envs"] * settings["rollout_length"] * updates
    config = A2CConfig(**settings, frames=frames)
    keys = jax.random.split(jax.random.key(0), seeds)
    state, metrics = jax.jit(jax.vmap(make_train(config)))(keys)
    assert metrics.losses.shape == (seeds, updates, len(config.tasks))
    last = slice(-updates // 10, None)
    ended = metrics.episodes[:, last].sum(1).astype(jnp.float32)
    mean = np.asarray(metrics.return_sum[:, last].sum(1) / ended)
    nets = make_networks(config, make(name, 1))
    seen = jnp.asarray(observations, jnp.float32)[:, None]
    if not len(seen):
        return mean

    def look(params):
        phi = nets.encoder.apply(params["encoder"], seen)
        pi = jax.nn.softmax(policy_of(nets, params, phi))
        return value_of(nets, params, phi), pi

    values, pi = jax.device_get(jax.vmap(look)(state.params))
    return mean, values, pi


def test_a_constant():
    _, values, _ = learn("Probe-ConstantValue", observations=[0.0])
    np.testing.assert_allclose(values, [[1.0]] * SEEDS, atol=0.02)


def test_a_value_that_is_seen():
    # Standardised, the little that is left of the advantages stays as loud as before.
    _, values, _ = learn(
        "Probe-ObservationValue", observations=[-1.0, 1.0], normalize_advantage=False
    )
    np.testing.assert_allclose(values, [[-1.0, 1.0]] * SEEDS, atol=0.05)


def test_a_reward_to_come():
    # Nothing that is done matters: standardised, the advantages would be noise alone.
    mean, values, _ = learn(
        "Probe-DiscountedValue", observations=[0.0, 1.0], normalize_advantage=False
    )
    np.testing.assert_allclose(values, [[0.9, 1.0]] * SEEDS, atol=0.01)
    assert (mean == 1).all()


def test_an_action_that_pays():
    mean, values, pi = learn("Probe-Action", observations=[0.0])
    assert (mean > 0.9).all()
    assert (pi[:, 0, 1] > 0.95).all()
    np.testing.assert_allclose(values, [[1.0]] * SEEDS, atol=0.15)


def test_an_action_that_pays_where_it_is_seen_to():
    mean, values, pi = learn("Probe-ObservationAction", observations=[-1.0, 1.0])
    assert (mean > 0.9).all()
    assert (pi[:, 0, 0] > 0.95).all()
    assert (pi[:, 1, 1] > 0.95).all()
    np.testing.assert_allclose(values, [[1.0, 1.0]] * SEEDS, atol=0.15)


@pytest.mark.parametrize("rollout_length", [4, 8])
def test_a_cut_is_not_an_end(rollout_length):
    """V = 1 / (1 − γ). Were a cut an end, it would be (1 − γ⁸) / (1 − γ) = 5.7 at most.

    Four steps end in the midst of the episode, eight just where it is cut.
    """
    _, values, _ = learn(
        "Probe-Truncation", observations=[0.0], rollout_length=rollout_length
    )
    np.testing.assert_allclose(values, [[10.0]] * SEEDS, atol=0.3)


@pytest.mark.slow
def test_olaux_learns_from_pictures():
    """A random policy gets 2, the best one 18.4."""
    (mean,) = learn(
        "Probe-Image", method="olaux", rollout_length=8, learning_rate=3e-3, seeds=1
    )
    assert mean > 6
