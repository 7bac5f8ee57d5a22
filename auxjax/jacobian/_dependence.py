"""Which parameters are shared between the tasks."""

from __future__ import annotations

from typing import Any

from auxjax._types import LossFn, Params
from auxjax.jacobian._build import build


def shared_mask(
    losses: LossFn, params: Params, *args: Any, has_aux: bool = False
) -> Any:
    """The leaves that at least two losses depend on, found from the jaxpr.

    A loss *depends* on a leaf if its gradient there is not zero by construction: what
    passes through `jax.lax.stop_gradient` alone does not count. Fits every `where=`.

    Args:
      losses: as in `auxjax.task_jacobian`. Losses computed as one `[T]` array (by
        `vmap`, say, rather than `jnp.stack` of scalars) are one computation: every
        leaf they use counts as shared.
      params: a pytree of arrays.
      *args: handed to `losses`.
      has_aux: whether `losses` returns `(losses, aux)`.

    Returns:
      A pytree of Python bools like `params`; False at leaves that are not floating
      point.

    Example:
      >>> import auxjax
      >>> def losses(p):
      ...     hidden = p["trunk"] * 2.0
      ...     return {"main": hidden * p["policy"], "aux": hidden * p["decoder"]}
      >>> auxjax.shared_mask(losses, {"trunk": 1.0, "policy": 1.0, "decoder": 1.0})
      {'decoder': False, 'policy': False, 'trunk': True}
    """
    return build(losses, params, args, has_aux, any_order=True).shared_mask()
