"""Worlds so small that their values are known: each one breaks for one reason.

An agent that fails on `Probe-ConstantValue` cannot fit a constant; one that passes it
and fails on `Probe-ObservationValue` does not look at its observation; and so on down
the list. With γ the discount:

| name | what happens | what a right agent finds |
|---|---|---|
| `Probe-ConstantValue` | reward 1, one step | V = 1 |
| `Probe-ObservationValue` | observation ±1, reward the same, one step | V(o) = o |
| `Probe-DiscountedValue` | two steps, reward 1 at the second | V(0) = γ, V(1) = 1 |
| `Probe-Action` | action 1 pays +1, action 0 pays −1, one step | action 1, V = 1 |
| `Probe-ObservationAction` | +1 where action 1 meets o = +1 or 0 meets −1 | V = 1 |
| `Probe-Truncation` | reward 1 for ever, cut after 8 steps | V = 1 / (1 − γ) |
| `Probe-Image` | move a dot to the fifth column and stay | a return of 18.4 |

`Probe-Truncation` says whether a cut is bootstrapped: an agent that takes it for an
end finds a smaller value. `Probe-Image` is `[10, 10, 1]` and its dot starts anywhere;
20 steps, each of which pays 1 if it ends in column 4. A random policy gets about 2.

References:
  The idea, and the first five in another form: Andy Jones, "Debugging reinforcement
  learning systems" (2021).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from auxjax._types import Array, Bool, Int
from auxjax.envs._adapt import check_name
from auxjax.envs._protocol import Discrete, Environment

TRUNCATE_AFTER = 8
IMAGE_SIZE, IMAGE_GOAL, IMAGE_STEPS = 10, 4, 20


def make_probe(name: str) -> Environment:
    """The probe of that name.

    Args:
      name: One of `PROBES`.

    Returns:
      The world.

    Raises:
      ValueError: If there is no such probe.

    Example:
      >>> make_probe("Probe-Action").action_space
      Discrete(n=2)
    """
    check_name(name, PROBES)
    return PROBES[name](name)


def _vector_probe(
    name: str,
    reward: Callable[..., Array | float],
    *,
    random_observation: bool = False,
    steps: int = 1,
    observe_time: bool = False,
    cut: bool = False,
) -> Environment:
    """A world with one number to see and two actions, `steps` long.

    Args:
      name: Its name.
      reward: `(sign, action, time) -> reward`, time after the step.
      random_observation: Whether the observation is ±1, drawn at reset.
      steps: The length of an episode.
      observe_time: Whether the observation is the number of steps taken.
      cut: Whether the episode is truncated at its end, not terminated.

    Returns:
      The world. Its state is the sign and the time.
    """

    def observe(sign, time):
        seen = time.astype(jnp.float32) if observe_time else sign
        return seen[None]

    def reset(key):
        coin = jnp.where(jax.random.bernoulli(key), 1.0, -1.0).astype(jnp.float32)
        sign = coin if random_observation else jnp.zeros((), jnp.float32)
        time = jnp.zeros((), jnp.int32)
        return (sign, time), observe(sign, time)

    def step(key, state, action):
        del key
        sign, time = state[0], state[1] + 1
        over = time >= steps
        paid = jnp.asarray(reward(sign, action, time), jnp.float32)
        never = jnp.zeros_like(over)
        terminated, truncated = (never, over) if cut else (over, never)
        return (sign, time), observe(sign, time), paid, terminated, truncated

    return Environment(name, (1,), Discrete(2), reset, step)


def _signed(right: Bool[Array, ""]) -> Array:
    return jnp.where(right, 1.0, -1.0)


def _image(name: str) -> Environment:
    """A dot in a 10 × 10 picture. Actions: stay, left, right."""

    def observe(row, column):
        cells = jnp.arange(IMAGE_SIZE, dtype=jnp.int32)
        dot = (cells[:, None] == row) & (cells[None, :] == column)
        return dot[:, :, None]

    def reset(key):
        row, column = jax.random.randint(key, (2,), 0, IMAGE_SIZE, jnp.int32)
        return (row, column, jnp.zeros((), jnp.int32)), observe(row, column)

    def step(key, state, action: Int[Array, ""]):
        del key
        row, column, time = state
        move = (action == 2).astype(jnp.int32) - (action == 1).astype(jnp.int32)
        column = jnp.clip(column + move, 0, IMAGE_SIZE - 1)
        time = time + 1
        reward = (column == IMAGE_GOAL).astype(jnp.float32)
        cut = time >= IMAGE_STEPS
        state = row, column, time
        return state, observe(row, column), reward, jnp.zeros_like(cut), cut

    shape = (IMAGE_SIZE, IMAGE_SIZE, 1)
    return Environment(name, shape, Discrete(3), reset, step)


PROBES: dict[str, Callable[[str], Environment]] = {
    "Probe-ConstantValue": lambda name: _vector_probe(name, lambda s, a, t: 1.0),
    "Probe-ObservationValue": lambda name: _vector_probe(
        name, lambda s, a, t: s, random_observation=True
    ),
    "Probe-DiscountedValue": lambda name: _vector_probe(
        name, lambda s, a, t: t == 2, steps=2, observe_time=True
    ),
    "Probe-Action": lambda name: _vector_probe(name, lambda s, a, t: _signed(a == 1)),
    "Probe-ObservationAction": lambda name: _vector_probe(
        name, lambda s, a, t: _signed((a == 1) == (s > 0)), random_observation=True
    ),
    "Probe-Truncation": lambda name: _vector_probe(
        name, lambda s, a, t: 1.0, steps=TRUNCATE_AFTER, cut=True
    ),
    "Probe-Image": _image,
}
"""The probes by name."""
