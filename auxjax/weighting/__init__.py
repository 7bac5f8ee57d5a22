"""Jacobian -> Jacobian: how much each row counts. One paper per file.

`scale_by_x` is the row transform; `x` is its alias that also sums the rows,
`optax.chain(scale_by_x(...), sum_tasks())`.
"""

from auxjax.weighting._autolambda import scale_by_autolambda
from auxjax.weighting._autolambda_around import autolambda
from auxjax.weighting._autolambda_step import AutoLambdaState
from auxjax.weighting._auxilearn import AuxiLearnState, auxilearn, scale_by_auxilearn
from auxjax.weighting._auxinash import AuxiNashState, auxinash, scale_by_auxinash
from auxjax.weighting._balance_at import (
    BalanceAtState,
    balance_at,
    scale_by_balance_at,
)
from auxjax.weighting._bargain import auxinash_weights
from auxjax.weighting._cosmos import (
    COSMOSState,
    cosmos,
    cosmos_weights,
    scale_by_cosmos,
)
from auxjax.weighting._dga import DGAState, dga, dga_probabilities, scale_by_dga
from auxjax.weighting._dwa import DWAState, dwa, scale_by_dwa
from auxjax.weighting._equal import EqualState, equal, scale_by_equal
from auxjax.weighting._excess_mtl import (
    ExcessMTLState,
    excess_mtl,
    scale_by_excess_mtl,
)
from auxjax.weighting._famo import FAMOState, famo, scale_by_famo
from auxjax.weighting._fixed import FixedState, fixed, scale_by_fixed
from auxjax.weighting._gcs import GCSState, gcs, gcs_weights, scale_by_gcs
from auxjax.weighting._gls import GLSState, gls, scale_by_gls
from auxjax.weighting._go4align import GO4AlignState, go4align, scale_by_go4align
from auxjax.weighting._gradnorm import GradNormState, gradnorm, scale_by_gradnorm
from auxjax.weighting._igb import IGBState, igb, scale_by_igb
from auxjax.weighting._imtl_l import IMTLLState, imtl_l, scale_by_imtl_l
from auxjax.weighting._log_loss import LogLossState, scale_by_log_loss
from auxjax.weighting._metabalance import (
    MetaBalanceState,
    metabalance,
    scale_by_metabalance,
)
from auxjax.weighting._metrics import task_metrics
from auxjax.weighting._modo import MoDoState, modo, modo_weights, scale_by_modo
from auxjax.weighting._olaux import OLAuxState, olaux, scale_by_olaux
from auxjax.weighting._pbi import PBIState, pbi, pbi_weights, scale_by_pbi
from auxjax.weighting._rlw import RLWState, rlw, scale_by_rlw
from auxjax.weighting._scale_to_sum import ScaleToSumState, scale_to_sum
from auxjax.weighting._select_then_train import (
    SelectThenTrainState,
    select_then_train,
    selected_helpers,
)
from auxjax.weighting._slgrad import (
    SLGradState,
    scale_by_slgrad,
    slgrad,
    slgrad_weights,
)
from auxjax.weighting._stch import STCHState, scale_by_stch, stch
from auxjax.weighting._uncertainty import (
    UncertaintyState,
    revised_uncertainty,
    scale_by_revised_uncertainty,
    scale_by_uncertainty,
    uncertainty,
)

__all__ = [
    "AutoLambdaState",
    "AuxiLearnState",
    "AuxiNashState",
    "BalanceAtState",
    "COSMOSState",
    "DGAState",
    "DWAState",
    "EqualState",
    "ExcessMTLState",
    "FAMOState",
    "FixedState",
    "GCSState",
    "GLSState",
    "GO4AlignState",
    "GradNormState",
    "IGBState",
    "IMTLLState",
    "LogLossState",
    "MetaBalanceState",
    "MoDoState",
    "OLAuxState",
    "PBIState",
    "RLWState",
    "SLGradState",
    "STCHState",
    "ScaleToSumState",
    "SelectThenTrainState",
    "UncertaintyState",
    "autolambda",
    "auxilearn",
    "auxinash",
    "auxinash_weights",
    "balance_at",
    "cosmos",
    "cosmos_weights",
    "dga",
    "dga_probabilities",
    "dwa",
    "equal",
    "excess_mtl",
    "famo",
    "fixed",
    "gcs",
    "gcs_weights",
    "gls",
    "go4align",
    "gradnorm",
    "igb",
    "imtl_l",
    "metabalance",
    "modo",
    "modo_weights",
    "olaux",
    "pbi",
    "pbi_weights",
    "revised_uncertainty",
    "rlw",
    "scale_by_autolambda",
    "scale_by_auxilearn",
    "scale_by_auxinash",
    "scale_by_balance_at",
    "scale_by_cosmos",
    "scale_by_dga",
    "scale_by_dwa",
    "scale_by_equal",
    "scale_by_excess_mtl",
    "scale_by_famo",
    "scale_by_fixed",
    "scale_by_gcs",
    "scale_by_gls",
    "scale_by_go4align",
    "scale_by_gradnorm",
    "scale_by_igb",
    "scale_by_imtl_l",
    "scale_by_log_loss",
    "scale_by_metabalance",
    "scale_by_modo",
    "scale_by_olaux",
    "scale_by_pbi",
    "scale_by_revised_uncertainty",
    "scale_by_rlw",
    "scale_by_slgrad",
    "scale_by_stch",
    "scale_by_uncertainty",
    "scale_to_sum",
    "select_then_train",
    "selected_helpers",
    "slgrad",
    "slgrad_weights",
    "stch",
    "task_metrics",
    "uncertainty",
]
