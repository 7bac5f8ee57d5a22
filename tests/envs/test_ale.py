"""Atari under jit and scan: resets that are no transitions, lives, true returns."""

import subprocess
import sys
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.envs import Discrete, from_ale, make
from auxjax.envs._ale import game_names

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
        # The frames idled away at the start count too; 4 frames per step.
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


ONE_LINER = """
import jax
from auxjax.rl import A2CConfig, make_train
config = A2CConfig(
    env="ALE/Pong-v5", method="single", num_envs=2, rollout_length=8, frames=4096,
    features=8, hidden=8,
)
jax.jit(make_train(config))(jax.random.key(0))
"""

MADE_INSIDE = """
import jax
from auxjax.envs import make

def play(key):
    env = make("ALE/Pong-v5", 2)
    state, _ = env.reset(key)
    actions = jax.random.randint(key, (500, 2), 0, env.action_space.n)
    return jax.lax.scan(lambda s, a: env.step(key, s, a), state, actions)

compiled = jax.jit(play).lower(jax.random.key(0)).compile()
del play
jax.clear_caches()
compiled(jax.random.key(0))
"""


@pytest.mark.parametrize("program", [ONE_LINER, MADE_INSIDE])
def test_the_games_live_as_long_as_the_program_that_plays(program):
    # Nothing in Python holds the games, and the program still runs at the end.
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_vmap_is_refused_when_it_is_traced():
    env = from_ale("ALE/Pong-v5", 1, num_threads=1)
    keys = jax.random.split(jax.random.key(0), 3)
    refused = r"`ALE/Pong-v5` should be stepped outside.*Found a `vmap` over 3"
    for train in (env.reset, jax.jit(env.reset)):
        with pytest.raises(ValueError, match=refused):
            jax.eval_shape(jax.vmap(train), keys)
    state, _ = jax.eval_shape(env.reset, keys[0])
    actions = jnp.zeros((3, 1), jnp.int32)

    def scanned(actions):
        body = lambda state, key: env.step(key, state, actions)  # noqa: E731
        return jax.lax.scan(body, jax.tree.map(jnp.zeros_like, state), keys)

    for step in (jax.vmap(scanned), jax.vmap(jax.jit(scanned))):
        with pytest.raises(ValueError, match=refused):
            jax.eval_shape(step, actions)


def test_only_games_for_one_player_are_offered():
    gymnasium = pytest.importorskip("gymnasium")
    roms = pytest.importorskip("ale_py.roms")
    offered = game_names()
    assert len(offered) == len(set(offered.values())) == 104
    assert set(offered.values()) < set(roms.get_all_rom_ids())
    assert set(offered) <= set(gymnasium.registry)
    for name in ("ALE/Pong-v5", "ALE/MsPacman-v5", "ALE/UpNDown-v5", "ALE/Hero-v5"):
        assert name in offered
    assert offered["ALE/MsPacman-v5"] == "ms_pacman"
    two_players = {"combat", "joust", "maze_craze", "warlords"}
    assert not two_players & set(offered.values())


def test_another_name_is_refused_before_a_rom_is_opened(monkeypatch):
    def opened(*args, **kwargs):
        raise AssertionError("a ROM was opened")

    monkeypatch.setattr("ale_py.vector_env.AtariVectorEnv", opened)
    # ALE has a ROM of that name; Gymnasium does not register it.
    monkeypatch.setattr("ale_py.roms.get_all_rom_ids", lambda: ["pong", "made_up"])
    for make_game in (from_ale, make):
        with pytest.raises(ValueError, match=r"Found 'ALE/MadeUp-v5'"):
            make_game("ALE/MadeUp-v5", 1)
    with pytest.raises(AssertionError, match="a ROM was opened"):
        make("ALE/Pong-v5", 1)
