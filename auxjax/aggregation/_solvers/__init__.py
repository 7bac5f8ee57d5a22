"""Small convex problems over the Gramian: exact, jittable, and free of hosts."""

from auxjax.aggregation._solvers._bounded import bounded_qp
from auxjax.aggregation._solvers._dual_cone import project_onto_dual_cone
from auxjax.aggregation._solvers._nash import fair_point
from auxjax.aggregation._solvers._prepare import dot, length, prepare, quadratic
from auxjax.aggregation._solvers._simplex import min_norm_point

__all__ = [
    "bounded_qp",
    "dot",
    "fair_point",
    "length",
    "min_norm_point",
    "prepare",
    "project_onto_dual_cone",
    "quadratic",
]
