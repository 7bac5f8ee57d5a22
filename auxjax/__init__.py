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

from auxjax import aggregation, diagnosis, jacobian, weighting
from auxjax.aggregation import *  # noqa: F403
from auxjax.diagnosis import *  # noqa: F403
from auxjax.jacobian import *  # noqa: F403
from auxjax.weighting import *  # noqa: F403

__version__ = "0.1.0"

__all__ = []  # a name is written down in its room's facade
__all__ += aggregation.__all__
__all__ += jacobian.__all__
__all__ += weighting.__all__
__all__ += diagnosis.__all__
