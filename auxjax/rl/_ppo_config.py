"""What proximal policy optimization is told."""

from __future__ import annotations

import dataclasses
import math

import optax

from auxjax._numbers import integer


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """Proximal policy optimization.

    The defaults are Stable-Baselines3's, but for `rollout_length` (there 2,048 steps in
    one environment). Its advantages are divided by √(Σ/(n − 1)), here by √(Σ/n).

    Attributes:
      learning_rate: of Adam.
      rollout_length: steps between two updates, in each environment.
      epochs: passes over a rollout.
      minibatch_size: samples of a gradient step; the last one of a pass has what is
        left.
      clip: ε, how far a probability ratio may move before its gradient stops.
      discount: γ.
      gae_lambda: λ of generalised advantage estimation.
      entropy_coef: weight of the entropy bonus.
      value_coef: weight of the value loss, which is the mean of (target − V)².
      max_grad_norm: clip gradients to this global norm; None: don't.
      normalize_advantage: standardise the advantages of each minibatch; a single one,
        as with `minibatch_size=1`, stays as it is, for it would become 0.
    """

    learning_rate: float = 3e-4
    rollout_length: int = 128
    epochs: int = 10
    minibatch_size: int = 64
    clip: float = 0.2
    discount: float = 0.99
    gae_lambda: float = 0.95
    entropy_coef: float = 0.0
    value_coef: float = 0.5
    max_grad_norm: float | None = 0.5
    normalize_advantage: bool = True

    def __post_init__(self):
        """Refuses numbers that make no sense."""
        for name in ("rollout_length", "epochs", "minibatch_size"):
            object.__setattr__(self, name, integer(name, getattr(self, name), 1))
        for name in ("entropy_coef", "value_coef"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"`{name}` should be at least 0. Found {value}.")
        for name in ("learning_rate", "clip", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` should be above 0. Found {value}.")
        for name in ("discount", "gae_lambda"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"`{name}` should be in [0, 1]. Found {value}.")

    def optimizer(self) -> optax.GradientTransformation:
        """Adam behind the clipping of gradients."""
        adam = optax.adam(self.learning_rate, eps=1e-5)
        if self.max_grad_norm is None:
            return adam
        return optax.chain(optax.clip_by_global_norm(self.max_grad_norm), adam)
