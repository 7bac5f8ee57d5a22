"""Worlds to act in: one protocol, adapters for others' worlds, small ones of our own.

`make(name, num_envs)` is all that an agent needs. MinAtar and Atari want the extra
`rl`, brax the extra `brax`; the probes want nothing.
"""

from auxjax.envs._ale import from_ale
from auxjax.envs._brax import from_brax
from auxjax.envs._gymnax import from_gymnax
from auxjax.envs._probes import make_probe
from auxjax.envs._protocol import Box, Discrete, Environment, Timestep, VectorEnv
from auxjax.envs._registry import has_images, make, names
from auxjax.envs._vector import vectorise

__all__ = [
    "Box",
    "Discrete",
    "Environment",
    "Timestep",
    "VectorEnv",
    "from_ale",
    "from_brax",
    "from_gymnax",
    "has_images",
    "make",
    "make_probe",
    "names",
    "vectorise",
]
