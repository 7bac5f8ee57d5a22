"""PCD: the main task's gradient, bent no more than the others' progress asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax._types import Array, Bool, Float, Mask, Number
from auxjax.aggregation._build import Groups, from_gramian
from auxjax.aggregation._checks import check_integer, check_number
from auxjax.aggregation._solvers import bounded_qp
from auxjax.aggregation._spectrum import divide, dot, everybody, noise_of, unit_gramian
from auxjax.jacobian import is_traced

Shares = Number | Sequence[Any] | Float[Array, " others"] | np.ndarray
"""One number for all tasks behind the main one, or one for each."""


class PCDState(NamedTuple):
    """State of `pcd`, one per group."""

    squares: jax.Array  # [T] float, moving average of ‖∇Lᵢ‖² before debiasing
    steps: jax.Array  # [T] int32, how many of them it holds


def pcd(
    tau: Shares = 0.02,
    num_tasks: int = 2,
    *,
    beta: Number = 0.999,
    eps: Number = 1e-8,
    where: Mask | None = None,
    groups: Groups = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Follows the main task as closely as guaranteed progress for the others allows.

        sᵢ = 1 / √(v̂ᵢ + ε),   v̂ᵢ: debiased moving average of ‖∇Lᵢ‖²     (Def. 4.5)
        d̃ = argmin ½‖d − s₀∇L₀‖²  subject to                            (Def. 4.1)
            ⟨sⱼ∇Lⱼ, d⟩ ≥ τ ‖sⱼ∇Lⱼ‖²  for every other task j
        d = ‖∇L₀‖ d̃/‖d̃‖                                            (Algorithm 1)

    Each other task gets at least the share τ of the progress that a step along its own
    normalised gradient would make. Multiplying its loss by a number changes nothing
    (but for ε). See `pcd_weights` for the special cases.

    Args:
      tau: τ, one number in [0, 1] or one for each task behind the main one `[T-1]`.
      num_tasks: T, main task included; the main task is the first.
      beta: decay of the moving averages; 0: the norms of now.
      eps: ε.
      where: the shared parameters, as in `optax.masked`; None: those that at least
        two losses depend on. Elsewhere the rows are summed.
      groups: which parameters are aggregated together, each group with averages of
        its own: None: all; `"leaf"`: each leaf alone; a pytree of labels or a function
        that makes one.

    Returns:
      An aggregator, Jacobian → gradient: T backward passes and two small quadratic
      programs. With `task_mask=` `[T]` absent tasks are no constraints and their
      averages stay; while the main task is absent the first that is there leads.

    Raises:
      ValueError: for τ outside [0, 1] or not T − 1 numbers, β outside [0, 1), ε < 0;
        from the update, for another number of tasks.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.pcd(0.5)
      >>> grads = jnp.array([[2.0, 0.0], [-5.0, 5.0]])  # the second objects
      >>> d, _ = tx.update(grads, tx.init(jnp.zeros(2)))
      >>> [round(float(x), 3) for x in d]  # ∝ (1, 0) + 1.21 (-√½, √½)
      [0.338, 1.971]

    References:
      Varam & AlHajri, *Not All Objectives Are Born Equal: Priority-Constrained Descent
      for Hierarchical Multi-Objective Optimization*, TMLR 2026, arXiv 2606.29521. The
      numbers are those that the authors' code gives.

    Paper and code:

      | | |
      |---|---|
      | here | an exact active-set method of any size, in the rows' precision |
      | the authors | all 2ᵀ⁻¹ sets of constraints in turn, in float64 |
      | TorchJD | Goldfarb and Idnani's active-set method, in float64 |
      | g₀ = 0 | d = 0 everywhere: the deployed rule of section 4.7 |
    """
    tau = _check(tau, num_tasks, beta, eps)

    def weigh(gramian, present, state, losses):
        del losses
        here, dtype = everybody(present, gramian), gramian.dtype
        decay, old = jnp.asarray(beta, dtype), state.squares.astype(dtype)
        new = decay * old + (1.0 - decay) * jnp.diagonal(gramian)  # Def. 4.5
        squares = jnp.where(here, new, old)
        steps = state.steps + here.astype(jnp.int32)
        count = jnp.maximum(steps, 1).astype(dtype)
        debias = -jnp.expm1(count * jnp.log(decay))
        spread = jnp.sqrt(squares / debias + jnp.asarray(eps, dtype))
        scales = divide(jnp.ones_like(spread), spread)
        w = pcd_weights(gramian, scales, present, tau=tau)
        after = PCDState(squares.astype(state.squares.dtype), steps)
        return w, after

    def init_group(number):
        del number
        return PCDState(jnp.zeros(num_tasks), jnp.zeros(num_tasks, jnp.int32))

    return from_gramian(
        weigh, init_group=init_group, where=where, groups=groups, num_tasks=num_tasks
    )


def pcd_weights(
    gramian: Float[Array, "T T"],
    scales: Float[Array, " T"] | None = None,
    present: Bool[Array, " T"] | None = None,
    *,
    tau: Shares = 0.02,
) -> Float[Array, " T"]:
    r"""The weights of the rows in PCD's step, main task first.

    With multipliers μ ≥ 0, d̃ = s₀∇L₀ + Σⱼ μⱼ sⱼ∇Lⱼ (Theorem 4.2), and μ minimises a
    quadratic of its own: ½ μᵀGμ + Σⱼ μⱼ (⟨gⱼ, g₀⟩ − τ‖gⱼ‖²), with gᵢ = sᵢ∇Lᵢ.

    Args:
      gramian: J Jᵀ.
      scales: s `[T]`, above 0; None: 1/‖∇Lᵢ‖.
      present: the task mask; None: all.
      tau: τ, one number or `[T-1]`.

    Returns:
      w `[T]`. Where the constraints contradict each other (0 is a positive combination
      of the others' gradients) they are dropped: d is the main task's gradient. Where
      that is zero, or d̃ is, up to rounding, so is d.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> gramian = jnp.array([[4.0, -2.0], [-2.0, 1.0]])  # opposed, lengths 2 and 1
      >>> w = auxjax.pcd_weights(gramian, tau=0.5)
      >>> [round(float(x), 3) for x in w]  # d̃ = u₀ + 1.5 u₁ = -½ u₀
      [2.0, 6.0]

    References:
      Varam & AlHajri, arXiv 2606.29521, Definition 4.1, Theorem 4.2, Algorithm 1.
    """
    norms, cosines = unit_gramian(gramian, present)
    dtype, noise = norms.dtype, noise_of(gramian)
    alive = norms > 0
    lengths = alive.astype(dtype) if scales is None else norms * scales.astype(dtype)
    shares = jnp.broadcast_to(jnp.asarray(tau, dtype), (norms.shape[0] - 1,))

    # In unit gradients, whose Gramian has ones on its diagonal; the leading one apart.
    first = jnp.argmax(everybody(present, gramian))
    leads = jnp.arange(norms.shape[0]) == first
    zeros = jnp.zeros_like(norms)
    apart = jnp.logical_or(leads[:, None], leads[None, :])
    others = jnp.where(apart, 0.0, cosines)
    wanted = jnp.where(leads, 0.0, lengths * jnp.concatenate([zeros[:1], shares]))
    slack = jnp.where(leads, 0.0, lengths[first] * cosines[first] - wanted)
    slack = jnp.where(_contradict(others, wanted, noise), zeros, slack)
    c = bounded_qp(others, slack, zeros)  # Def. 4.1, its dual
    c = jnp.where(leads, lengths[first], c)

    square = dot(c, dot(cosines, c))
    solid = jnp.logical_and(square > noise * jnp.sum(jnp.abs(c)) ** 2, alive[first])
    length = jnp.sqrt(jnp.where(solid, square, 1.0))
    w = divide(c * (norms[first] / length), norms)  # Algorithm 1: as long as ∇L₀
    return jnp.where(solid, w, zeros)


def _contradict(cosines: jax.Array, wanted: jax.Array, noise: float) -> jax.Array:
    """Whether no direction has products of at least `wanted` with all unit gradients.

    By Farkas' lemma that is where Σ xⱼuⱼ = 0 for some x ≥ 0 with ⟨wanted, x⟩ > 0. The
    shortest such sum is that of argmin ½ xᵀ(C + s ttᵀ)x − s tᵀx over x ≥ 0, t = wanted.
    """
    largest = jnp.max(wanted)
    t = wanted / jnp.where(largest > 0, largest, 1.0)
    s = 1.0 / jnp.maximum(dot(t, t), 1.0)
    system = cosines + s * t[:, None] * t[None, :]
    x = bounded_qp(system, -s * t, jnp.zeros_like(t))
    square = dot(x, dot(cosines, x))
    return jnp.logical_and(dot(t, x) > 0, square <= noise * jnp.sum(x) ** 2)


def _check(tau, num_tasks, beta, eps):
    """τ as it is taken into a program: a NumPy array in float64, or a traced one."""
    check_integer("num_tasks", num_tasks)
    check_number("tau", tau, "in [0, 1]", lambda x: np.all((x >= 0) & (x <= 1)))
    check_number("beta", beta, "in [0, 1)", lambda x: (x >= 0) & (x < 1))
    check_number("eps", eps, "finite and at least 0", lambda x: 0 <= x < np.inf)
    values: Any = tau
    if not isinstance(tau, jax.Array):
        known = not is_traced(tau)
        values = np.asarray(tau, np.float64) if known else jnp.stack(list(tau))
    if values.shape not in ((), (num_tasks - 1,)):
        raise ValueError(
            f"`tau` should be one number or {num_tasks - 1}, one for each task behind "
            f"the main one. Found shape {values.shape}."
        )
    return values
