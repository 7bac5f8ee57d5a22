"""Encoders: from an observation to a latent vector φ(s)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from auxjax.auxiliary import to_float
from auxjax.models._convolution import Conv, Implementation
from auxjax.models._model import RELU_GAIN, Model, dense, from_linen

Kind = Literal["auto", "minatar", "nature", "mlp"]

NATURE_SMALLEST = 36
"""The smallest side of which three unpadded convolutions leave a pixel."""


def encoder(
    observation_shape: Sequence[int],
    *,
    features: int = 128,
    channels: int = 16,
    kind: Kind = "auto",
    implementation: Implementation = "auto",
    dtype: Any = jnp.float32,
) -> Model:
    """An encoder for observations of the given shape.

    | kind | for | layers before the latent |
    |---|---|---|
    | minatar | small images, 10×10 | `channels` 3×3 filters, ReLU |
    | nature | images of 36×36 and more, 84×84 | 32 8×8/4, 64 4×4/2, 64 3×3/1, ReLU |
    | mlp | vectors | 64 tanh |

    Then a linear layer to `features` and the same non-linearity once more. So
    `features=512` makes the nature trunk DQN's, and `features=64` the usual 64-64 MLP.

    Args:
      observation_shape: `(H, W, C)` or `(N,)`.
      features: Size of the latent.
      channels: Filters of the minatar trunk.
      kind: The trunk; "auto" chooses by the shape.
      implementation: How to convolve; see `convolve`.
      dtype: In which the layers compute; the parameters are float32.

    Returns:
      `init(key, observation) -> params` and `apply(params, observation) -> latent
      [..., features]`. Observations `[..., *observation_shape]` may be bool, uint8
      (scaled to [0, 1]) or float.

    Raises:
      ValueError: The kind is unknown, or does not suit the shape.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = encoder((10, 10, 4), features=8)
      >>> params = model.init(jax.random.key(0), jnp.zeros((1, 10, 10, 4)))
      >>> model.apply(params, jnp.zeros((5, 10, 10, 4), bool)).shape
      (5, 8)

    References:
      minatar: Young, Tian: MinAtar (2019), arXiv 1903.03176. nature: Mnih et al.:
      Human-level control through deep reinforcement learning, Nature 518 (2015).
      mlp: Schulman et al.: Proximal Policy Optimization Algorithms (2017), arXiv
      1707.06347.
    """
    shape = tuple(observation_shape)
    if len(shape) not in (1, 3):
        raise ValueError(
            f"`observation_shape` should be (H, W, C) or (N,). Found {shape}."
        )
    kind = _suitable(shape) if kind == "auto" else kind
    _check(shape, kind)
    return from_linen(_Encoder(shape, kind, features, channels, implementation, dtype))


def _suitable(shape: tuple[int, ...]) -> Kind:
    if len(shape) == 1:
        return "mlp"
    return "nature" if min(shape[:2]) >= NATURE_SMALLEST else "minatar"


def _check(shape: tuple[int, ...], kind: str) -> None:
    """Raise a `ValueError` unless the trunk suits the shape."""
    smallest = {"mlp": 1, "minatar": 3, "nature": NATURE_SMALLEST}
    if kind not in smallest:
        raise ValueError(
            f"`kind` should be 'auto', 'minatar', 'nature' or 'mlp'. Found {kind!r}."
        )
    if kind != "mlp" and (len(shape) != 3 or min(shape[:2]) < smallest[kind]):
        raise ValueError(
            f"`observation_shape` of a {kind!r} encoder should be (H, W, C) with H and "
            f"W at least {smallest[kind]}. Found {shape}."
        )


class _Encoder(nn.Module):
    """The module behind `encoder`."""

    observation_shape: tuple[int, ...]
    kind: str
    features: int
    channels: int
    implementation: Implementation
    dtype: Any

    @nn.compact
    def __call__(self, observation):
        rank = len(self.observation_shape)
        if observation.shape[-rank:] != self.observation_shape:
            raise ValueError(
                f"the observation's last axes should be {self.observation_shape}. "
                f"Found {observation.shape}."
            )
        lead = observation.shape[:-rank]
        x = to_float(observation).astype(self.dtype)
        if self.kind == "mlp":
            x = nn.tanh(dense(64, RELU_GAIN, self.dtype)(x.reshape(*lead, -1)))
            return nn.tanh(dense(self.features, RELU_GAIN, self.dtype)(x))
        for filters, size, stride in self._filters():
            x = nn.relu(
                Conv(
                    filters,
                    (size, size),
                    (stride, stride),
                    implementation=self.implementation,
                    dtype=self.dtype,
                )(x)
            )
        x = x.reshape(*lead, -1)
        return nn.relu(dense(self.features, RELU_GAIN, self.dtype)(x))

    def _filters(self) -> list[tuple[int, int, int]]:
        """Filters, size and stride of each convolution."""
        if self.kind == "minatar":
            return [(self.channels, 3, 1)]
        return [(32, 8, 4), (64, 4, 2), (64, 3, 1)]
