"""auxjax: auxiliary-task weights that look after themselves, in JAX.

Stack your losses, the main task's first, and chain a rule into your optimizer:

>>> import jax.numpy as jnp
>>> import optax
>>> import auxjax
>>> def losses(params, batch):
...     return {"main": jnp.mean((batch - params) ** 2), "small": jnp.sum(params**2)}
>>> tx = optax.chain(auxjax.olaux(n=5), optax.sgd(0.1))
>>> params = jnp.zeros(3)
>>> opt_state = tx.init(params)
>>> jac = auxjax.task_jacobian(losses, params, jnp.ones(3))
>>> updates, opt_state = tx.update(jac, opt_state, params)
>>> params = optax.apply_updates(params, updates)
"""

from auxjax.aggregation import AccumulateState, accumulate_tasks, sum_tasks
from auxjax.jacobian import (
    StackedJacobian,
    TaskJacobian,
    as_jacobian,
    shared_mask,
    task_grads,
    task_jacobian,
)
from auxjax.weighting import (
    AutoLambdaState,
    FixedState,
    GCSState,
    OLAuxState,
    UncertaintyState,
    autolambda,
    fixed,
    gcs,
    gcs_weights,
    olaux,
    revised_uncertainty,
    scale_by_autolambda,
    scale_by_fixed,
    scale_by_gcs,
    scale_by_log_loss,
    scale_by_olaux,
    scale_by_revised_uncertainty,
    scale_by_uncertainty,
    task_metrics,
    uncertainty,
)

__version__ = "0.1.0"

__all__ = [
    "AccumulateState",
    "AutoLambdaState",
    "FixedState",
    "GCSState",
    "OLAuxState",
    "StackedJacobian",
    "TaskJacobian",
    "UncertaintyState",
    "accumulate_tasks",
    "as_jacobian",
    "autolambda",
    "fixed",
    "gcs",
    "gcs_weights",
    "olaux",
    "revised_uncertainty",
    "scale_by_autolambda",
    "scale_by_fixed",
    "scale_by_gcs",
    "scale_by_log_loss",
    "scale_by_olaux",
    "scale_by_revised_uncertainty",
    "scale_by_uncertainty",
    "shared_mask",
    "sum_tasks",
    "task_grads",
    "task_jacobian",
    "task_metrics",
    "uncertainty",
]
