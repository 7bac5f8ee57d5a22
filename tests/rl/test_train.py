"""Whole runs: the same key gives the same run, in one piece, in two, beside others."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.rl import make_agent, make_train, scan_updates

SCRIPT = Path(__file__).with_name("many_seeds.py")


def bits(tree):
    """The bytes of every leaf."""
    leaves = jax.tree.leaves(tree)
    keys = [jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) for x in leaves]
    data = [
        jax.random.key_data(x) if k else x for x, k in zip(leaves, keys, strict=True)
    ]
    return [np.asarray(x).tobytes() for x in data]


def test_the_same_key_gives_the_same_run_in_one_piece_or_two(tiny):
    config = tiny(env="Probe-ObservationAction", aux=("inverse",), horizon=4)
    agent = make_agent(config)
    state = jax.jit(agent.init)(jax.random.key(0))
    # One program for all: two compilations need not round alike.
    go = jax.jit(lambda s: scan_updates(agent, s, 3))
    half, first = go(state)
    whole, second = go(half)
    assert first.updates.tolist() == [1, 2, 3]
    assert second.updates.tolist() == [4, 5, 6]
    # An episode is one step long: each of the 4 × 3 steps ends one.
    assert first.episodes.tolist() == first.length_sum.tolist() == [12] * 3
    assert (np.abs(first.return_sum) <= 12).all()

    again = go(state)
    assert bits(again) == bits((half, first))
    assert bits(go(again[0])) == bits((whole, second))
    assert bits(half.params) != bits(whole.params)

    six, metrics = jax.jit(lambda s: scan_updates(agent, s, 6))(state)
    assert bits(six) == bits(whole)
    joined = jax.tree.map(lambda *x: jnp.concatenate(x), first, second)
    assert bits(metrics) == bits(joined)

    other = go(jax.jit(agent.init)(jax.random.key(1)))[0]
    assert bits(other.params) != bits(half.params)


def test_train_makes_as_many_updates_as_frames_ask_for(tiny):
    config = tiny(env="Probe-Action", method="single", frames=25)
    state, metrics = jax.eval_shape(make_train(config), jax.random.key(0))
    assert metrics.losses.shape == (3, 1)  # 12 frames each
    assert metrics.weights.shape == (3, 1)
    assert state.updates.shape == ()
    agent = make_agent(config)
    assert (agent.frames_per_update, agent.num_updates) == (12, 3)


def test_many_seeds_in_one_program():
    """In a process of its own, since what is feared is that it never ends.

    A batch of QR factorisations, which orthogonal weights of several seeds would be,
    can stop a CPU with few threads for good.
    """
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    env["JAX_COMPILATION_CACHE_DIR"] = jax.config.jax_compilation_cache_dir
    # OpenBLAS's own threads wait by spinning, which takes seconds on a busy machine.
    env["OPENBLAS_NUM_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "seeds", "agree"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["olaux", "gcs"])
def test_a_continuous_world(tiny, method):
    aux = ("forward", "inverse", "autoencoder")
    config = tiny(env="brax/inverted_pendulum", method=method, aux=aux, frames=36)
    state, metrics = jax.jit(make_train(config))(jax.random.key(0))
    assert metrics.losses.shape == (3, 4)
    assert np.isfinite(metrics.losses).all()
    assert np.isfinite(metrics.weights).all()
    assert (state.params["policy"]["log_std"] != 0).any()


@pytest.mark.slow
def test_a_game_of_atari(tiny):
    config = tiny(env="ALE/Breakout-v5", num_envs=2, rollout_length=2, frames=32)
    agent = make_agent(config)
    assert agent.frames_per_update == 2 * 2 * 4
    assert agent.num_updates == 2
    state = jax.jit(agent.init)(jax.random.key(0))
    assert state.observation.shape == (2, 84, 84, 4)
    state, metrics = jax.jit(lambda s: scan_updates(agent, s, 2))(state)
    assert metrics.losses.shape == (2, 6)
    assert np.isfinite(metrics.losses).all()
    assert np.isfinite(metrics.weights).all()


def test_one_step_of_one_world_teaches(tiny):
    """Its advantage stays as it is: standardised, a single one is 0."""
    config = tiny(
        env="Probe-Action", method="single", num_envs=1, rollout_length=1,
        value_coef=0.0, entropy_coef=0.0,
    )  # fmt: skip
    assert config.normalize_advantage
    agent = make_agent(config)
    before = agent.init(jax.random.key(0))
    after, _ = agent.update(before)
    assert bits(after.params["policy"]) != bits(before.params["policy"])
