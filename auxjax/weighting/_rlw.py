"""Random loss weighting: new weights out of a hat in every step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Array, Key
from auxjax.weighting._alias import summed
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import check_num_tasks, weight_dtype
from auxjax.weighting._tasks import softmax


class RLWState(NamedTuple):
    """State of `scale_by_rlw`."""

    count: jax.Array  # [] int32, updates made
    weights: jax.Array  # [T] float, those of the last update
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_rlw(
    num_tasks: int = 2,
    *,
    distribution: str = "normal",
    key: Key[Array, ""] | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales row i by a random weight, drawn anew in every step.

        w = softmax(z),  z ~ N(0, I)        `"normal"`
        w ~ Dirichlet(1, …, 1)              `"dirichlet"`, uniform on the simplex

    A litmus test: a rule that does not beat it has learned nothing. The weights sum to
    1, as in the paper, not to T: the step is in expectation 1/T of equal weighting's.
    `optax.scale(T)` behind it makes up for that where the optimizer does not.

    Args:
      num_tasks: T, main task included.
      distribution: `"normal"` or `"dirichlet"`.
      key: of the draws; None: `jax.random.key(0)`.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` `[T]` are those that
      the last step was made with. Price: none of its own. With a task mask the draw is
      among those present.

    Raises:
      ValueError: for num_tasks < 2 or another `distribution`.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.rlw(2)
      >>> grads = jnp.array([[3.0], [3.0]])  # stacked, T = 2
      >>> gradient, state = tx.update(grads, tx.init(jnp.zeros(1)))
      >>> round(float(gradient[0]), 5)  # whatever the draw
      3.0

    References:
      Lin et al., *Reasonable Effectiveness of Random Weighting: A Litmus Test for
      Multi-Task Learning*, TMLR 2022, arXiv 2111.10603, section 3 (RLW).

    Paper and code:
      The authors' library takes a softmax of the Dirichlet's draw as well, which is on
      the simplex already; here it is used as it is.
    """
    check_num_tasks(num_tasks)
    if distribution not in ("normal", "dirichlet"):
        raise ValueError(
            f'`distribution` should be "normal" or "dirichlet". Found {distribution!r}.'
        )

    def init_fn(params):
        return RLWState(
            count=jnp.zeros((), jnp.int32),
            weights=jnp.ones(num_tasks, weight_dtype(params)),
        )

    def rule(jac, state, *, present):
        start = jax.random.key(0) if key is None else key
        now = jax.random.fold_in(start, state.count)
        shape, dtype = (num_tasks,), state.weights.dtype
        if distribution == "normal":
            logits = jax.random.normal(now, shape, dtype)
        else:  # Dirichlet(1, …, 1): exponential variates over their sum
            logits = jnp.log(jax.random.exponential(now, shape, dtype))
        weights = softmax(logits, present)
        return weights, RLWState(state.count + 1, weights)

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_rlw)
def rlw():
    """Random loss weighting: `chain(scale_by_rlw(...), sum_tasks())`."""
