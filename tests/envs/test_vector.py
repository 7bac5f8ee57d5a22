"""Autoreset, episode statistics and the two ends, on a world one can do by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.envs import Discrete, Environment, make, make_probe, vectorise


def _counter(limit=3):
    """Counts its steps; action 1 terminates; the limit truncates; pays 1 + action."""

    def reset(key):
        del key
        return jnp.int32(0), jnp.zeros(1)

    def step(key, state, action):
        del key
        state = state + 1
        reward = 1.0 + action.astype(jnp.float32)
        seen = state[None].astype(jnp.float32)
        return state, seen, reward, action == 1, state >= limit

    return Environment("Counter", (1,), Discrete(2), reset, step)


def _play(env, actions, key=0):
    state, first = env.reset(jax.random.key(key))

    @jax.jit
    def scan(state):
        keys = jax.random.split(jax.random.key(key + 1), len(actions))
        return jax.lax.scan(
            lambda s, x: env.step(x[0], s, x[1]), state, (keys, actions)
        )

    state, steps = scan(state)
    return first, state, steps


def test_the_end_of_an_episode_by_hand():
    # World 0 runs into the limit; world 1 terminates early; world 2 does both at once.
    actions = jnp.array([[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]])
    first, state, steps = _play(vectorise(_counter(), 3), actions)
    np.testing.assert_array_equal(first, np.zeros((3, 1)))
    expected = {
        "observation": [[1, 1, 1], [2, 0, 2], [0, 1, 0], [1, 0, 1]],
        "next_observation": [[1, 1, 1], [2, 2, 2], [3, 1, 3], [1, 2, 1]],
        "reward": [[1, 1, 1], [1, 2, 1], [1, 1, 2], [1, 2, 1]],
        "terminated": [[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]],
        "truncated": [[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]],
        "valid": np.ones((4, 3)),
        "episode_return": [[0, 0, 0], [0, 3, 0], [3, 0, 4], [0, 3, 0]],
        "episode_length": [[0, 0, 0], [0, 2, 0], [3, 0, 3], [0, 2, 0]],
    }
    for field, values in expected.items():
        found = np.asarray(getattr(steps, field)).reshape(4, 3)
        np.testing.assert_array_equal(found, np.asarray(values), err_msg=field)
    np.testing.assert_array_equal(state.episode_return, [1, 0, 1])
    np.testing.assert_array_equal(state.episode_length, [1, 0, 1])


def test_the_dtypes_of_a_timestep():
    _, _, steps = _play(vectorise(_counter(), 2), jnp.zeros((1, 2), jnp.int32))
    assert [leaf.dtype.name for leaf in steps] == [
        "float32", "float32", "float32", "bool", "bool", "bool", "float32", "int32",
    ]  # fmt: skip


def test_every_episode_starts_afresh_unless_resets_are_cached():
    probe, actions = make_probe("Probe-ObservationValue"), jnp.zeros((20, 8), jnp.int32)
    _, _, fresh = _play(vectorise(probe, 8), actions)
    first, _, cached = _play(vectorise(probe, 8, cache_resets=True), actions)
    # Each step of this world ends an episode, so each observation is a new start.
    assert set(np.unique(fresh.observation[:, 0])) == {-1.0, 1.0}
    assert set(np.unique(first)) == {-1.0, 1.0}
    np.testing.assert_array_equal(cached.observation, np.stack([first] * 20))


def test_seeds_may_be_vmapped():
    env = make("Probe-Image", 4)
    actions = jax.random.randint(jax.random.key(0), (25, 4), 0, 3)

    def play(key):
        state, _ = env.reset(key)
        keys = jax.random.split(key, len(actions))
        return jax.lax.scan(
            lambda s, x: env.step(x[0], s, x[1]), state, (keys, actions)
        )[1]

    keys = jax.random.split(jax.random.key(3), 2)
    together = jax.jit(jax.vmap(play))(keys)
    for i in range(2):
        jax.tree.map(
            lambda many, one, i=i: np.testing.assert_array_equal(many[i], one),
            together,
            jax.jit(play)(keys[i]),
        )
    assert not np.array_equal(together.observation[0], together.observation[1])


def test_a_saved_state_goes_on_with_the_same_numbers():
    env = make("Probe-Image", 4)
    actions = jax.random.randint(jax.random.key(0), (30, 4), 0, 3)
    state, _ = env.reset(jax.random.key(1))
    keys, step = jax.random.split(jax.random.key(2), 30), jax.jit(env.step)
    direct = resumed = state
    for t in range(30):
        if t == 15:
            resumed = jax.tree.map(jnp.asarray, jax.device_get(resumed))
        direct, expected = step(keys[t], direct, actions[t])
        resumed, found = step(keys[t], resumed, actions[t])
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert env.resumable


def test_what_a_vector_says_about_itself():
    env = vectorise(_counter(), 5)
    assert (env.name, env.num_envs, env.observation_shape) == ("Counter", 5, (1,))
    assert (env.action_space, env.frames_per_step) == (Discrete(2), 1)
    assert env.observation_dtype == np.float32
    assert env.vmappable
    assert env.resumable
    assert not env.is_image


def test_an_empty_vector_is_refused():
    with pytest.raises(
        ValueError, match=r"`num_envs` should be at least 1\. Found 0\."
    ):
        vectorise(_counter(), 0)
