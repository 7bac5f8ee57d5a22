"""CAGrad: near the mean gradient, the direction that helps the worst-off task most."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax._types import Array, Bool, Float, Mask, Number
from auxjax.aggregation._build import Groups, from_weights
from auxjax.aggregation._checks import check_number
from auxjax.aggregation._solvers import (
    bounded_qp,
    dot,
    length,
    min_norm_point,
    prepare,
)
from auxjax.aggregation._spectrum import noise_of

MAX_STEPS = 20


def cagrad(
    c: Number = 0.4,
    *,
    rescale: bool = False,
    where: Mask | None = None,
    groups: Groups = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Follows the direction near the mean that helps the worst-off task most.

        d = argmax minᵢ ⟨∇Lᵢ, d⟩  subject to  ‖d − g₀‖ ≤ c‖g₀‖,    g₀ = (1/T) Σᵢ ∇Lᵢ

    and in its dual, with g_w = Σᵢ wᵢ∇Lᵢ and w on the simplex,

        w = argmin ⟨g_w, g₀⟩ + c‖g₀‖‖g_w‖,    d = g₀ + c‖g₀‖ g_w / ‖g_w‖

    With c = 0 it is the mean gradient; with c < 1 it converges to a stationary point
    of the mean loss; with c ≥ 1 it conflicts with no task.

    Args:
      c: the radius, in lengths of the mean gradient.
      rescale: divide d by 1 + c², as the authors' code does.
      where: the shared parameters; None: found by themselves. The others keep the
        plain sum of the rows.
      groups: which of them are aggregated together, each group with a Gramian of its
        own: None: all; `"leaf"`: each leaf alone; a pytree of labels that is a prefix
        of the parameters, or a function that makes one.

    Returns:
      An aggregator, Jacobian → gradient. Price: T backward passes and a few tens of
      linear systems of size T. It takes `task_mask=` `[T]`: absent tasks count in
      neither the mean nor the minimum.

    Raises:
      ValueError: for c < 0 or infinite.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.cagrad(c=0.5)
      >>> params = jnp.zeros(3)
      >>> rows = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
      >>> updates, _ = tx.update(rows, tx.init(params), params)
      >>> [round(float(x), 3) for x in updates]  # the mean (1, 1, 1) harms one task
      [0.184, 1.204, 1.204]

    References:
      Liu, Liu, Jin, Stone, Liu, *Conflict-Averse Gradient Descent for Multi-task
      Learning*, NeurIPS 2021, arXiv:2110.14048, Algorithm 1, Theorem 3.2.

    Paper and code:

      | | |
      |---|---|
      | here | the paper's d, exactly |
      | the authors | SLSQP on an objective smoothed by 1e-8; d times T / (1 + c²), |
      | | for losses that are summed: `rescale=True` here, and T in the rate |
      | TorchJD | the paper's d, by an interior-point method; but d = 0 where ‖g_w‖ < |
      | | 1e-4 of the length of all gradients (here see `cagrad_weights`) |
    """
    check_number("c", c, "finite and at least 0", lambda x: (x >= 0) & (x < np.inf))
    weights = functools.partial(cagrad_weights, c=c, rescale=rescale)
    return from_weights(weights, where=where, groups=groups)


def cagrad_weights(
    gramian: Float[Array, "T T"],
    present: Bool[Array, " T"] | None = None,
    *,
    c: Number = 0.4,
    rescale: bool = False,
) -> Float[Array, " T"]:
    r"""The weights of `cagrad`: 1/T + c‖g₀‖ wᵢ/‖g_w‖.

    Let μ be the gain of the worst-off task. The point nearest to g₀ that gains it is
    Jᵀv, v = argmin ½ vᵀGv − μ Σv subject to v ≥ 1/T, at a distance N(μ) from g₀ that
    is convex in μ. Newton's method on N(μ) = c‖g₀‖ replaces μ by the dual objective at
    w ∝ v − 1/T: an upper bound that comes down to the solution in a few steps.

    Args:
      gramian: G = JJᵀ, positive semi-definite.
      present: the task mask; absent tasks get 0. None: all tasks are present.
      c: the radius, in lengths of the mean gradient.
      rescale: divide by 1 + c².

    Returns:
      The weights of d. Where the best gain is had at less than the full radius (some
      g_w is 0, and no direction within reach gains more than 0 for all), d is the
      nearest such point to g₀. Without conflict or with a zero Gramian, all is well
      defined too: a zero Gramian gives 1/T.
      ‖d − g₀‖ exceeds c‖g₀‖ by at most 1e-9 of ‖g₀‖ in float64, 2e-3 in float32 (some
      thousand random problems, more tasks than dimensions included).

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> auxjax.cagrad_weights(jnp.eye(2), c=1.0).round(3)  # g₀ = g_w: (1 + c) g₀
      Array([1., 1.], dtype=float32)

    References:
      Liu et al., arXiv:2110.14048, Theorem 3.2 (the dual), Algorithm 1.
    """
    gramian, _, mask = prepare(gramian, present)
    mean = mask / jnp.maximum(jnp.sum(mask), 1)
    c = jnp.asarray(c, mask.dtype)
    radius = c * length(gramian, mean)
    lengths = jax.lax.stop_gradient(jnp.sqrt(jnp.diagonal(gramian)))

    def closest(gain):
        """The nearest point that gains this much: v − 1/T, and how far it is."""
        x = bounded_qp(gramian, -gain * mask, mean) - mean
        return x, length(gramian, x)

    def bound(x):
        """The dual objective at w ∝ x: no gain within the radius is larger.

        It is exactly 0 where g_w cannot be told from 0: a gain that is made of rounding
        would ask for endless weights.
        """
        far = length(gramian, x)
        is_zero = far**2 <= noise_of(gramian) * dot(jnp.abs(x), lengths) ** 2
        value = dot(x, dot(gramian, mean)) + radius * far
        value = jnp.where(is_zero, jnp.zeros_like(value), value)
        total = jnp.sum(x)
        return value / jnp.where(total > 0, total, jnp.ones_like(total))

    # The loop runs without derivatives; its last step is then repeated for them.
    gain = jax.lax.stop_gradient(_best_gain(closest, bound, gramian, mask, radius))
    best = bound(closest(gain)[0])
    x, distance = closest(gain + best - jax.lax.stop_gradient(best))
    tight = (distance > 0.999 * radius) & (distance > 0)
    share = radius / jnp.where(tight, distance, jnp.ones_like(distance))
    share = jnp.where(tight | (radius <= 0), share, jnp.ones_like(share))
    return (mean + share * x) / (1 + c**2 if rescale else 1.0)


def _best_gain(closest, bound, gramian, mask, radius):
    """The value of max minᵢ ⟨∇Lᵢ, d⟩, come down to from above."""

    def cond(carry):
        gain, last, turn = carry
        return (gain < last) & (turn < MAX_STEPS)

    def body(carry):
        gain, _, turn = carry
        x, distance = closest(gain)
        lower = jnp.where(distance > radius, jnp.minimum(bound(x), gain), gain)
        return lower, gain, turn + 1

    single = jax.vmap(bound)(jnp.eye(len(mask), dtype=mask.dtype))
    single = jnp.where(mask > 0, single, jnp.full_like(single, jnp.inf))
    hull = bound(min_norm_point(gramian, mask > 0))
    gain = jnp.minimum(jnp.min(single), hull)
    start = (gain, jnp.full_like(gain, jnp.inf), jnp.asarray(0, jnp.int32))
    return jax.lax.while_loop(cond, body, start)[0]
