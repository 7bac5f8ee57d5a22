"""Atari under jit and scan: resets that are no transitions, lives, true returns."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.envs import Discrete, from_ale, make

N = 2


@lru_cache
def _random_play(name, steps, **options):
    """Two random games; a function of the key, compiled once."""
    env = from_ale(name, N, num_threads=1, **options)

    @jax.jit
    def play(key):
        def body(state, key):
            action = jax.random.randint(key, (N,), 0, env.action_space.n)
            return env.step(key, state, action)

        state, first = env.reset(key)
        return first, jax.lax.scan(body, state, jax.random.split(key, steps))[1]

    return lambda seed: jax.device_get(play(jax.random.key(seed)))


def _breakout():
    return _random_play("ALE/Breakout-v5", 300)(0)


def test_shapes_and_what_it_says_about_itself():
    env = make("ALE/Pong-v5", 3)
    assert env.observation_shape == (84, 84, 4)
    assert env.observation_dtype == np.uint8
    assert env.action_space == Discrete(6)
    assert (env.frames_per_step, env.is_image) == (4, True)
    assert not env.vmappable
    assert not env.resumable

    first, steps = _breakout()
    assert (first.shape, first.dtype) == ((N, 84, 84, 4), np.uint8)
    assert steps.observation.shape == (300, N, 84, 84, 4)
    assert [leaf.dtype.name for leaf in steps] == [
        "uint8", "uint8", "float32", "bool", "bool", "bool", "float32", "int32",
    ]  # fmt: skip


def test_the_step_after_a_game_is_a_reset_and_no_transition():
    _, steps = _breakout()
    over = steps.episode_length > 0
    assert over[:-1].any(0).all()  # each of the two games ended at least once
    np.testing.assert_array_equal(~steps.valid[1:], over[:-1])
    assert steps.valid[0].all()
    resets = ~steps.valid
    for field in ("reward", "terminated", "truncated", "episode_return"):
        assert not getattr(steps, field)[resets].any()
    np.testing.assert_array_equal(steps.observation, steps.next_observation)


def test_a_game_of_breakout_is_five_lives_long():
    _, steps = _breakout()
    for n in range(N):
        end = np.flatnonzero(steps.episode_length[:, n])[0]
        assert steps.terminated[: end + 1, n].sum() == 5
        assert steps.terminated[end, n]
        assert steps.episode_length[end, n] == end + 1
        assert steps.episode_return[end, n] == steps.reward[: end + 1, n].sum()
    _, whole = _random_play("ALE/Breakout-v5", 300, life_loss=False)(0)
    np.testing.assert_array_equal(whole.observation, steps.observation)
    np.testing.assert_array_equal(whole.terminated, whole.episode_length > 0)


def test_the_newest_picture_is_the_last_channel():
    _, steps = _breakout()
    old, new = steps.observation[:-1], steps.observation[1:]
    moved = steps.valid[1:]
    np.testing.assert_array_equal(new[moved][..., :3], old[moved][..., 1:])
    assert (new[moved][..., 3] != old[moved][..., 3]).any()


def test_rewards_are_clipped_and_returns_are_not():
    _, steps = _random_play("ALE/SpaceInvaders-v5", 600)(0)
    assert set(np.unique(steps.reward)) == {0.0, 1.0}
    end, n = np.argwhere(steps.episode_length)[0]  # the first game to end
    hits = steps.reward[: end + 1, n].sum()
    # An invader pays 5 at least and a multiple of 5.
    assert hits > 0
    assert steps.episode_return[end, n] >= 5 * hits
    assert steps.episode_return[end, n] % 5 == 0


def test_a_time_limit_truncates():
    _, steps = _random_play("ALE/Pong-v5", 60, max_frames=100)(0)
    assert not steps.terminated.any()
    for n in range(N):
        ends = np.flatnonzero(steps.truncated[:, n])
        assert len(ends) >= 2
        np.testing.assert_array_equal(np.flatnonzero(~steps.valid[:, n]), ends + 1)
        # The frames idled away at the start count too; 4 frames a step.
        assert (steps.episode_length[ends, n] <= 25).all()
        assert (steps.episode_length[ends, n] > 15).all()


def test_the_same_key_plays_the_same_game_again():
    play = _random_play("ALE/Breakout-v5", 300)
    first, steps = _breakout()
    again, repeated = play(0)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(steps.observation, repeated.observation)
    assert not np.array_equal(steps.observation, play(1)[1].observation)


def test_arguments_are_checked():
    with pytest.raises(
        ValueError, match=r"`num_envs` should be at least 1\. Found 0\."
    ):
        from_ale("ALE/Pong-v5", 0)
    with pytest.raises(ValueError, match=r"between 0 and 1\. Found 2"):
        from_ale("ALE/Pong-v5", 1, repeat_action_probability=2.0)
    with pytest.raises(ValueError, match="Did you mean 'ALE/Pong-v5'"):
        from_ale("ALE/Pongg-v5", 1)
    assert make("ALE/MsPacman-v5", 1).action_space.n == 9
    assert jnp.uint8 == from_ale("ALE/Pong-v5", 1).observation_dtype
