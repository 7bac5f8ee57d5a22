"""Who helps is found out first; then training starts afresh with those who do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax._optax import with_mixed_dtypes
from auxjax._types import Array, Bool, Float, Number
from auxjax.aggregation import sum_tasks
from auxjax.jacobian import TaskJacobian, as_jacobian, check_task_mask
from auxjax.meta import of_variables
from auxjax.weighting._checks import (
    check_at_least,
    check_num_tasks,
    check_optimizer,
    weight_dtype,
)
from auxjax.weighting._log_loss import scale_by_log_loss
from auxjax.weighting._olaux import scale_by_olaux
from auxjax.weighting._scale_to_sum import scale_to_sum


class SelectThenTrainState(NamedTuple):
    """State of `select_then_train`."""

    count: jax.Array  # [] int32, updates made
    weights: jax.Array  # [T] float: OL-AUX's while it searches, then those trained with
    selected: jax.Array  # [T] bool, who helps; all of them while it searches
    first_params: Any  # the parameters that training starts from
    search: Any  # the state of the search: log losses, OL-AUX, its optimizer
    train: Any  # the state of the rows' sum and of the optimizer


def selected_helpers(weights: Float[Array, " T"]) -> Bool[Array, " T"]:
    r"""Who is nearer to the best helper than to who has not moved, on a log scale.

        i helps  ⇔  wᵢ > √(maxⱼ wⱼ · 1),   j over the helpers

    1 is the weight that all began with. Nobody helps where no weight has grown.

    Args:
      weights: `[T]`, those of OL-AUX on log losses; the main task's is not looked at.

    Returns:
      `[T]`, the main task always.

    Example:
      >>> import jax.numpy as jnp
      >>> selected_helpers(jnp.array([1.0, 900.0, 31.0, 29.0, -5.0])).tolist()
      [True, True, True, False, False]
    """
    finite = jnp.where(jnp.isfinite(weights), weights, jnp.ones_like(weights))
    best = jnp.maximum(jnp.max(finite[1:]), 1.0)
    return (weights > jnp.sqrt(best)).at[0].set(True)


def select_then_train(
    optimizer: optax.GradientTransformation,
    *,
    search_steps: int = 600,
    num_tasks: int = 2,
    num_labels: Sequence[Number] | None = None,
    n: int = 5,
    learning_rate: Number = 0.03,
    search_optimizer: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Finds out who helps the main task, then trains afresh on those who do.

    For the first `search_steps` steps it is OL-AUX on log losses, which tells helpers
    that help from others by orders of magnitude, but in the end drowns a main task that
    has many labels, and whose steps grow without end. So it is only asked: who? Then
    the parameters go back to where they were, and training starts with fixed weights:

        wᵢ = nᵢ / n₀   where i was selected (`selected_helpers`), else 0;   w₀ = 1

    n₀, nᵢ: how many labels each task has. With losses that are means over a batch this
    is the log-likelihood of all labels of the main task and of the selected helpers,
    each label counted once: how hard the helpers pull is data, not a knob. The trunk
    gets these rows at a total weight of T, heads their own gradient (`scale_to_sum`),
    so that the step is as long under SGD as without helpers. (Stacked gradients do not
    tell what a head is: there all leaves get the rows.)

    Args:
      optimizer: what trains, any Optax optimizer, gradient → update. It sees none of
        the search: its schedules and moments begin when training does.
      search_steps: of the search. One step more goes back to the first parameters.
      num_tasks: T, main task included.
      num_labels: `[T]`, the labels of each task; None: as many of each.
      n: OL-AUX's horizon.
      learning_rate: OL-AUX's β, on log losses.
      search_optimizer: of the search; None: `optax.adam(1e-3)`, whatever trains. OL-AUX
        on log losses is told apart best where steps may grow: under SGD it diverges.

    Returns:
      A whole optimizer, Jacobian → update. Price: OL-AUX's while it searches, equal
      weighting's afterwards; a copy of the parameters more. Under `vmap` over seeds
      both are computed in every step.

    Raises:
      ValueError: for search_steps < 1, num_tasks < 2, a count of labels not above 0 or
        not one per task; from the update without `params`.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> def losses(p):  # the second has the main one's minimum, the third another
      ...     return (jnp.sum((p - 1) ** 2) + 0.1, jnp.sum((p - 1) ** 2) + 0.1,
      ...             jnp.sum((p + 1) ** 2) + 0.1)
      >>> tx = auxjax.select_then_train(
      ...     optax.sgd(0.01), search_steps=50, num_tasks=3, num_labels=(5, 20, 20),
      ...     search_optimizer=optax.sgd(0.01))
      >>> params = jnp.zeros(2)
      >>> state = tx.init(params)
      >>> for _ in range(51):
      ...     jac = auxjax.task_jacobian(losses, params)
      ...     updates, state = tx.update(jac, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> params.tolist(), state.weights.tolist()  # back at the start, and who helps
      ([0.0, 0.0], [1.0, 4.0, 0.0])

    References:
      Ours; OL-AUX is Lin et al., NeurIPS 2019, Algorithm 1. Evidence:
      `experiments/few_labels.py`.
    """
    check_num_tasks(num_tasks)
    check_at_least("search_steps", search_steps, 1)
    check_optimizer("optimizer", optimizer)
    ratios = _ratios(num_labels, num_tasks)
    learn = optax.adam(1e-3) if search_optimizer is None else search_optimizer
    check_optimizer("search_optimizer", learn)
    look = optax.chain(
        scale_by_log_loss(),
        scale_by_olaux(n=n, num_tasks=num_tasks, learning_rate=learning_rate),
        sum_tasks(),
        of_variables(with_mixed_dtypes(learn)),
    )
    train = of_variables(optimizer)
    of_rows = {
        own: optax.chain(scale_to_sum(own_heads=own), sum_tasks())
        for own in (False, True)
    }

    def init_fn(params):
        weights = jnp.ones(num_tasks, weight_dtype(params))
        return SelectThenTrainState(
            count=jnp.zeros((), jnp.int32),
            weights=weights,
            selected=jnp.ones(num_tasks, bool),
            first_params=jax.tree.map(jnp.array, params),
            search=look.init(params),
            train=(of_rows[True].init(params), train.init(params)),
        )

    def update_fn(
        updates, state, params=None, *, losses=None, task_mask=None, **extra_args
    ):
        jac: Any = as_jacobian(updates, params, num_tasks=num_tasks, losses=losses)
        if params is None:
            raise ValueError(
                "`select_then_train` needs the parameters. Found None: pass `params` "
                "to the update."
            )
        mask = check_task_mask(task_mask, num_tasks)
        given = {**extra_args, "losses": jac.losses, "task_mask": mask}

        def search():
            moves, after = look.update(jac.as_updates(), state.search, params, **given)
            weights = optax.tree.get(after, "weights").astype(state.weights.dtype)
            return _like(moves, params), state._replace(weights=weights, search=after)

        def go_back():
            chosen = selected_helpers(state.weights)
            weights = jnp.where(chosen, jnp.asarray(ratios, state.weights.dtype), 0)
            moves = jax.tree.map(lambda to, p: to - p, state.first_params, params)
            return _like(moves, params), state._replace(
                weights=weights, selected=chosen
            )

        def go_on():
            rows, moments = state.train
            sum_up = of_rows[isinstance(jac, TaskJacobian)]
            weighted = jac.scale(state.weights).as_updates()
            gradient, rows = sum_up.update(weighted, rows, params, task_mask=mask)
            moves, moments = train.update(gradient, moments, params, **extra_args)
            return _like(moves, params), state._replace(train=(rows, moments))

        phase = jnp.clip(state.count - search_steps + 1, 0, 2)
        moves, after = jax.lax.switch(phase, (search, go_back, go_on))
        return moves, after._replace(count=state.count + 1)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _ratios(num_labels: Sequence[Number] | None, num_tasks: int) -> np.ndarray:
    """Labels of each task relative to the main one's `[T]`."""
    if num_labels is None:
        return np.ones(num_tasks)
    counts = np.asarray(num_labels, np.float64)
    if counts.shape != (num_tasks,) or not np.all((counts > 0) & np.isfinite(counts)):
        raise ValueError(
            f"`num_labels` should be {num_tasks} numbers above 0, one per task. "
            f"Found {num_labels}."
        )
    return counts / counts[0]


def _like(moves: Any, params: Any) -> Any:
    """Updates in the parameters' dtypes, whoever made them."""

    def cast(move, p):
        wanted = jnp.result_type(p)
        return move.astype(wanted) if jnp.issubdtype(wanted, jnp.inexact) else move

    return jax.tree.map(cast, moves, params)
