"""Each probe pays and ends exactly as its table says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.envs import Discrete, make, make_probe


def _play(name, actions):
    """What each step of one world says: observation before it, reward, two ends."""
    probe, rows = make_probe(name), []
    state, observation = probe.reset(jax.random.key(0))
    for action in actions:
        before = float(observation[0])
        state, observation, reward, terminated, truncated = probe.step(
            jax.random.key(1), state, jnp.int32(action)
        )
        rows.append((before, float(reward), bool(terminated), bool(truncated)))
    return rows, float(observation[0])


def test_constant_value():
    assert _play("Probe-ConstantValue", [0]) == ([(0, 1, True, False)], 0)


def test_discounted_value():
    rows, last = _play("Probe-DiscountedValue", [0, 1])
    assert rows == [(0, 0, False, False), (1, 1, True, False)]
    assert last == 2


def test_action():
    assert _play("Probe-Action", [1])[0] == [(0, 1, True, False)]
    assert _play("Probe-Action", [0])[0] == [(0, -1, True, False)]


def test_truncation_never_terminates():
    rows, _ = _play("Probe-Truncation", [0, 1] * 4)
    assert rows == [(0, 1, False, False)] * 7 + [(0, 1, False, True)]


@pytest.mark.parametrize("action", [0, 1])
def test_worlds_with_a_random_observation(action):
    actions = jnp.full(64, action)
    for name, pays in (
        ("Probe-ObservationValue", lambda o: o),
        ("Probe-ObservationAction", lambda o: o if action == 1 else -o),
    ):
        env = make(name, 64)
        state, observation = env.reset(jax.random.key(0))
        assert set(np.unique(observation)) == {-1.0, 1.0}
        _, step = env.step(jax.random.key(1), state, actions)
        np.testing.assert_array_equal(step.reward, pays(observation[:, 0]))
        assert step.terminated.all()
        assert not step.truncated.any()


def test_the_image_world_shows_a_dot_that_the_action_moves():
    probe = make_probe("Probe-Image")
    assert probe.action_space == Discrete(3)
    (row, column, time), picture = probe.reset(jax.random.key(0))
    assert picture.shape == (10, 10, 1)
    assert picture.dtype == jnp.bool_
    state = (row, jnp.int32(2), time)
    for action, expected, pays in (
        (0, 2, 0),
        (2, 3, 0),
        (2, 4, 1),
        (0, 4, 1),
        (1, 3, 0),
    ):
        state, picture, reward, *_ = probe.step(
            jax.random.key(0), state, jnp.int32(action)
        )
        assert np.argwhere(picture).tolist() == [[int(row), expected, 0]]
        assert float(reward) == pays
    for column, action in ((0, 1), (9, 2)):  # the walls hold
        state, *_ = probe.step(
            jax.random.key(0), (row, jnp.int32(column), time), jnp.int32(action)
        )
        assert int(state[1]) == column


def test_the_best_return_of_the_image_world():
    env = make("Probe-Image", 256)
    assert env.is_image
    state, observation = env.reset(jax.random.key(0))
    start = jnp.argmax(observation.any((1, 3)), axis=1)
    step = jax.jit(env.step)
    for t in range(20):
        column = jnp.argmax(observation.any((1, 3)), axis=1)
        action = jnp.where(column < 4, 2, jnp.where(column > 4, 1, 0))
        state, timestep = step(jax.random.key(t), state, action)
        observation = timestep.observation
    # The first reward comes with the step that arrives, or at once.
    best = 20 - np.maximum(np.abs(np.asarray(start) - 4) - 1, 0)
    np.testing.assert_array_equal(timestep.episode_return, best)
    assert timestep.truncated.all()
    assert set(np.unique(start)) == set(range(10))
    from_each_column = [20 - max(abs(c - 4) - 1, 0) for c in range(10)]
    assert np.mean(from_each_column) == 18.4
