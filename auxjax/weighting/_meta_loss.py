"""The main task's loss on other data, which learned weights are judged by."""

from __future__ import annotations

from typing import Any

from auxjax._types import Gradient, Number, Params
from auxjax.jacobian import Jacobian, TaskJacobian, evaluate, task_jacobian
from auxjax.weighting._checks import check_at_least, check_not_negative, check_positive


def main_gradient(
    rule: str, meta_losses: Any, params: Params | None, jac: Jacobian
) -> Gradient:
    """∇ of the main task's meta loss at `params`: one forward and one backward pass.

    Args:
      rule: who asks, for the errors.
      meta_losses: a function of the parameters that returns the losses of all T tasks,
        in the order of `jac` or under its names; those of the others are dead code to
        the compiler.
      params: where.
      jac: the Jacobian of the training losses, whose tasks these have to be.

    Raises:
      ValueError: where something is missing or there are other than T losses.
    """
    need_meta(rule, params, meta_losses)

    def main_loss(params):
        names, values = evaluate(meta_losses, params, names=jac.names)
        if len(names) != jac.num_tasks:
            raise ValueError(
                f"`meta_losses` should return {jac.num_tasks} losses, one per task "
                f"({', '.join(jac.names)}). Found {len(names)}."
            )
        return (values[0],)

    return task_jacobian(main_loss, params).row(0)


def need_meta(rule: str, params: Params | None, meta_losses: Any) -> None:
    """An error where the update was not given what a meta gradient needs."""
    if params is None:
        raise ValueError(
            f"`{rule}` needs the parameters. Found None: write "
            "`tx.update(jac, state, params, ...)`."
        )
    if not callable(meta_losses):
        raise ValueError(
            f"`{rule}` needs the losses on a second batch. Pass "
            "`meta_losses=lambda p: losses(p, other_batch)` to `update`. "
            f"Found {type(meta_losses).__name__}."
        )


def need_losses_elsewhere(rule: str, jac: Jacobian) -> TaskJacobian:
    """The Jacobian, or an error where it does not know the losses elsewhere."""
    if not isinstance(jac, TaskJacobian):
        raise ValueError(
            f"`{rule}` needs second derivatives of the losses. Found stacked "
            "gradients, which do not tell them: pass a TaskJacobian."
        )
    return jac


def check_implicit(
    every: int, solver: str, num_terms: int, step_size: Number, damping: Number
) -> dict[str, Any]:
    """What `implicit_meta_gradient` is given, checked before the first step."""
    check_at_least("every", every, 1)
    check_at_least("num_terms", num_terms, 1)
    if solver not in ("neumann", "cg"):
        raise ValueError(f'`solver` should be "neumann" or "cg". Found {solver!r}.')
    check_positive(step_size=step_size)
    check_not_negative(damping=damping)
    return {
        "solver": solver,
        "num_terms": num_terms,
        "step_size": step_size,
        "damping": damping,
    }
