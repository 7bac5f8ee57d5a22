"""brax: one continuous world, its end and its time limit."""

from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.envs import Box, from_brax, make, names, vectorise

NAME = "brax/inverted_pendulum"


@pytest.fixture(scope="module")
def steps():
    """Two pendulums cut after 4 steps: one left alone, one pushed hard."""
    env = vectorise(from_brax(NAME, max_steps=4), 2)

    @jax.jit
    def play(push):
        actions = jnp.broadcast_to(jnp.array([[0.0], [push]]), (9, 2, 1))
        state, _ = env.reset(jax.random.key(0))
        keys = jax.random.split(jax.random.key(1), 9)
        return jax.lax.scan(
            lambda s, x: env.step(x[0], s, x[1]), state, (keys, actions)
        )[1]

    return jax.device_get((play(1.0), play(100.0)))


def test_what_it_says_about_itself():
    env = make(NAME, 2)
    assert (env.name, env.observation_shape) == (NAME, (4,))
    assert env.observation_dtype == np.float32
    assert env.action_space == Box((1,), -1.0, 1.0)
    assert env.vmappable
    assert env.resumable
    assert not env.is_image


def test_the_limit_truncates_and_a_fall_terminates(steps):
    pushed, _ = steps
    np.testing.assert_array_equal(np.flatnonzero(pushed.truncated[:, 0]), [3, 7])
    assert not pushed.terminated[:, 0].any()
    # The second one falls: its angle leaves ±0.2 exactly where it says so.
    fallen = np.abs(pushed.next_observation[:, 1, 1]) > 0.2
    assert fallen.any()
    np.testing.assert_array_equal(pushed.terminated[:, 1], fallen)
    assert not (pushed.truncated & pushed.terminated).any()
    # After the end the pole stands within the noise of a new start.
    done = pushed.terminated | pushed.truncated
    assert (np.abs(pushed.observation[done]) <= 0.01).all()
    np.testing.assert_array_equal(pushed.episode_return, pushed.episode_length)
    assert pushed.episode_length[3, 0] == 4


def test_actions_are_clipped(steps):
    jax.tree.map(np.testing.assert_array_equal, *steps)


def test_arguments_are_checked():
    with pytest.raises(
        ValueError, match=r"`max_steps` should be at least 1\. Found 0\."
    ):
        from_brax(NAME, max_steps=0)
    with pytest.raises(ValueError, match="Did you mean 'brax/ant'"):
        from_brax("brax/Ants")


def test_a_world_that_brax_cannot_step_is_refused_when_it_is_made():
    name, refused = "brax/swimmer", None
    assert name in names()
    try:
        env = from_brax(name)
    except ImportError as error:
        refused = str(error)
    if refused is None:  # a later brax
        state, _ = jax.eval_shape(env.reset, jax.random.key(0))
        action = jnp.zeros(env.action_space.shape, jnp.float32)
        jax.eval_shape(env.step, jax.random.key(0), state, action)
    else:
        assert f"`{name}` needs a brax" in refused
        assert f"Found brax {version('brax')} and jax {jax.__version__}" in refused
