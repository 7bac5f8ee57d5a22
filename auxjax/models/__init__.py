"""Networks, as pairs of pure functions: the only room that imports flax.

A `Model` is `init(key, *inputs) -> params` and `apply(params, *inputs) -> output`. The
parameters are plain nested dicts. An agent with auxiliary tasks is an encoder and one
head a task:

| task | head | reads |
|---|---|---|
| policy, value | `linear_head` | φ(s) |
| forward dynamics | `mlp_head` | φ(s), `embed_action`(a) |
| inverse dynamics, egomotion | `mlp_head` | φ(s) and φ(s'), or φ of s moved |
| autoencoder | `decoder` | φ(s) |
| optical flow | `decoder(shape, 2)` | φ(s), φ(s') |

Inputs may have any number of leading axes: a batch, or time and batch. Weights start
orthogonal (Saxe et al. 2013, arXiv 1312.6120), biases at 0.
"""

from ._convolution import Conv, convolve
from ._decoder import decoder
from ._encoder import encoder
from ._heads import embed_action, linear_head, mlp_head
from ._model import Model

__all__ = [
    "Conv",
    "Model",
    "convolve",
    "decoder",
    "embed_action",
    "encoder",
    "linear_head",
    "mlp_head",
]
