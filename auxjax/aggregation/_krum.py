"""Krum: the gradients that have the closest neighbours."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import optax

from auxjax._types import Array, Bool, Float, Mask
from auxjax.aggregation._build import Groups, from_weights
from auxjax.aggregation._checks import check_integer
from auxjax.aggregation._spectrum import everybody, only


def krum(
    *,
    num_byzantine: int = 0,
    num_selected: int = 1,
    squared: bool = True,
    where: Mask | None = None,
    groups: Groups = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Follows the mean of the few gradients that lie closest to their neighbours.

        s(i) = Σ_{j ∈ N(i)} ‖∇Lᵢ − ∇Lⱼ‖²,    N(i): the T − f − 2 rows nearest to row i
        d = the mean of the m rows with the smallest s   (m = 1: Krum, else Multi-Krum)

    It is made for workers that send gradients of one loss, f of whom may send anything:
    among tasks it follows the majority and drops who stands apart. Equal scores go to
    the row that comes first.

    Args:
      num_byzantine: f, how many rows may be anything. The paper's promise holds for
        T > 2f + 2.
      num_selected: m, how many rows are averaged.
      squared: sum squared distances, as the paper; False: distances.
      where: the shared parameters; None: found by themselves. The others keep the
        plain sum of the rows.
      groups: which of them are aggregated together, each group with a Gramian of its
        own: None: all; `"leaf"`: each leaf alone; a pytree of labels that is a prefix
        of the parameters, or a function that makes one.

    Returns:
      An aggregator, Jacobian → gradient. Price: T backward passes. It takes
      `task_mask=` `[T]`: absent tasks are neither neighbours nor selected.

    Raises:
      ValueError: for `num_byzantine` below 0 or `num_selected` below 1; from the
        update, for f > 0 with fewer than f + 3 tasks, or more selected than there are.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.krum(num_byzantine=1)
      >>> params = jnp.zeros(2)
      >>> rows = jnp.array([[1.0, 1.0], [2.0, 1.0], [2.5, 1.0], [-9.0, 40.0]])
      >>> tx.update(rows, tx.init(params), params)[0].tolist()  # ½ from the third
      [2.0, 1.0]

    References:
      Blanchard, El Mhamdi, Guerraoui, Stainer, *Machine Learning with Adversaries:
      Byzantine Tolerant Gradient Descent*, NeurIPS 2017, the definition of Krum.

    Paper and code:

      | | |
      |---|---|
      | here | the paper's squared distances; with fewer than f + 3 rows present, |
      | | each is compared with the one nearest to it |
      | TorchJD | distances, not squared: `squared=False` here |
    """
    options = {
        "num_byzantine": check_integer("num_byzantine", num_byzantine, 0),
        "num_selected": check_integer("num_selected", num_selected),
        "squared": squared,
    }
    weights = functools.partial(krum_weights, **options)
    return from_weights(weights, where=where, groups=groups)


def krum_weights(
    gramian: Float[Array, "T T"],
    present: Bool[Array, " T"] | None = None,
    *,
    num_byzantine: int = 0,
    num_selected: int = 1,
    squared: bool = True,
) -> Float[Array, " T"]:
    r"""The weights of `krum`: 1/m for the m rows with the smallest score, 0 elsewhere.

    Args:
      gramian: G = JJᵀ; ‖∇Lᵢ − ∇Lⱼ‖² = Gᵢᵢ + Gⱼⱼ − 2Gᵢⱼ.
      present: the task mask; absent tasks get 0. None: all tasks are present.
      num_byzantine: f.
      num_selected: m; all that are present, where there are fewer.
      squared: sum squared distances.

    Returns:
      w ≥ 0 with Σw = 1.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> rows = jnp.array([[0.0], [1.0], [9.0], [1.5]])
      >>> auxjax.krum_weights(rows @ rows.T, num_selected=2).tolist()
      [0.0, 0.5, 0.0, 0.5]

    References:
      Blanchard et al., NeurIPS 2017.
    """
    num_tasks = gramian.shape[0]
    if num_byzantine and num_tasks < num_byzantine + 3:
        raise ValueError(
            f"`num_byzantine` should be at most {max(num_tasks - 3, 0)}, the number of "
            f"tasks minus 3. Found {num_byzantine}."
        )
    if num_selected > num_tasks:
        raise ValueError(
            f"`num_selected` should be at most {num_tasks}, the number of tasks. "
            f"Found {num_selected}."
        )
    here = everybody(present, gramian)
    count = jnp.sum(here.astype(jnp.int32))
    gramian = only(here, gramian)
    lengths = jnp.diagonal(gramian)
    apart = lengths[:, None] + lengths[None, :] - (gramian + gramian.T)
    apart = jnp.maximum(apart, 0.0)  # rounding; and exactly symmetric, for ties
    apart = apart if squared else jnp.sqrt(apart)

    index = jnp.arange(num_tasks)
    counts = jnp.logical_and(here[None, :], index[:, None] != index[None, :])
    nearest = jnp.sort(jnp.where(counts, apart, jnp.inf), axis=1)
    neighbours = jnp.maximum(count - num_byzantine - 2, 1)
    neighbours = jnp.minimum(neighbours, count - 1)
    scores = jnp.sum(jnp.where(index[None, :] < neighbours, nearest, 0.0), axis=1)

    order = jnp.lexsort((scores, ~here))  # stable: the smallest index among equals
    rank = jnp.zeros_like(index).at[order].set(index)
    selected = jnp.logical_and(here, rank < num_selected).astype(gramian.dtype)
    return selected / jnp.maximum(jnp.sum(selected), 1.0)
