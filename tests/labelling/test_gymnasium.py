"""The Gymnasium wrapper, by Gymnasium's own checker."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gymnasium.utils import env_checker

from auxjax.labelling import EnvParams, LabellingEnv, MainTask, gymnasium_env


@pytest.fixture
def world(network, blocks):
    def make(dtype=jnp.float32, **changes):
        task = MainTask(network(2, 6), optax.sgd(0.3))
        env = LabellingEnv(task, blocks, batch_size=3, eval_size=4, **changes)
        images = jnp.round(255 * jax.random.uniform(jax.random.key(0), (7, 3)))
        images = images.astype(dtype)
        labels = jnp.array([0, 1, 0, 1, 1, 0, 0])
        main = task.init(jax.random.key(1), images.astype(jnp.float32))
        return env, EnvParams(images, labels, main)

    return make


@pytest.mark.parametrize("weighted", [False, True])
def test_gymnasiums_own_checker(world, weighted):
    env_checker.check_env(
        gymnasium_env(*world(weighted=weighted)), skip_render_check=True
    )


def test_the_spaces(world):
    env = gymnasium_env(*world())
    assert env.action_space.n == 6
    assert env.observation_space["label"].n == 2
    assert env.observation_space["image"].shape == (3,)
    env = gymnasium_env(*world(weighted=True))
    assert env.action_space.nvec.tolist() == [6, 21]


def test_an_episode_is_the_environments_own(world):
    pure, params = world()
    env = gymnasium_env(pure, params)
    env.reset(seed=5)
    state = env.state
    for t in range(6):
        *_, state, reward, over, cut, info = pure.step(
            jax.random.key(0), state, jnp.asarray(t, jnp.int32), params
        )
        seen, *found, found_info = env.step(t)
        np.testing.assert_allclose(found[0], reward, rtol=1e-6)
        assert found[1:] == [bool(over), bool(cut)] == [t == 5, False]
        assert found_info["trained"] == bool(info["trained"]) == (t % 3 == 2)
        assert env.observation_space.contains(seen)


def test_modes_and_the_canonical_network(world):
    env = gymnasium_env(*world())
    before = env.params.main.params["heads"][0]

    def episode(**options):
        env.reset(seed=0, options=options)
        start = env.state.main.params["heads"][0]
        return start, [env.step(0)[1] for _ in range(6)]

    start, rewards = episode(mode="agent")
    assert (start == before).all()
    assert [r != 0 for r in rewards] == [False, False, True] * 2
    start, rewards = episode(mode="main")
    assert (start == before).all()
    assert rewards == [0.0] * 6
    env.keep_main()
    start, _ = episode(mode="agent")
    assert (start != before).any()
    with pytest.raises(ValueError, match='`mode` should be "agent" or "main"'):
        env.reset(options={"mode": "x"})


def test_a_mode_is_for_one_episode(world):
    env = gymnasium_env(*world())
    env.reset(seed=0, options={"mode": "main"})
    assert [env.step(0)[1] for _ in range(6)] == [0.0] * 6
    env.reset()
    assert [env.step(0)[1] != 0 for _ in range(6)] == [False, False, True] * 2


def test_keeping_after_a_vectorised_environments_own_reset(world):
    """The paper's alternation: whoever drives it may have reset before we are asked."""
    env = gymnasium_env(*world())
    with pytest.raises(RuntimeError, match="no trained main network"):
        env.keep_main()
    before = env.params.main.params["heads"][0]
    env.reset(seed=0, options={"mode": "main"})
    with pytest.raises(RuntimeError, match="no trained main network"):
        env.keep_main()
    for _ in range(6):
        env.step(0)
    trained = env.state.main.params["heads"][0]
    env.reset()
    env.keep_main()
    kept = env.params.main.params["heads"][0]
    assert (kept == trained).all()
    assert (kept != before).any()
    env.reset()
    assert (env.state.main.params["heads"][0] == trained).all()
    with pytest.raises(RuntimeError, match="no trained main network"):
        env.keep_main()


@pytest.mark.parametrize(
    ("weighted", "action"), [(False, 6), (False, -1), (True, np.array([0, 400]))]
)
def test_what_is_no_action_is_refused(world, weighted, action):
    env = gymnasium_env(*world(weighted=weighted))
    env.reset()
    with pytest.raises(ValueError, match="`action` should be of"):
        env.step(action)


def test_bad_data_are_refused_at_once(world):
    pure, params = world()
    with pytest.raises(ValueError, match="`labels` should be from 0 to 1"):
        gymnasium_env(pure, params._replace(labels=params.labels + 1))
    with pytest.raises(ValueError, match="`batch_size` should be at most 7"):
        gymnasium_env(dataclasses.replace(pure, batch_size=9), params)


def test_no_step_after_the_end(world):
    env = gymnasium_env(*world())
    env.reset()
    for _ in range(6):
        env.step(0)
    with pytest.raises(RuntimeError, match="`reset` should be called"):
        env.step(0)


def test_a_step_needs_a_reset(world):
    with pytest.raises(RuntimeError, match="`reset` should be called before `step`"):
        gymnasium_env(*world()).step(0)


def test_the_room_does_not_need_gymnasium():
    code = """
import sys
sys.modules["gymnasium"] = None
from auxjax.labelling import gymnasium_env
try:
    gymnasium_env(None, None)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "needs `gymnasium`" in done.stdout
