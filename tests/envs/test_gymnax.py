"""MinAtar: shapes under every transformation, and time limits told from ends."""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.envs import Discrete, from_gymnax, make

GAMES = {  # name: channels, actions
    "Breakout-MinAtar": (4, 3),
    "Asterix-MinAtar": (4, 5),
    "Freeway-MinAtar": (7, 3),
    "SpaceInvaders-MinAtar": (6, 4),
    "Seaquest-MinAtar": (10, 6),
}
STEPS, N, SEEDS = 40, 3, 2


@pytest.mark.parametrize("name", GAMES)
def test_every_game_steps_under_jit_scan_and_vmap(name):
    channels, actions = GAMES[name]
    env = make(name, N)
    assert env.observation_shape == (10, 10, channels)
    assert env.observation_dtype == np.bool_
    assert env.action_space == Discrete(actions)
    assert env.is_image
    assert env.vmappable
    assert env.resumable

    def play(key):
        def body(state, key):
            action = jax.random.randint(key, (N,), 0, actions)
            return env.step(key, state, action)

        state, first = env.reset(key)
        return (first, *jax.lax.scan(body, state, jax.random.split(key, STEPS)))

    keys = jax.random.split(jax.random.key(0), SEEDS)
    first, state, steps = jax.jit(jax.vmap(play))(keys)
    assert first.shape == (SEEDS, N, 10, 10, channels)
    for picture in (steps.observation, steps.next_observation):
        assert picture.shape == (SEEDS, STEPS, N, 10, 10, channels)
        assert picture.dtype == jnp.bool_
    for leaf in steps[2:]:
        assert leaf.shape == (SEEDS, STEPS, N)
    assert steps.reward.dtype == jnp.float32
    assert steps.valid.all()
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))
    # Something moves, and the two pictures differ only where an episode ended.
    assert (steps.observation[:, 1:] != steps.observation[:, :-1]).any()
    same = (steps.observation == steps.next_observation).all((3, 4, 5))
    assert same[~(steps.terminated | steps.truncated)].all()
    _check_statistics(jax.tree.map(np.asarray, steps))


def _check_statistics(steps):
    for seed in range(SEEDS):
        for n in range(N):
            total, length = 0.0, 0
            for t in range(STEPS):
                total, length = total + steps.reward[seed, t, n], length + 1
                ended = steps.terminated[seed, t, n] or steps.truncated[seed, t, n]
                assert steps.episode_return[seed, t, n] == (total if ended else 0)
                assert steps.episode_length[seed, t, n] == (length if ended else 0)
                if ended:
                    total, length = 0.0, 0


def test_bool_loses_nothing_of_seaquest():
    # Its pictures are the only ones that gymnax does not draw as bool itself.
    env, params = gymnax.make("Seaquest-MinAtar")

    def body(carry, key):
        observation, state = carry
        action = jax.random.randint(key, (), 0, 6)
        return env.step_env(key, state, action, params)[:2], observation

    keys = jax.random.split(jax.random.key(0), 200)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        start = env.reset_env(jax.random.key(0), params)
        pictures = jax.jit(lambda: jax.lax.scan(body, start, keys)[1])()
    assert set(np.unique(pictures)) == {0.0, 1.0}
    assert pictures[..., 4:].any()


def test_a_time_limit_truncates_and_a_lost_ball_terminates():
    env = from_gymnax("Breakout-MinAtar")
    step = jax.jit(env.step)
    key, stay = jax.random.key(0), jnp.int32(0)
    start, _ = env.reset(key)

    state = start.replace(time=jnp.int32(998))
    state, *_, terminated, truncated = step(key, state, stay)
    assert (bool(terminated), bool(truncated)) == (False, False)
    state, *_, terminated, truncated = step(key, state, stay)
    assert (bool(terminated), bool(truncated)) == (False, True)
    assert int(state.time) == 1000

    # The ball starts six rows above the bottom and comes down at column 3 or 6,
    # while the paddle hides at the left.
    state, ends, left = start, [], jnp.int32(1)
    for _ in range(6):
        state, *_, terminated, truncated = step(key, state, left)
        ends.append((bool(terminated), bool(truncated)))
    assert ends == [(False, False)] * 5 + [(True, False)]
