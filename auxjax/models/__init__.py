"""Networks, as pairs of pure functions: the only room that imports flax.

A `Model` is `init(key, *inputs) -> params` and `apply(params, *inputs) -> output`. The
parameters are plain nested dicts. An agent with auxiliary tasks is an encoder and one
head per task:

| task | head | reads |
|---|---|---|
| policy, value | `linear_head` | φ(s) |
| forward dynamics | `mlp_head` | φ(s), `embed_action`(a) |
| inverse dynamics, egomotion | `mlp_head` | φ(s) and φ(s'), or φ of s moved |
| autoencoder | `decoder` | φ(s) |
| optical flow | `decoder(shape, 2)` | φ(s), φ(s') |

The networks of the supervised experiments:

| network | for | state |
|---|---|---|
| `mlp` | digits as vectors | none |
| `cnn` | small images | none |
| `vgg16` | 32×32 images, many domains or generated tasks | batch statistics |
| `resnet18`, `resnet50` | images, features for other networks | batch statistics |
| `split_dense`, `mtan_dense` | segmentation, depth, normals | batch statistics |

Those with a state are a `StatefulModel`: `init(key, *inputs) -> (params, state)` and
`apply(params, state, *inputs, train) -> (output, state)`. Where there are several
tasks, `params["trunk"]` is shared and `params["heads"]` holds each task's own.

Inputs may have any number of leading axes: a batch, or time and batch. Weights start
orthogonal (Saxe et al. 2013, arXiv 1312.6120), biases at 0; convolutions before a
normalisation start normal with He's variance (He et al. 2015, arXiv 1502.01852).
"""

from auxjax.models._cnn import cnn
from auxjax.models._convolution import Conv, convolve
from auxjax.models._decoder import decoder
from auxjax.models._dense_prediction import mtan_dense, split_dense
from auxjax.models._encoder import encoder
from auxjax.models._heads import embed_action, linear_head, mlp_head
from auxjax.models._mlp import mlp
from auxjax.models._model import Model
from auxjax.models._pooling import max_pool, resize
from auxjax.models._resnet import resnet18, resnet50
from auxjax.models._stateful import StatefulModel
from auxjax.models._vgg import vgg16

__all__ = [
    "Conv",
    "Model",
    "StatefulModel",
    "cnn",
    "convolve",
    "decoder",
    "embed_action",
    "encoder",
    "linear_head",
    "max_pool",
    "mlp",
    "mlp_head",
    "mtan_dense",
    "resize",
    "resnet18",
    "resnet50",
    "split_dense",
    "vgg16",
]
