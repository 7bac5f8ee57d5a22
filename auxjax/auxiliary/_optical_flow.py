"""Optical flow: predict where each pixel went, judged by undoing the motion."""

from __future__ import annotations

import jax.numpy as jnp

from auxjax._types import Array, Float, Shaped
from auxjax.auxiliary._masking import (
    check_same_shape,
    kept_rows,
    masked_mean,
    mean_of_rows,
)
from auxjax.auxiliary._warp import warp

_EPSILON = 1e-3


def optical_flow(
    flow: Float[Array, "B H W 2"],
    image: Shaped[Array, "B H W C"],
    next_image: Shaped[Array, "B H W C"],
    mask: Shaped[Array, " B"],
    *,
    smoothness: float = 0.1,
) -> Float[Array, ""]:
    """Photometric error after warping, plus how unevenly the flow varies.

    L = mean of ρ(I(x) − I'(x + f(x))) + smoothness · mean of ρ(f(x) − f(y)),
    where x, y are neighbouring pixels and ρ(z) = √(z² + ε²) − ε, ε = 10⁻³

    ρ is Charbonnier's smooth |z|, moved down to be 0 at 0: a perfect flow costs
    nothing, and the loss is never negative. No ground truth is needed: the second image
    is looked at through the flow (`warp`) and should look like the first.

    Pixels whose content leaves the frame are compared with the border, and count: if
    they did not, a flow that points out of the frame everywhere would be perfect.

    Args:
      flow: (dx in columns, dy in rows) from `image` to `next_image`, in pixels.
      image: I, the observation; bool, uint8 (scaled to [0, 1]) or float.
      next_image: I', the observation after it.
      mask: True where `next_image` followed from `image`.
      smoothness: Weight of the second term.

    Returns:
      A non-negative scalar; 0 if the mask keeps nothing.

    Raises:
      ValueError: The shapes do not go together, or the smoothness is negative.

    Example:
      >>> import jax.numpy as jnp
      >>> image = jnp.zeros((1, 5, 5, 1)).at[0, 2, 1].set(1.0)
      >>> next_image = jnp.roll(image, 1, axis=2)  # one pixel to the right
      >>> flow = jnp.full((1, 5, 5, 2), jnp.array([1.0, 0.0]))
      >>> optical_flow(flow, image, next_image, jnp.array([True]))
      Array(0., dtype=float32)

    References:
      Yu, Harley, Derpanis: Back to Basics: Unsupervised Learning of Optical Flow via
      Brightness Constancy and Motion Smoothness (2016), arXiv 1608.05842; there
      ρ(z) = (z² + ε²)^α, here α = ½ and means stand for sums. The task is that of
      Dosovitskiy et al.: FlowNet (2015), arXiv 1504.06852, which learns it from
      ground truth.
    """
    if smoothness < 0:
        raise ValueError(f"`smoothness` should be at least 0. Found {smoothness}.")
    check_same_shape("next_image", next_image, "image", image)
    flow, image, next_image = kept_rows(mask, flow, image, next_image)
    photometric = mean_of_rows(_charbonnier(image - warp(next_image, flow)))
    return masked_mean(photometric + smoothness * _roughness(flow), mask)


def _roughness(flow: Float[Array, "B H W 2"]) -> Float[Array, " B"]:
    """Mean of ρ over the differences between neighbours, across and down."""
    across = _charbonnier(flow[:, :, 1:] - flow[:, :, :-1])
    down = _charbonnier(flow[:, 1:] - flow[:, :-1])
    pairs = across[0].size + down[0].size
    axes = (1, 2, 3)
    return (jnp.sum(across, axes) + jnp.sum(down, axes)) / max(pairs, 1)


def _charbonnier(z: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """√(z² + ε²) − ε, in a form that does not cancel."""
    square = jnp.square(z)
    return square / (jnp.sqrt(square + _EPSILON**2) + _EPSILON)
