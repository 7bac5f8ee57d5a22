"""Trimmed mean: element by element, without the largest and the smallest."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from auxjax._types import Array, Bool, Float, Mask, Number
from auxjax.aggregation._build import Groups, from_rows
from auxjax.aggregation._checks import check_integer, check_number
from auxjax.jacobian import wide

NEARLY = 1e-5
"""A share of the tasks this near below a whole number is that number."""


def trimmed_mean(
    *,
    fraction: Number = 0.25,
    count: int | None = None,
    where: Mask | None = None,
    groups: Groups = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Averages, element by element, without the largest and the smallest values.

        g = (1 / (T − 2k)) Σ of what is left of the T values without the k largest and
        the k smallest,    k = ⌊βT⌋

    With β near ½ it is the median of each element, with β = 0 the mean. One task alone,
    however long its gradient, moves no element beyond the others' values.

    Args:
      fraction: β in [0, ½), the share that is cut off at each end.
      count: k itself, in the place of β. With a task mask that leaves too few, all but
        one or two values are cut.
      where: the shared parameters; None: found by themselves. The others keep the
        plain sum of the rows.
      groups: makes no difference, since elements are independent.

    Returns:
      An aggregator, Jacobian → gradient. Price: T backward passes, T× the memory and a
      sort of the T values of every element. It takes `task_mask=` `[T]`: k is that of
      the tasks present.

    Raises:
      ValueError: for a `fraction` outside [0, ½) or a `count` below 0; from the update,
        where `count` leaves none of the tasks.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.trimmed_mean(count=1)
      >>> rows = jnp.array([[1.0, 5.0], [2.0, -90.0], [300.0, 6.0], [4.0, 7.0]])
      >>> tx.update(rows, tx.init(jnp.zeros(2)))[0].tolist()  # of 2, 4; of 5, 6
      [3.0, 5.5]

    References:
      Yin, Chen, Ramchandran, Bartlett, *Byzantine-Robust Distributed Learning: Towards
      Optimal Statistical Rates*, ICML 2018, arXiv 1803.01498, the coordinate-wise
      trimmed mean.

    Paper and code:
      TorchJD's `TrimmedMean(trim_number)` is `count=trim_number` here.
    """
    check_number("fraction", fraction, "in [0, ½)", lambda x: (x >= 0) & (x < 0.5))
    if count is not None:
        count = check_integer("count", count, 0)

    def reduce(leaves, present, state, losses):
        del losses
        options = {"fraction": fraction, "count": count}
        return [trimmed_mean_rows(rows, present, **options) for rows in leaves], state

    return from_rows(reduce, where=where, groups=groups)


def trimmed_mean_rows(
    rows: Float[Array, " T *param"],
    present: Bool[Array, " T"] | None = None,
    *,
    fraction: Number = 0.25,
    count: int | None = None,
) -> Float[Array, " *param"]:
    r"""One gradient from the rows of one parameter: the trimmed mean of each element.

    Args:
      rows: `[T, *param]`.
      present: the task mask; None: all tasks are present.
      fraction: β.
      count: k, in the place of ⌊βT⌋; None: that.

    Returns:
      `[*param]`, in the rows' dtype; averaged in float32 or better. An infinite value
      is an extreme one as any other and may be cut off; an element where a task has NaN
      is NaN.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> auxjax.trimmed_mean_rows(jnp.array([[3.0], [jnp.inf], [1.0]]), count=1)
      Array([3.], dtype=float32)

    References:
      Yin et al., ICML 2018, arXiv 1803.01498.
    """
    num_tasks = rows.shape[0]
    if count is not None and num_tasks < 2 * count + 1:
        raise ValueError(
            f"`count` should be at most {(num_tasks - 1) // 2} with {num_tasks} tasks. "
            f"Found {count}."
        )
    dtype = wide(rows.dtype)
    here = jnp.ones(num_tasks, bool) if present is None else present
    left = jnp.sum(here.astype(jnp.int32))
    if count is None:
        share = jnp.asarray(fraction, dtype) * left.astype(dtype)
        cut = jnp.floor(share + NEARLY).astype(left.dtype)
    else:
        cut = jnp.asarray(count, left.dtype)
    cut = jnp.maximum(jnp.minimum(cut, (left - 1) // 2), 0)

    column = (-1,) + (1,) * (rows.ndim - 1)
    values = rows.astype(dtype)
    last = jnp.where(here.reshape(column), values, jnp.inf)  # absent ones come last
    index = jnp.arange(num_tasks).reshape(column)
    kept = jnp.logical_and(index >= cut, index < left - cut)
    total = jnp.sum(jnp.where(kept, jnp.sort(last, axis=0), 0.0), axis=0)
    mean = total / jnp.maximum(left - 2 * cut, 1).astype(dtype)
    spoilt = jnp.any(jnp.isnan(last), axis=0)  # it has no place in an order
    return jnp.where(spoilt, jnp.nan, mean).astype(rows.dtype)
