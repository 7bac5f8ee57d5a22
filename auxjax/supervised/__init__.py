"""The supervised step and loop: two streams of batches, one jitted scan per epoch.

Auto-λ and its like ask for the losses on a second batch of the same training set. The
room hands every rule both: rules that want one only pay for one. It knows none of
them by name.
"""

from auxjax.supervised._delta import delta_mtl
from auxjax.supervised._dense import masked_l1, normal_cosine, segmentation_loss
from auxjax.supervised._dense_metrics import DepthSums, NormalSums, SegmentationSums
from auxjax.supervised._loop import make_epoch, make_train
from auxjax.supervised._step import StepMetrics, TrainState, init_state, make_step
from auxjax.supervised._streams import epoch_indices

__all__ = [
    "DepthSums",
    "NormalSums",
    "SegmentationSums",
    "StepMetrics",
    "TrainState",
    "delta_mtl",
    "epoch_indices",
    "init_state",
    "make_epoch",
    "make_step",
    "make_train",
    "masked_l1",
    "normal_cosine",
    "segmentation_loss",
]
