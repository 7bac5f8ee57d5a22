"""Worlds by name."""

from __future__ import annotations

from typing import SupportsIndex

from auxjax.envs._adapt import check_name
from auxjax.envs._ale import from_ale, game_names
from auxjax.envs._brax import BRAX, from_brax
from auxjax.envs._gymnax import MINATAR, from_gymnax
from auxjax.envs._probes import PROBES, make_probe
from auxjax.envs._protocol import VectorEnv
from auxjax.envs._vector import vectorise

ALE = ("ALE/Breakout-v5", "ALE/Pong-v5", "ALE/Seaquest-v5")


def names() -> tuple[str, ...]:
    """The names that `make` knows, for help texts; of ALE's games only three.

    Returns:
      The names, whether or not the packages behind them are installed.

    Example:
      >>> names()[0]
      'Breakout-MinAtar'
    """
    return (*MINATAR, *ALE, *BRAX, *PROBES)


def make(name: str, num_envs: SupportsIndex) -> VectorEnv:
    """N copies of the world of that name.

    Args:
      name: One of `names()`, or `ALE/<Game>-v5` for any other game of ALE's.
      num_envs: N.

    Returns:
      The vector of worlds.

    Raises:
      ValueError: If there is no such world, or `num_envs` is below 1.
      ImportError: If the world needs a package that is not installed.

    Example:
      >>> import jax
      >>> env = make("Probe-Image", 4)
      >>> state, observation = env.reset(jax.random.key(0))
      >>> observation.shape
      (4, 10, 10, 1)
    """
    if name in PROBES:
        return vectorise(make_probe(name), num_envs)
    if name in MINATAR:
        return vectorise(from_gymnax(name), num_envs)
    if name in BRAX:
        return vectorise(from_brax(name), num_envs)
    games = game_names() if name.startswith("ALE/") else {}
    listed = f"{', '.join(names())}, or any other `ALE/<Game>-v5`"
    check_name(name, (*names(), *games), listed)
    return from_ale(name, num_envs)


def has_images(name: str) -> bool:
    """Whether a world's observations are images; says nothing of unknown names.

    Example:
      >>> has_images("Breakout-MinAtar"), has_images("brax/ant")
      (True, False)
    """
    if name in PROBES:
        return len(make_probe(name).observation_shape) == 3
    return not name.startswith("brax/")
