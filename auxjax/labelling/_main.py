"""The main network and one step of its training, whoever made the labels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._optax import with_mixed_dtypes
from auxjax._types import Array, Float
from auxjax.labelling._losses import focal_loss_of_logits
from auxjax.labelling._network import NetworkLike


class MainState(NamedTuple):
    """The main network while it is trained."""

    params: Any
    model_state: Any
    opt_state: Any


class MainBatch(NamedTuple):
    """What one step learns from."""

    images: Any  # [B, ...]
    labels: jax.Array  # [B] int, the main task's, or whatever its loss takes
    targets: Any = None  # [B] int, or [B, K] distributions, the auxiliary task's
    factors: Any = None  # [B], of each sample's auxiliary loss; None: 1


class MainMetrics(NamedTuple):
    """Of one step, before it."""

    primary: jax.Array  # [], mean primary loss
    auxiliary: jax.Array  # [], mean auxiliary loss with its factors, without λ
    accuracy: jax.Array  # [], share of the main labels that were right; 0: no classes


SampleLoss = Callable[[Array, Array], Array]


@dataclasses.dataclass(frozen=True)
class MainTask:
    r"""How the main network learns: L = mean ℓ_primary + λ mean wᵢ ℓ_aux.

    Attributes:
      network: outputs the primary and the auxiliary task's predictions.
      optimizer: any Optax transformation, gradient → update.
      primary_loss: `(output, labels) -> [B]`.
      auxiliary_loss: `(output, targets) -> [B]`.
      aux_weight: λ; 0: the auxiliary task is left out, targets need not be there.

    Raises:
      ValueError: λ is below 0, or no number.

    References:
      Goldfeder et al., Eq. 1, 2, 7.
    """

    network: NetworkLike
    optimizer: optax.GradientTransformation
    primary_loss: SampleLoss = focal_loss_of_logits
    auxiliary_loss: SampleLoss = focal_loss_of_logits
    aux_weight: float = 1.0

    def __post_init__(self):
        """Refuses a λ that makes no sense."""
        if not (math.isfinite(self.aux_weight) and self.aux_weight >= 0):
            raise ValueError(
                f"`aux_weight` should be at least 0. Found {self.aux_weight}."
            )

    def init(self, key: Array, images: Any) -> MainState:
        """A new network, for images of this shape."""
        params, model_state = self.network.init(key, images[:1])
        return MainState(params, model_state, self.optimizer.init(params))

    def losses(
        self, params: Any, model_state: Any, batch: MainBatch
    ) -> tuple[Float[Array, ""], tuple[Any, MainMetrics]]:
        """The loss of a batch in training; then the new state and the metrics."""
        outputs, model_state = self.network.apply(
            params, model_state, batch.images, train=True
        )
        primary = jnp.mean(self.primary_loss(outputs[0], batch.labels))
        auxiliary = jnp.zeros_like(primary)
        if self.aux_weight:
            each = self.auxiliary_loss(outputs[1], batch.targets)
            if batch.factors is not None:
                each = batch.factors.astype(each.dtype) * each
            auxiliary = jnp.mean(each)
        accuracy = jnp.zeros_like(primary)
        if jnp.issubdtype(batch.labels.dtype, jnp.integer):
            best = jnp.argmax(outputs[0], axis=-1).astype(batch.labels.dtype)
            accuracy = jnp.mean((best == batch.labels).astype(primary.dtype))
        metrics = MainMetrics(primary, auxiliary, accuracy)
        return primary + self.aux_weight * auxiliary, (model_state, metrics)

    def step(self, main: MainState, batch: MainBatch) -> tuple[MainState, MainMetrics]:
        """One step on the primary and the auxiliary loss."""
        gradient, (model_state, metrics) = jax.grad(self.losses, has_aux=True)(
            main.params, main.model_state, batch
        )
        update, opt_state = with_mixed_dtypes(self.optimizer).update(
            gradient, main.opt_state, main.params
        )
        params = optax.apply_updates(main.params, update)
        return MainState(params, model_state, opt_state), metrics

    def evaluate(self, main: MainState, images: Any, labels: Array) -> Float[Array, ""]:
        """The mean primary loss, nothing trained and no statistics changed."""
        outputs, _ = self.network.apply(
            main.params, main.model_state, images, train=False
        )
        return jnp.mean(self.primary_loss(outputs[0], labels))

    def predict(self, main: MainState, images: Any) -> Array:
        """The primary task's output for some images."""
        outputs, _ = self.network.apply(
            main.params, main.model_state, images, train=False
        )
        return outputs[0]
