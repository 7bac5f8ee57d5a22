"""SLGrad: a weight for every sample of every task."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax._types import Array, Float, Number
from auxjax.jacobian import (
    apply_updates,
    task_jacobian,
)
from auxjax.weighting._alias import summed
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import (
    check_not_negative,
    check_num_tasks,
    is_surely_zero,
    weight_dtype,
)
from auxjax.weighting._meta_loss import main_gradient
from auxjax.weighting._samples import by_task, samples_of, weighted


class SLGradState(NamedTuple):
    """State of `scale_by_slgrad`."""

    weights: jax.Array  # [T] float, Σ over its samples of a task's weights; sum to 1
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def slgrad_weights(inner_products: Float[Array, ...]) -> Float[Array, ...]:
    r"""From inner products with the validation gradient to weights.

    w = max(0, ⟨∇ℓ, d⟩), over their sum over all samples of all tasks; all 0 where no
    sample helps. An inner product that is NaN or infinite counts as 0.

    Args:
      inner_products: of any shape.

    Returns:
      The same shape.
    """
    is_finite = jnp.isfinite(inner_products)
    helps = jnp.where(is_finite, jnp.maximum(inner_products, 0), 0)
    total = jnp.sum(helps)
    return helps / jnp.where(total > 0, total, jnp.ones_like(total))


def scale_by_slgrad(
    num_tasks: int = 2, *, lookahead: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    r"""Weighs every sample of every task by what it does for the main task.

        d = ∇M(θ′),   M: the main task's loss on other data
        w_ti = max(0, ⟨∇ℓ_ti(θ), d⟩) / Σ over all t, i
        row t becomes Σᵢ w_ti ∇ℓ_ti(θ)

    −⟨∇ℓ_ti, d⟩ is the derivative of M one step of SGD ahead in w_ti: a sample counts as
    far as a step along its gradient lowers the main task's validation loss, and one
    that would raise it is left out. **One tangent pass along d gives all T·B inner
    products**; the paper's code makes T·B backward passes.

    Where no sample helps the step is zero. A sample whose gradient is NaN spoils the
    sum even with a weight of 0: leave it out.

    Args:
      num_tasks: T, main task included.
      lookahead: η, the step from θ to θ′ = θ − η Σₜ ∇Lₜ(θ) / T, that of equal weights;
        0: θ′ = θ, which saves a backward pass.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` `[T]` are each task's
      share of the last step. The update needs `params` and two extra arguments:
      `sample_losses=`, a function of the parameters that returns the training batch's
      losses one by one, `[T, B]` or T arrays of any shapes, the tasks in their order;
      and `meta_losses=`, one that returns the T mean losses on other data, of which the
      main task's is taken. Price beside equal weighting: a forward and a backward pass
      of the main task on that data, a tangent pass. Where it stands in a chain the row
      scales of before are lost: put it first.

    Raises:
      ValueError: for num_tasks < 2 or a negative `lookahead`; from the update, where
        `params` or one of the functions is missing or returns other than T tasks.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> def samples(p, x):  # two tasks of two samples
      ...     return jnp.stack([(p - x) ** 2, (p + x) ** 2])
      >>> losses = lambda p, x: tuple(jnp.mean(samples(p, x), axis=1))
      >>> params, x = jnp.zeros(()), jnp.array([1.0, 3.0])
      >>> tx = auxjax.slgrad(2)
      >>> gradient, state = tx.update(
      ...     auxjax.task_jacobian(losses, params, x), tx.init(params), params,
      ...     sample_losses=lambda p: samples(p, x),
      ...     meta_losses=lambda p: losses(p, 0.5 * x))
      >>> float(gradient), state[0].weights.tolist()  # ¼ · −2 + ¾ · −6
      (-5.0, [1.0, 0.0])

    References:
      Grégoire, Chaudhary, Verboven, *Sample-Level Weighting for Multi-Task Learning
      with Auxiliary Tasks*, Applied Intelligence 2024, arXiv 2306.04519.

    Paper and code:
      The released code looks ahead with the last batch's weights on this batch, keeps
      that step, and takes both gradients there. Here θ′ serves d alone, as in the
      derivation.
    """
    check_num_tasks(num_tasks)
    check_not_negative(lookahead=lookahead)

    def init_fn(params):
        return SLGradState(jnp.ones(num_tasks, weight_dtype(params)))

    def rule(jac, state, *, params, task_mask, present, sample_losses, meta_losses):
        ahead = params
        if not is_surely_zero(lookahead) and params is not None:
            step = jac.vjp(-jnp.full(num_tasks, lookahead) / num_tasks)
            ahead = apply_updates(params, step)
        d = main_gradient("scale_by_slgrad", meta_losses, ahead, jac)

        parts, sizes = samples_of(sample_losses, params, jac)
        flat = task_jacobian(lambda p: jnp.concatenate(parts(p)), params)
        dots = flat.jvp(d)  # [T·B]
        owner = np.repeat(np.arange(num_tasks), sizes)
        w = slgrad_weights(jnp.where(present[owner], dots, jnp.zeros_like(dots)))
        shares = jnp.stack([jnp.sum(part) for part in by_task(w, sizes)])
        broken = [jnp.any(~jnp.isfinite(part)) for part in by_task(dots, sizes)]
        new_state = SLGradState(
            shares.astype(state.weights.dtype), nonfinite=jnp.stack(broken)
        )
        return weighted(parts, by_task(w, sizes), params, jac, task_mask), new_state

    return row_transform(init_fn, rule, num_tasks=num_tasks, makes_rows=True)


@summed(scale_by_slgrad)
def slgrad():
    """SLGrad as an update: `chain(scale_by_slgrad(...), sum_tasks())`."""
