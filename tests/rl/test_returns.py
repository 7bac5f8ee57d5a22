"""Advantages against their definition, written out as a loop in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.rl import advantages
from auxjax.rl._returns import standardised


def by_hand(r, v, v_next, terminated, truncated, discount, gae_lambda):
    """Every Aₜ as its own sum Σₖ (γλ)ᵏ δₜ₊ₖ, up to the end of t's episode."""
    length, num_envs = r.shape
    found = np.zeros((length, num_envs))
    for env in range(num_envs):
        for t in range(length):
            for k in range(t, length):
                future = 0.0 if terminated[k, env] else discount * v_next[k, env]
                delta = r[k, env] + future - v[k, env]
                found[t, env] += (discount * gae_lambda) ** (k - t) * delta
                if terminated[k, env] or truncated[k, env]:
                    break
    return found


@pytest.mark.parametrize("gae_lambda", [0.0, 0.95, 1.0])
@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
def test_against_a_loop(discount, gae_lambda):
    rng = np.random.default_rng(0)
    r, v, v_next = rng.normal(size=(3, 12, 5))
    ends = rng.choice(3, size=(12, 5), p=[0.7, 0.15, 0.15])
    assert {0, 1, 2} <= set(ends.flat)
    terminated, truncated = ends == 1, ends == 2
    expected = by_hand(r, v, v_next, terminated, truncated, discount, gae_lambda)
    found = jax.jit(
        lambda *a: advantages(*a, discount=discount, gae_lambda=gae_lambda)
    )(*(jnp.asarray(x, jnp.float32) for x in (r, v, v_next)), terminated, truncated)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def three_steps(terminated, truncated):
    """γ = λ = ½, rewards 1 2 4, V = 8 4 2, and 16 after the end: one environment."""

    def column(*x):
        return jnp.asarray(x)[:, None]

    no = (False, False, False)
    return advantages(
        column(1.0, 2.0, 4.0),
        column(8.0, 4.0, 2.0),
        column(4.0, 2.0, 16.0),
        column(*(terminated or no)),
        column(*(truncated or no)),
        discount=0.5,
        gae_lambda=0.5,
    )[:, 0].tolist()


def test_three_steps_by_hand():
    # δ = 1 + 2 − 8, 2 + 1 − 4, 4 + 8 − 2 = −5, −1, 10; γλ = ¼.
    assert three_steps(None, None) == [-4.625, 1.5, 10.0]
    # The episode ends at the second step: no value after it, nothing comes back.
    assert three_steps((False, True, False), None) == [-5.5, -2.0, 10.0]
    # It is cut off there: the value after it counts, nothing comes back.
    assert three_steps(None, (False, True, False)) == [-5.25, -1.0, 10.0]
    # At the rollout's end the two differ by γ · 16 = 8 in the last advantage.
    at_last = (False, False, True)
    assert three_steps(at_last, None)[2] == 2.0
    assert three_steps(None, at_last)[2] == 10.0


def test_lambda_one_gives_n_step_returns():
    rewards = jnp.asarray([[1.0], [2.0], [3.0]])
    values = jnp.asarray([[0.3], [0.2], [0.1]])
    after = jnp.asarray([[0.2], [0.1], [10.0]])
    no = jnp.zeros((3, 1), bool)
    a = advantages(rewards, values, after, no, no, discount=0.5, gae_lambda=1.0)
    # 1 + 2/2 + 3/4 + 10/8, 2 + 3/2 + 10/4, 3 + 10/2
    np.testing.assert_allclose((a + values)[:, 0], [4.0, 6.0, 8.0], rtol=1e-6)


def test_standardised_over_what_is_valid():
    advantage = jnp.array([3.0, 1.0, 99.0, 5.0])
    found = standardised(advantage, jnp.array([True, True, False, True]))
    expected = (advantage - 3.0) / np.sqrt(8 / 3)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 3])
def test_a_single_advantage_stays_as_it_is(count):
    advantage = jnp.array([0.25, -2.0, 7.0])[:count]
    valid = jnp.arange(count) == 0
    np.testing.assert_array_equal(standardised(advantage, valid), advantage)
