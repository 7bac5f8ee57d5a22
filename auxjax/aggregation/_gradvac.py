"""GradVac: gradients are turned towards the angle that they usually have."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Array, Bool, Float, Key, Mask, Number
from auxjax.aggregation._build import Groups, from_gramian
from auxjax.aggregation._checks import check_integer, check_number
from auxjax.aggregation._keys import keys_of_groups, visiting_orders
from auxjax.aggregation._spectrum import divide, dot, everybody, noise_of, unit_gramian

LEAST_SINE = 1e-3
"""Targets nearer to cosine 1 than this angle would ask for an endless correction."""


class GradVacState(NamedTuple):
    """State of `gradvac`, one per group."""

    targets: jax.Array  # [T, T] float, moving average of the cosines met; 0 at first
    key: jax.Array  # [] typed key, split at every update


def gradvac_weights(
    gramian: Float[Array, "T T"],
    targets: Float[Array, "T T"],
    key: Key[Array, ""] | None = None,
    *,
    beta: Number = 0.5,
    present: Bool[Array, " T"] | None = None,
) -> tuple[Float[Array, " T"], Float[Array, "T T"]]:
    r"""The weights of the original rows in GradVac's sum, and the next targets.

    Each gᵢ starts as the row ∇Lᵢ and meets the other *original* rows one by one. With
    φ = cos(gᵢ, ∇Lⱼ) and its target φ̂ᵢⱼ, where φ < φ̂ᵢⱼ,

        gᵢ ← gᵢ + ‖gᵢ‖ (φ̂ᵢⱼ √(1 − φ²) − φ √(1 − φ̂ᵢⱼ²)) / (‖∇Lⱼ‖ √(1 − φ̂ᵢⱼ²)) ∇Lⱼ
        φ̂ᵢⱼ ← (1 − β) φ̂ᵢⱼ + β φ

    after which cos(gᵢ, ∇Lⱼ) is φ̂ᵢⱼ. With φ̂ = 0 this is PCGrad. As there, only the
    coefficients of the rows are kept.

    Args:
      gramian: J Jᵀ.
      targets: φ̂.
      key: for the order in which each task meets the others; None: 0..T-1.
      beta: how much the last cosine counts in the targets.
      present: the task mask; None: all.

    Returns:
      w `[T]` and φ̂ `[T, T]`. Cosines with a gradient of zero are 0; √(1 − φ̂²) is taken
      to be at least 1e-3, which bounds the correction; absent tasks' targets stay.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> gramian = jnp.array([[1.0, -0.5], [-0.5, 1.0]])
      >>> w, targets = auxjax.gradvac_weights(gramian, jnp.zeros((2, 2)))
      >>> w.tolist(), targets.tolist()  # PCGrad's, at first
      ([1.5, 1.5], [[0.0, -0.25], [-0.25, 0.0]])

    References:
      Wang et al., *Gradient Vaccine: Investigating and Improving Multi-task
      Optimization in Massively Multilingual Models*, ICLR 2021, arXiv 2010.05874,
      Algorithm 1, with its equations for the correction and the moving average.
    """
    norms, cosines = unit_gramian(gramian, present)
    here = everybody(present, gramian)
    orders = visiting_orders(key, gramian.shape[0])
    old = targets.astype(gramian.dtype)
    c, new = _operate(cosines, orders, old, here, jnp.asarray(beta, old.dtype))
    weights = divide(dot(norms, c), norms, otherwise=1.0)
    new = jnp.where(here[:, None], new, old)
    return jnp.where(here, weights, 0.0), new.astype(targets.dtype)


def gradvac(
    beta: Number = 0.5,
    num_tasks: int = 2,
    *,
    key: Array | None = None,
    where: Mask | None = None,
    groups: Groups = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Turns gradients towards the cosines that they usually have, and sums them.

    PCGrad acts only on conflict, cos < 0; GradVac also pulls together tasks that have
    been closer than they are now. See `gradvac_weights` for the formula.

    Args:
      beta: how much the last cosine counts in the targets, in [0, 1].
      num_tasks: T, main task included.
      key: a typed key for the order in which each task meets the others, drawn anew
        at every update; None: `jax.random.key(0)`. It lives in the state.
      where: the shared parameters; None: those that at least two losses depend on.
        Elsewhere the rows are summed.
      groups: which parameters have cosines of their own: None: all together;
        `"leaf"`: each leaf; a pytree of labels or a function that makes one.

    Returns:
      An aggregator, Jacobian → gradient, whose state holds the targets of every group:
      T backward passes and O(T³) small numbers; no row is copied.

    Raises:
      ValueError: for `beta` outside [0, 1] or a `key` that is not a typed key; from the
        update, for another number of tasks.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.gradvac()
      >>> grads = jnp.array([[1.0, 0.0], [-2.0, 2.0]])
      >>> tx.update(grads, tx.init(jnp.zeros(2)))[0].tolist()  # as PCGrad, at first
      [0.5, 2.5]

    References:
      Wang et al., *Gradient Vaccine: Investigating and Improving Multi-task
      Optimization in Massively Multilingual Models*, ICLR 2021, arXiv 2010.05874,
      Algorithm 1.

    Paper and code:
      | | paper | LibMTL, TorchJD | here |
      |---|---|---|---|
      | β | 0.01 | 0.5 | `beta=0.5` |
      | division by zero | | 1e-8 or nothing added | cosine 0, sine at least 1e-3 |
    """
    check_number("beta", beta, "in [0, 1]", lambda x: (x >= 0) & (x <= 1))
    num_tasks = check_integer("num_tasks", num_tasks)
    key_of = keys_of_groups(key)

    def init_group(number):
        return GradVacState(jnp.zeros((num_tasks, num_tasks)), key_of(number))

    def weigh(gramian, present, state, losses):
        del losses
        next_key, now = jax.random.split(state.key)
        w, targets = gradvac_weights(
            gramian, state.targets, now, beta=beta, present=present
        )
        return w, GradVacState(targets, next_key)

    return from_gramian(
        weigh, init_group=init_group, where=where, groups=groups, num_tasks=num_tasks
    )


@jax.jit  # so that it is compiled once where nobody else does
def _operate(cosines, orders, targets, here, beta) -> tuple[jax.Array, jax.Array]:
    """Coefficients `[T, T]` in unit gradients, row i for norm 1; and the targets."""
    noise, alive = noise_of(cosines), jnp.diagonal(cosines) > 0

    def one(task, order, row):
        def meet(carry, other):
            c, row = carry
            dots = dot(cosines, c)  # ⟨gᵢ, uₖ⟩
            square = dot(c, dots)  # ‖gᵢ‖²
            solid = square > noise * jnp.sum(jnp.abs(c)) ** 2
            length = jnp.sqrt(jnp.where(solid, square, 0.0))
            cosine = jnp.clip(divide(dots[other], length), -1.0, 1.0)
            target = row[other]
            sine = jnp.sqrt(1.0 - cosine**2)
            target_sine = jnp.sqrt(jnp.maximum(1.0 - target**2, LEAST_SINE**2))
            turn = length * (target * sine - cosine * target_sine) / target_sine
            met = jnp.logical_and(other != task, here[other])
            short = jnp.logical_and(cosine < target, alive[other])
            turn = jnp.where(jnp.logical_and(met, short), turn, 0.0)
            moved = jnp.where(met, (1.0 - beta) * target + beta * cosine, target)
            return (c.at[other].add(turn), row.at[other].set(moved)), None

        start = jnp.zeros_like(row).at[task].set(1.0)
        return jax.lax.scan(meet, (start, row), order)[0]

    return jax.vmap(one)(jnp.arange(cosines.shape[0]), orders, targets)
