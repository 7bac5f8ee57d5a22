"""Gradients balanced by norms at one place: VQGAN's weight, EnCodec's balancer."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Mask, Number
from auxjax.jacobian import Jacobian, as_real, layout_of
from auxjax.weighting._alias import summed
from auxjax.weighting._averages import average
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import (
    Vector,
    check_decay,
    check_not_negative,
    check_num_tasks,
    check_positive,
    weight_dtype,
    wish_vector,
)


class BalanceAtState(NamedTuple):
    """State of `scale_by_balance_at`."""

    weights: jax.Array  # [T] float, those of the last update
    norms: jax.Array  # [T] float, of the last update, unweighted
    averages: jax.Array  # [T] float, of the norms before debiasing
    steps: jax.Array  # [T] int32, how many norms each average holds
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_balance_at(
    where: Mask,
    num_tasks: int = 2,
    *,
    weights: Vector = None,
    reference: str | Number = "main",
    decay: Number = 0.0,
    eps: Number | None = None,
    max_ratio: Number = 1e4,
    per_example: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales rows so that their gradients at one place have the norms asked for.

    With nᵢ = ‖∇Lᵢ‖ on the leaves in `where`, or a moving average of it,

        `reference="main"`:  wᵢ = λᵢ min(n₀ / (nᵢ + ε), `max_ratio`),   w₀ = λ₀
        `reference=R`:       wᵢ = R λᵢ / Σⱼλⱼ / (nᵢ + ε)

    The first is the adaptive weight of VQGAN, where `where` is the decoder's last
    layer: the adversarial loss pulls there as hard as the reconstruction. The second
    is EnCodec's balancer: λ becomes the share of each loss in the gradient at the
    model's output, whatever the losses' units. The row as a whole is scaled, heads too.
    A task without a gradient at `where` (EnCodec's commitment loss) has the weight λ.

    **At an output.** EnCodec takes norms of ∂L/∂x̂, and x̂ is no parameter. Let one
    leaf of the parameters be a *probe*, zeros of its shape, and add what is always 0:

        x̂ = decoder(params, z) + params["probe"] - stop_gradient(params["probe"])

    The gradient of the probe is ∂L/∂x̂; wherever it moves, the output stays. Use
    `where={…: False, "probe": True}`, `reference=1.0, decay=0.999, per_example=True`.

    A task that is absent (`task_mask=`) or not finite keeps its average and its
    weight; while the main task is, the others are held against its last norm. Σλ is
    over all tasks: who is absent hands its share to nobody.

    Args:
      where: where norms are taken: a mask of the parameters, as small as may be.
      num_tasks: T, main task included.
      weights: λ `[T]`, none below 0; None: 1 each.
      reference: `"main"`, or R, above 0.
      decay: of a moving average of the norms, debiased; 0: those of now.
      eps: ε; None: 1e-6 with `"main"`, 1e-12 with R, the papers' numbers.
      max_ratio: the largest n₀ / nᵢ that is believed; used with `"main"`.
      per_example: the norm of each entry of a first axis of `where` (that of a batch),
        and their mean, in the place of the norm of all.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` and `norms` are `[T]`.
      Price: T backward passes that go no deeper than `where`: with the last layer, a
      small share of one whole pass each.

    Raises:
      ValueError: for num_tasks < 2, λ that are not T numbers ≥ 0 with one above it,
        another word for `reference` or R ≤ 0, a decay outside [0, 1), ε < 0 or
        max_ratio ≤ 0; from the update, where `where` picks no leaf.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.scale_by_balance_at({"last": True, "deep": False})
      >>> grads = {"last": jnp.array([[3.0], [0.5]]), "deep": jnp.array([[1.0], [1.0]])}
      >>> params = {"last": jnp.zeros(1), "deep": jnp.zeros(1)}
      >>> rows, state = tx.update(grads, tx.init(params), params)
      >>> [round(float(w), 3) for w in state.weights]  # 3 / 0.5
      [1.0, 6.0]
      >>> [round(float(x), 3) for x in rows["deep"][:, 0]]
      [1.0, 6.0]

    References:
      Esser, Rombach, Ommer, *Taming Transformers for High-Resolution Image Synthesis*,
      CVPR 2021, arXiv 2012.09841, Eq. 7. Défossez, Copet, Synnaeve, Adi, *High Fidelity
      Neural Audio Compression*, 2022, arXiv 2210.13438, Eq. 5.

    Paper and code:
      | | paper | released code | here |
      |---|---|---|---|
      | VQGAN, ε | 1e-6 | 1e-4 | `eps=None`: 1e-6 |
      | VQGAN, bounds | none | ratio in [0, 1e4], then times λ | `max_ratio=1e4` |
      | EnCodec, norm | of all of x̂ | mean over the batch's items | `per_example=` |
      | EnCodec, average | decay 0.999 | the same, debiased; ε = 1e-12 | `decay=0.999` |
    """
    check_num_tasks(num_tasks)
    relative = _check(reference, decay, eps, max_ratio)
    wish = wish_vector("weights", weights, 1.0, num_tasks)
    least = (1e-6 if relative else 1e-12) if eps is None else eps

    def init_fn(params):
        dtype = weight_dtype(params)
        zeros = jnp.zeros(num_tasks, dtype)
        return BalanceAtState(
            weights=jnp.asarray(wish, dtype),
            norms=zeros,
            averages=zeros,
            steps=jnp.zeros(num_tasks, jnp.int32),
        )

    def rule(jac, state, *, counted):
        dtype = state.weights.dtype
        norms = _norms(jac, where, per_example).astype(dtype)
        finite = jnp.isfinite(norms)
        among = jnp.logical_and(counted, finite)
        after = average(state.averages, state.steps, norms, among, decay)

        lam, floor = jnp.asarray(wish, dtype), jnp.asarray(least, dtype)
        n, reaches = after.mean, after.mean > 0
        apart = jnp.where(reaches, n + floor, 1)
        if relative:
            ratio = jnp.minimum(n[0] / apart, jnp.asarray(max_ratio, dtype))
            w = jnp.where(after.steps[0] > 0, lam * ratio, lam)  # VQGAN's Eq. 7
        else:
            w = jnp.asarray(reference, dtype) * lam / jnp.sum(lam) / apart  # Eq. 5
        w = jnp.where(reaches, w, lam)
        w = w.at[0].set(lam[0]) if relative else w
        w = jnp.where(among, w, state.weights)
        new_state = BalanceAtState(
            weights=w,
            norms=jnp.where(among, norms, state.norms),
            averages=after.total,
            steps=after.steps,
            nonfinite=jnp.logical_and(counted, ~finite),
        )
        return w, new_state

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_balance_at)
def balance_at():
    """The balanced sum: `chain(scale_by_balance_at(...), sum_tasks())`."""


def _norms(jac: Jacobian, where: Mask, per_example: bool) -> jax.Array:
    """‖∇Lᵢ‖ at `where` `[T]`, or the mean of that of each example."""
    if not any(layout_of(jac).mask(where)):
        raise ValueError("`where` should pick a leaf of the parameters. Found none.")
    if not per_example:
        return jac.norms(where)  # the passes end there: the rest is never computed
    squares: Any = 0
    for leaf in (as_real(x) for x in jac.leaf_rows(where) if x is not None):
        if leaf.ndim < 2:
            raise ValueError(
                "`per_example` should be False where a leaf has no axis of examples. "
                f"Found one of shape {leaf.shape[1:]} in `where`."
            )
        wide = leaf.astype(weight_dtype(leaf))
        squares = squares + jnp.sum(wide * wide, axis=tuple(range(2, wide.ndim)))
    return jnp.mean(jnp.sqrt(squares), axis=1)


def _check(reference: Any, decay: Any, eps: Any, max_ratio: Any) -> bool:
    """Whether it is the main task's norm that the others are held against."""
    check_decay(decay=decay)
    check_positive(max_ratio=max_ratio)
    if eps is not None:
        check_not_negative(eps=eps)
    if isinstance(reference, str):
        if reference != "main":
            raise ValueError(
                f'`reference` should be "main" or a number above 0. Found '
                f"{reference!r}."
            )
        return True
    check_positive(reference=reference)
    return False
