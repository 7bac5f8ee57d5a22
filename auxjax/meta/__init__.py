"""Differentiating through learning: how a later loss depends on the task weights.

| function | what it gives | price beside the training step |
|---|---|---|
| `exact_meta_gradient` | one step ahead, exact, any optimizer | 1 tangent pass |
| `finite_difference_meta_gradient` | the same by the paper's Eq. 7 | 2 forward passes |
| `exact_n_step_meta_gradient` | N real steps ahead, exact | about T steps per step |
| `first_order_n_step_meta_gradient` | OL-AUX's Eq. 6 | 1 backward, 1 tangent per step |
| `implicit_meta_gradient` | after convergence: Neumann, CG | K Hessian products |
"""

from auxjax.meta._implicit import implicit_meta_gradient
from auxjax.meta._lookahead import Lookahead, lookahead, of_variables
from auxjax.meta._n_steps import (
    Run,
    exact_n_step_meta_gradient,
    first_order_n_step_meta_gradient,
)
from auxjax.meta._one_step import exact_meta_gradient, finite_difference_meta_gradient

__all__ = [
    "Lookahead",
    "Run",
    "exact_meta_gradient",
    "exact_n_step_meta_gradient",
    "finite_difference_meta_gradient",
    "first_order_n_step_meta_gradient",
    "implicit_meta_gradient",
    "lookahead",
    "of_variables",
]
