"""Self-supervised auxiliary losses for reinforcement learning, as pure functions.

Each takes what a model predicted, what it should have predicted, and a `mask` `[B]`
that says from which transitions one may learn; each returns one non-negative number,
the mean over those transitions. These are the five tasks of Table 1 of Lin et al.,
Adaptive Auxiliary Task Weighting for Reinforcement Learning (NeurIPS 2019):

| loss | predicts | from |
|---|---|---|
| `forward_dynamics` | φ(s'), the next latent | φ(s), a |
| `inverse_dynamics` | a, the action taken | φ(s), φ(s') |
| `egomotion` | the transformation applied | φ(s), φ(`random_transform`(s)) |
| `autoencoder` | s, the observation | φ(s) |
| `optical_flow` | where each pixel went | φ(s), φ(s') |

The mask. A transition `(s, a, s')` can be learned from if s' followed from s and a.
That fails for a step that only resets the environment: its "next" observation begins
another episode. The environments of auxjax give `next_observation`, the true
successor even where an episode ends, and `valid`, False for reset-only steps, so
`mask = valid` is right for every loss here. Who has only auto-reset observations, in
which s' is already the next episode's first, should pass `mask = ~done`.

A row that is masked out is replaced by zeros before anything is computed from it, so
that whatever stands there (a NaN too) touches neither the value nor the gradient. If
no row is left, the loss is 0 and so is its gradient.

Whatever the inputs' dtype, the losses are computed in float32, or in float64 if
an input has it. Images of type uint8 are scaled to [0, 1] (`to_float`), as the
encoders of `auxjax.models` do.
"""

from auxjax.auxiliary._autoencoder import autoencoder
from auxjax.auxiliary._egomotion import egomotion, random_transform
from auxjax.auxiliary._forward_dynamics import forward_dynamics
from auxjax.auxiliary._inverse_dynamics import inverse_dynamics
from auxjax.auxiliary._masking import masked_mean
from auxjax.auxiliary._optical_flow import optical_flow
from auxjax.auxiliary._pixels import to_float
from auxjax.auxiliary._warp import warp

__all__ = [
    "autoencoder",
    "egomotion",
    "forward_dynamics",
    "inverse_dynamics",
    "masked_mean",
    "optical_flow",
    "random_transform",
    "to_float",
    "warp",
]
