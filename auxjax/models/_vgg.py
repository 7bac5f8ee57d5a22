"""VGG-16 for small images, one head per task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from auxjax.models._heads import linear_head, mlp_head
from auxjax.models._pooling import max_pool
from auxjax.models._stateful import (
    ConvNorm,
    Norm,
    StatefulModel,
    check_norm,
    scaled,
    stateful_from_linen,
)

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels, and convolutions before the next pooling."""


def vgg16(
    heads: Sequence[int],
    *,
    hidden: int | None = 512,
    width: float = 1.0,
    norm: Norm = "batch",
    dtype: Any = jnp.float32,
) -> StatefulModel:
    """VGG-16 with batch normalisation, and a small head for each task.

    Thirteen 3×3 convolutions of 64 to 512 channels, 2×2 max pooling between the five
    stages, the average over what is left of the image: 512 features (for 32×32 from
    2×2 places). A pooling that would leave nothing is left out, so 8×8 digits fit.

    Args:
      heads: For each task, numbers out.
      hidden: Units of each head's hidden layer; None for heads of one linear layer.
      width: Factor on the trunk's channels.
      norm: "batch", or "group": no state, nothing shared between a batch's images.
      dtype: In which the layers compute; the parameters are float32.

    Returns:
      `init(key, images) -> (params, state)`, with `params["trunk"]` shared and
      `params["heads"][i]` task i's. `apply(params, state, images, train, head=None)
      -> (logits, state)` for images `[..., H, W, C]`: with `head=None` a tuple of
      `[..., heads[i]]`, one per task; with `head=i` task i's alone, and no other head
      is computed; with `head="own"` images `[T, ..., H, W, C]` hold each task's own,
      the trunk sees all as one batch, and the tuple's entries are task by task.

    Raises:
      ValueError: There is no head; the norm or, in `apply`, the head is unknown.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = vgg16([5, 3], width=1 / 64, hidden=4)
      >>> images = jnp.zeros((2, 8, 8, 3))
      >>> params, state = model.init(jax.random.key(0), images)
      >>> logits, state = model.apply(params, state, images, train=True)
      >>> [x.shape for x in logits]
      [(2, 5), (2, 3)]

    Paper and code:
      | | here | papers | code |
      |---|---|---|---|
      | head | two layers (`hidden`) | MAXL's line: two; Auto-λ: "a layer" | one |
      | normalisation | shared | not told | one per task (Auto-λ) |

    References:
      Simonyan, Zisserman: Very Deep Convolutional Networks (2014), arXiv 1409.1556,
      column D. Liu et al., *Auto-λ*, arXiv 2202.03091, Section 5.2: 20 domains.
    """
    if not heads:
        raise ValueError("`heads` should name at least one task. Found none.")
    check_norm(norm)
    trunk = stateful_from_linen(_Trunk(width, norm, dtype))
    models = [
        linear_head(out, dtype=dtype)
        if hidden is None
        else mlp_head(hidden, out, dtype=dtype)
        for out in heads
    ]

    def init(key, images):
        key, *keys = jax.random.split(key, len(models) + 1)
        params, state = trunk.init(key, images)
        features = jnp.zeros((1, scaled(STAGES[-1][0], width)), dtype)
        own = [m.init(key, features) for m, key in zip(models, keys, strict=True)]
        return {"trunk": params, "heads": own}, state

    def apply(params, state, images, *, train: bool, head: int | str | None = None):
        if head == "own" and images.shape[0] != len(models):
            raise ValueError(
                f"the images' first axis should be the {len(models)} tasks. "
                f"Found {images.shape}."
            )
        if not (head is None or head == "own" or head in range(len(models))):
            raise ValueError(
                f"`head` should be None, 'own' or below {len(models)}. Found {head!r}."
            )
        features, state = trunk.apply(params["trunk"], state, images, train=train)
        if isinstance(head, int):
            return models[head].apply(params["heads"][head], features), state
        logits = tuple(
            model.apply(params["heads"][i], features[i] if head == "own" else features)
            for i, model in enumerate(models)
        )
        return logits, state

    return StatefulModel(init, apply)


class _Trunk(nn.Module):
    """The convolutions: images `[..., H, W, C]` to features `[..., 512 · width]`."""

    width: float
    norm: Norm
    dtype: Any

    @nn.compact
    def __call__(self, images, *, train: bool):
        x = images.astype(self.dtype)
        for stage, (channels, layers) in enumerate(STAGES):
            if stage > 0 and min(x.shape[-3:-1]) > 1:
                x = max_pool(x)
            for layer in range(layers):
                x = ConvNorm(
                    scaled(channels, self.width),
                    use_bias=True,
                    norm=self.norm,
                    dtype=self.dtype,
                    name=f"conv{stage + 1}_{layer + 1}",
                )(x, train=train)
        return jnp.mean(x, axis=(-3, -2))
