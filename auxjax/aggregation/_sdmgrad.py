"""SDMGrad: the least conflicting direction in the neighbourhood of the mean."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Array, Bool, Float, Mask, Number
from auxjax.aggregation._build import Groups, from_gramian
from auxjax.aggregation._checks import check_integer, check_number
from auxjax.aggregation._ending import ending_in_weights
from auxjax.aggregation._keys import keys_of_groups
from auxjax.aggregation._solvers import min_norm_point
from auxjax.aggregation._spectrum import divide, dot, everybody, only, share
from auxjax.jacobian import as_jacobian, check_task_mask


class SDMGradState(NamedTuple):
    """State of `sdmgrad`, one per group."""

    weights: jax.Array  # [T] float, w on the simplex, where the next update starts
    key: jax.Array  # [] typed key, split at every update


def sdmgrad_weights(
    gramian: Float[Array, "T T"],
    weights: Float[Array, " T"],
    *,
    lam: Number = 0.3,
    learning_rate: Number | None = None,
    momentum: Number = 0.5,
    num_steps: int = 20,
    symmetric: bool = True,
    present: Bool[Array, " T"] | None = None,
) -> tuple[Float[Array, " T"], Float[Array, " T"]]:
    r"""The weights of the rows, and the w on the simplex that they are made of.

        min over the simplex of ‖Σᵢ wᵢ∇Lᵢ + λ ∇L̄‖²
        w ← Π(w − β A (w + λ/T)),  `num_steps` times                  (Algorithm 1)

    with A an estimate of J Jᵀ, divided by the square of the mean gradient norm, and Π
    the projection onto the simplex; the weights of the rows are (w + λ/T) / (1 + λ).

    With A = J Jᵀ no descent is needed: Σᵢ wᵢ∇Lᵢ + λ ∇L̄ is a convex combination of the
    gradients ∇Lᵢ + λ ∇L̄, and w makes it the shortest (`mgda_weights`), exactly.

    Args:
      gramian: A. Two independent batches, J₁ J₂ᵀ, make it unbiased; it is then neither
        symmetric nor positive.
      weights: w, where the descent starts.
      lam: λ, how much the mean gradient counts: 0 is MGDA, ∞ the mean.
      learning_rate: β. None: no descent where A is symmetric, the minimum itself; else
        1 / ‖A‖, by √(‖A‖₁ ‖A‖∞), the largest step that is safe.
      momentum: of the descent, heavy ball, at rest when it starts.
      num_steps: S.
      symmetric: whether A is J Jᵀ of one batch.
      present: the task mask; None: all.

    Returns:
      The weights of the rows `[T]`, which sum to 1, and w `[T]`; absent tasks' w stays.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> gramian = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> auxjax.sdmgrad_weights(gramian, jnp.array([0.5, 0.5]))[0].tolist()
      [0.5, 0.5]

    References:
      Xiao, Ban, Ji, *Direction-oriented Multi-objective Learning: Simple and Provable
      Stochastic Algorithms*, NeurIPS 2023, arXiv 2305.18409, Algorithm 1.
    """
    here = everybody(present, gramian)
    matrix = only(here, gramian)
    mean = share(here, gramian)
    size = dot(mean, jnp.sqrt(jnp.maximum(jnp.diagonal(matrix), 0.0)))
    size = jnp.where(size > 0, size**2, jnp.max(jnp.abs(matrix)))
    matrix = divide(matrix, size)

    old = weights.astype(gramian.dtype)
    lam, momentum = (jnp.asarray(x, gramian.dtype) for x in (lam, momentum))
    if learning_rate is None and symmetric:
        w = _minimum(matrix, mean, here, lam)
    else:
        rate = _safe_rate(matrix) if learning_rate is None else learning_rate
        rate = jnp.asarray(rate, gramian.dtype)
        w = _descend(matrix, old, mean, here, lam, rate, momentum, num_steps)
    rows = (w + lam * mean) / (1.0 + lam)
    return rows, jnp.where(here, w, old).astype(weights.dtype)


def sdmgrad(
    num_tasks: int = 2,
    *,
    lam: Number = 0.3,
    learning_rate: Number | None = None,
    momentum: Number = 0.5,
    num_steps: int = 20,
    objectives: int | None = None,
    key: Array | None = None,
    where: Mask | None = None,
    groups: Groups = None,
) -> optax.GradientTransformationExtraArgs:
    r"""The least conflicting direction that keeps to the mean gradient, made unbiased.

        min over the simplex of ‖Σᵢ wᵢ∇Lᵢ + λ ∇L̄‖²,   g = (Σᵢ wᵢ∇Lᵢ + λ ∇L̄) / (1 + λ)

    See `sdmgrad_weights` for how w is found: exactly, from the Gramian of one batch.
    That is a biased estimate, so the paper draws independent ones, and w descends by a
    few steps per update. The update takes their Jacobians as extra arguments:

    | given | w follows | g is made of |
    |---|---|---|
    | nothing | J Jᵀ of `updates` | `updates` |
    | `second_jacobian=` | J J₂ᵀ | `updates` |
    | `second_jacobian=`, `third_jacobian=` | J₂ J₃ᵀ (Algorithm 1) | `updates` |

    Args:
      num_tasks: T, main task included.
      lam: λ, how much the mean gradient counts: 0 is MGDA, ∞ the mean.
      learning_rate: of w, whose problem is scaled to a mean gradient norm of 1. None:
        with one batch no descent but the minimum itself; else the largest step that
        is safe. A small one averages the noise of the batches over the updates.
      momentum: of w's descent.
      num_steps: steps of w per update.
      objectives: n, sample so many tasks at every update (SDMGrad-OS): the others' rows
        are zero, the gradient is multiplied by T/n. All rows are computed
        nevertheless; to save them, see `task_mask=`. None: all tasks.
      key: a typed key for that sampling; None: `jax.random.key(0)`.
      where: the shared parameters; None: those that at least two losses depend on.
        Elsewhere the rows of `updates` are summed.
      groups: which parameters are aggregated together, each group with its own w;
        None: all; `"leaf"`: each leaf alone; a pytree of labels or a function.

    Returns:
      An aggregator, Jacobian → gradient, whose state holds w and a key for every group:
      T backward passes for each Jacobian.

    Raises:
      ValueError: for arguments out of range; from the update, for another number of
        tasks, or a third Jacobian without a second.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.sdmgrad(lam=1.0)
      >>> grads = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> g, state = tx.update(grads, tx.init(jnp.zeros(2)))
      >>> g.tolist(), state[0].weights.tolist()
      ([0.5, 0.5], [0.5, 0.5])

    References:
      Xiao, Ban, Ji, *Direction-oriented Multi-objective Learning: Simple and Provable
      Stochastic Algorithms*, NeurIPS 2023, arXiv 2305.18409, Algorithms 1 and 2.

    Paper and code:
      | | Algorithm 1 | authors' code | here |
      |---|---|---|---|
      | g | G w + λ g₀ | divided by 1 + λ | as the code: λ moves no learning rate |
      | w, one batch | | descent | the minimum; `learning_rate=` descends |
      | w, more batches | descent | descent | descent |
      | β, momentum, S | β small, 0, S | 10, 0.5, 20 | 1 / ‖A‖, 0.5, 20 |
      | A | as it is | divided by the squared mean norm | as the code |
      | SDMGrad-OS | n tasks | each task with probability n/T | n tasks |
    """
    num_tasks = check_integer("num_tasks", num_tasks)
    num_steps = check_integer("num_steps", num_steps)
    _check(num_tasks, lam, learning_rate, momentum, objectives)
    key_of = keys_of_groups(key)
    unbiased = 1.0 if objectives is None else num_tasks / objectives

    def init_group(number):
        return SDMGradState(jnp.full(num_tasks, 1.0 / num_tasks), key_of(number))

    def weigh(gramian, present, state, losses):
        del losses
        blocks = len(gramian) // num_tasks  # the batches' rows, one below another
        grads = gramian.reshape(blocks, num_tasks, blocks, num_tasks)
        cross = grads[max(blocks - 2, 0), :, blocks - 1]  # of the last two batches
        next_key, now = jax.random.split(state.key)
        sampled = None
        if objectives is not None:
            sampled = jax.random.permutation(now, num_tasks) < objectives
            cross = only(sampled, cross)
        rows, w = sdmgrad_weights(
            cross,
            state.weights,
            lam=lam,
            learning_rate=learning_rate,
            momentum=momentum,
            num_steps=num_steps,
            symmetric=blocks == 1 and sampled is None,
            present=present,
        )
        if sampled is not None:
            rows = jnp.where(sampled, rows * unbiased, 0.0)
        return rows, SDMGradState(w, next_key)

    @ending_in_weights
    def update_fn(
        updates,
        state,
        params=None,
        *,
        second_jacobian=None,
        third_jacobian=None,
        task_mask=None,
        weights_since=None,
        **extra_args,
    ):
        del extra_args
        _check_order(second_jacobian, third_jacobian)
        given = [x for x in (second_jacobian, third_jacobian) if x is not None]
        first: Any  # Optax's type for updates has no Jacobians
        first, *others = [
            as_jacobian(x, params, num_tasks=num_tasks) for x in (updates, *given)
        ]
        present = check_task_mask(task_mask, num_tasks)
        if present is not None:
            others = [jac.mask(present) for jac in others]
        return aggregator.update(
            first,
            state,
            params,
            task_mask=present,
            other_batches=others,
            weights_since=weights_since,
        )

    aggregator = from_gramian(weigh, init_group=init_group, where=where, groups=groups)
    return optax.GradientTransformationExtraArgs(aggregator.init, update_fn)


def _check_order(second_jacobian: Any, third_jacobian: Any) -> None:
    if third_jacobian is not None and second_jacobian is None:
        raise ValueError(
            "`second_jacobian` should be given with `third_jacobian`. Found None."
        )


def _minimum(matrix, mean, here, lam):
    """Of ‖Σᵢ wᵢ∇Lᵢ + λ ∇L̄‖² on the simplex: the shortest vector in a convex hull."""
    across = dot(matrix, mean)
    cross = lam * (across[:, None] + across[None, :])
    return min_norm_point(matrix + cross + lam**2 * dot(mean, across), here)


def _safe_rate(matrix):
    """1 / √(‖A‖₁ ‖A‖∞), which is at most 1 / ‖A‖₂."""
    size = jnp.abs(matrix)
    largest = jnp.max(jnp.sum(size, axis=0)) * jnp.max(jnp.sum(size, axis=1))
    return divide(jnp.ones_like(largest), jnp.sqrt(largest))


@functools.partial(jax.jit, static_argnames="num_steps")  # compiled but once
def _descend(matrix, w, mean, here, lam, learning_rate, momentum, num_steps):
    """The projected descent of w, from the point of the simplex nearest to it."""

    def step(carry, _):
        w, velocity = carry
        velocity = momentum * velocity + dot(matrix, w + lam * mean)
        return (onto_simplex(w - learning_rate * velocity, here), velocity), None

    start = (onto_simplex(w, here), jnp.zeros_like(w))
    return jax.lax.scan(step, start, length=num_steps)[0][0]


def onto_simplex(x: jax.Array, present: jax.Array) -> jax.Array:
    """The nearest point of the present tasks' simplex; absent tasks get 0."""
    largest = jnp.max(jnp.where(present, x, -jnp.inf))
    largest = jnp.where(jnp.isfinite(largest), largest, 0.0)
    x = jnp.where(present, x - largest, -2.0)  # what lies 1 below the largest is cut
    ordered = jnp.sort(x, descending=True)
    count = jnp.arange(1, x.shape[0] + 1).astype(x.dtype)
    excess = (jnp.cumsum(ordered) - 1.0) / count
    last = jnp.sum(ordered > excess) - 1  # how many stay above 0
    return jnp.maximum(x - excess[last], 0.0)


def _check(num_tasks, lam, learning_rate, momentum, objectives) -> None:
    check_number("lam", lam, "at least 0", lambda x: x >= 0)
    if learning_rate is not None:
        check_number("learning_rate", learning_rate, "above 0", lambda x: x > 0)
    check_number("momentum", momentum, "in [0, 1)", lambda x: (x >= 0) & (x < 1))
    if objectives is not None and not 1 <= objectives <= num_tasks:
        raise ValueError(
            f"`objectives` should be in 1..{num_tasks}. Found {objectives}."
        )
