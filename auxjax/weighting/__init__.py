"""Jacobian -> Jacobian: how much each row counts. One paper a file.

`scale_by_x` is the row transform; `x` is its alias that also sums the rows,
`optax.chain(scale_by_x(...), sum_tasks())`.
"""

from auxjax.weighting._autolambda import autolambda, scale_by_autolambda
from auxjax.weighting._autolambda_step import AutoLambdaState
from auxjax.weighting._fixed import FixedState, fixed, scale_by_fixed
from auxjax.weighting._gcs import GCSState, gcs, gcs_weights, scale_by_gcs
from auxjax.weighting._log_loss import scale_by_log_loss
from auxjax.weighting._metrics import task_metrics
from auxjax.weighting._olaux import OLAuxState, olaux, scale_by_olaux
from auxjax.weighting._uncertainty import (
    UncertaintyState,
    revised_uncertainty,
    scale_by_revised_uncertainty,
    scale_by_uncertainty,
    uncertainty,
)

__all__ = [
    "AutoLambdaState",
    "FixedState",
    "GCSState",
    "OLAuxState",
    "UncertaintyState",
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
    "task_metrics",
    "uncertainty",
]
