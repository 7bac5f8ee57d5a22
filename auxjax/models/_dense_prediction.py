"""Multi-task networks that predict something for each pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from auxjax.models._aspp import DeepLabHead
from auxjax.models._attention import AttendedTrunk, Attention
from auxjax.models._pooling import resize
from auxjax.models._resnet import Design, Trunk
from auxjax.models._stateful import Norm, StatefulModel, scaled, stateful_from_linen

Backbone = Literal["resnet50", "resnet18", "small", "tiny"]

# Design of the trunk; channels and rates of the heads.
DILATE = (False, True, True)  # an eighth of the image's size, whatever stage
BACKBONES: dict[str, tuple[Design, int, tuple[int, ...]]] = {
    "resnet50": (Design(True, (3, 4, 6, 3), dilate=DILATE), 256, (12, 24, 36)),
    "resnet18": (Design(False, (2, 2, 2, 2), dilate=DILATE), 256, (12, 24, 36)),
    "small": (
        Design(False, (2, 2, 2, 2), (16, 32, 64, 64), "half", DILATE),
        32,
        (2, 4, 6),
    ),
    "tiny": (Design(False, (1, 1, 1, 1), (4, 8, 16, 16), "half", DILATE), 8, (2,)),
}


def split_dense(
    tasks: Mapping[str, int],
    *,
    backbone: Backbone = "resnet50",
    width: float = 1.0,
    normalise: Sequence[str] = ("normal",),
    norm: Norm = "batch",
    dtype: Any = jnp.float32,
) -> StatefulModel:
    """A dilated residual network that all tasks share, and a DeepLab head for each.

    | backbone | blocks | features | heads |
    |---|---|---|---|
    | resnet50 | 16 bottlenecks | 2048 at 1/8 of the size | 256, rates 12, 24, 36 |
    | resnet18 | 8 of two 3×3 | 512 at 1/8 | 256, rates 12, 24, 36 |
    | small | 8 of two 3×3 | 64 at 1/4 | 32, rates 2, 4, 6 |
    | tiny | 4 of two 3×3 | 16 at 1/4 | 8, rate 2 |

    The small one is for rooms of 64×64 on a CPU, the tiny one compiles fast.
    Predictions are interpolated to the images' size.

    Args:
      tasks: For each task by name, numbers per pixel: classes, or 3 for normals.
      backbone: The trunk.
      width: Factor on all channels.
      normalise: Tasks whose predictions are made unit vectors; names that are no
        task do not matter.
      norm: "batch", or "group": no state, nothing shared between a batch's images.
      dtype: In which the layers compute; the parameters are float32.

    Returns:
      `init(key, images) -> (params, state)`, with `params["trunk"]` shared and
      `params["heads"][task]` the task's own. `apply(params, state, images, train) ->
      ({task: [..., H, W, numbers]}, state)` for images `[..., H, W, C]`.

    Raises:
      ValueError: There is no task; the backbone or the norm is unknown.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = split_dense({"seg": 5, "depth": 1}, backbone="small", width=1 / 16)
      >>> images = jnp.zeros((2, 16, 16, 3))
      >>> params, state = model.init(jax.random.key(0), images)
      >>> out, state = model.apply(params, state, images, train=True)
      >>> {task: x.shape for task, x in out.items()}
      {'seg': (2, 16, 16, 5), 'depth': (2, 16, 16, 1)}

    References:
      Liu et al., *Auto-λ*, arXiv 2202.03091, Section 5.1, "Split". The head: Chen et
      al. (2017), arXiv 1706.05587.
    """
    plan = _plan(tasks, backbone, width, normalise, norm, dtype)
    return stateful_from_linen(_Split(plan))


def mtan_dense(
    tasks: Mapping[str, int],
    *,
    backbone: Backbone = "resnet50",
    width: float = 1.0,
    normalise: Sequence[str] = ("normal",),
    norm: Norm = "batch",
    dtype: Any = jnp.float32,
) -> StatefulModel:
    """`split_dense` with soft attention: each task masks the shared features itself.

    For each of the trunk's four stages a task has a mask in (0, 1) for the stage's
    output, made by two 1×1 convolutions from the input of the stage's last block and
    from what the task saw of the stage before. What is seen passes through a bottleneck
    that all tasks share; what is seen of the last stage goes into the task's head.

    Args:
      tasks: As for `split_dense`.
      backbone: As for `split_dense`.
      width: As for `split_dense`.
      normalise: As for `split_dense`.
      norm: As for `split_dense`.
      dtype: As for `split_dense`.

    Returns:
      As `split_dense`; `params["heads"][task]` holds the masks too.

    Raises:
      ValueError: As `split_dense`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = mtan_dense({"seg": 5, "depth": 1})
      >>> images = jnp.zeros((2, 72, 96, 3))
      >>> params, state = jax.eval_shape(model.init, jax.random.key(0), images)
      >>> sorted(params["heads"]["seg"])
      ['attention', 'decoder']

    References:
      Liu et al.: End-to-End Multi-Task Learning with Attention (2019), arXiv
      1803.10704; on a ResNet as in *Auto-λ*, arXiv 2202.03091, Section 5.1.
    """
    plan = _plan(tasks, backbone, width, normalise, norm, dtype)
    return stateful_from_linen(_MTAN(plan))


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What both forms have in common."""

    design: Design
    tasks: tuple[tuple[str, int], ...]
    normalise: tuple[str, ...]
    channels: int
    rates: tuple[int, ...]

    def head(self, out: int, name: str) -> DeepLabHead:
        """A task's decoder."""
        return DeepLabHead(
            out,
            self.channels,
            self.rates,
            self.design.norm,
            self.design.dtype,
            name=name,
        )

    def finish(self, task: str, prediction, images):
        """As large as the images, and of length one where asked."""
        prediction = resize(prediction, images.shape[-3:-1])
        if task not in self.normalise:
            return prediction
        square = jnp.sum(prediction**2, axis=-1, keepdims=True)
        return prediction * jax.lax.rsqrt(square + 1e-12)  # 0 stays 0


def _plan(tasks, backbone, width, normalise, norm, dtype) -> _Plan:
    if not tasks:
        raise ValueError("`tasks` should name at least one task. Found none.")
    if backbone not in BACKBONES:
        raise ValueError(
            f"`backbone` should be one of {', '.join(BACKBONES)}. Found {backbone!r}."
        )
    design, channels, rates = BACKBONES[backbone]
    design = dataclasses.replace(design, width=width, norm=norm, dtype=dtype)
    return _Plan(
        design, tuple(tasks.items()), tuple(normalise), scaled(channels, width), rates
    )


class _Split(nn.Module):
    """The module behind `split_dense`."""

    plan: _Plan

    @nn.compact
    def __call__(self, images, *, train: bool):
        plan = self.plan
        features = Trunk(plan.design, name="trunk")(images, train=train)[-1][1]
        outputs = _SplitHeads(plan, name="heads")(features, train=train)
        return {task: plan.finish(task, x, images) for task, x in outputs.items()}


class _SplitHeads(nn.Module):
    """A head per task, on the same features."""

    plan: _Plan

    @nn.compact
    def __call__(self, features, *, train: bool):
        return {
            task: self.plan.head(out, task)(features, train=train)
            for task, out in self.plan.tasks
        }


class _MTAN(nn.Module):
    """The module behind `mtan_dense`."""

    plan: _Plan

    @nn.compact
    def __call__(self, images, *, train: bool):
        plan = self.plan
        trunk = AttendedTrunk(plan.design, name="trunk")
        pairs = trunk(images, train=train)
        outputs = _MTANHeads(plan, name="heads")(pairs, trunk.encode, train=train)
        return {task: plan.finish(task, x, images) for task, x in outputs.items()}


class _MTANHeads(nn.Module):
    """Attention and a head per task."""

    plan: _Plan

    @nn.compact
    def __call__(self, pairs, encode, *, train: bool):
        return {
            task: _MTANHead(self.plan, out, name=task)(pairs, encode, train=train)
            for task, out in self.plan.tasks
        }


class _MTANHead(nn.Module):
    """Attention and a head."""

    plan: _Plan
    out: int

    @nn.compact
    def __call__(self, pairs, encode, *, train: bool):
        attended = Attention(self.plan.design, name="attention")(
            pairs, encode, train=train
        )
        return self.plan.head(self.out, "decoder")(attended, train=train)
