"""What an A2C run is made of."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from auxjax._numbers import integer
from auxjax.envs import has_images
from auxjax.rl._methods import METHOD_ALIASES, METHODS

AUXILIARY_TASKS = ("forward", "inverse", "egomotion", "autoencoder", "flow")
"""The five auxiliary tasks of OL-AUX's Table 1, by the names used here."""

IMAGE_TASKS = ("egomotion", "flow")
"""Those that make sense only for images."""


@dataclasses.dataclass(frozen=True)
class A2CConfig:
    """Advantage actor-critic with auxiliary tasks.

    Attributes:
      env: the environment's name; see `auxjax.envs.names()`.
      method: how the auxiliary losses are weighed: `single` (main task alone), `equal`
        (the sum of all gradients), `log_loss` (the sum of ∇ log L), `gcs` (gated by
        gradient cosine similarity), `olaux` (horizon `horizon`), `olaux1` (horizon 1,
        β / 5), `olaux-ablation` (Eq. 4 every `horizon` steps, on that many times the
        data). The last four are made of ∇ log L too. `none`, `balance` and `cosine` are
        other words for `single`, `log_loss` and `gcs`.
      aux: the auxiliary tasks, of `forward inverse egomotion autoencoder flow`; by
        default all that the environment can have (two of them need images).
      num_envs: environments stepped together, N.
      rollout_length: steps between two updates, in each environment.
      frames: frames of the game to train for.
      learning_rate: of Adam, for the parameters.
      horizon: N of OL-AUX, in updates.
      beta: OL-AUX's step size for the weights, with α = 1. The inner products that it
        multiplies contain `main_coef`.
      clip_at_zero: keep OL-AUX's weights at or above 0.
      log_offset: the auxiliary losses enter as log(L + log_offset). Bounds the pull of
        a task that is almost solved, whose ∇ log L = ∇L / L grows without end.
      discount: γ.
      gae_lambda: λ of generalised advantage estimation; 1 gives n-step returns.
      normalize_advantage: standardise the advantages of each update, which keeps the
        policy gradient's size near that of the balanced auxiliary gradients. A single
        one (one step in one environment) stays as it is, for it would become 0.
      main_coef: c, factor of the whole actor-critic loss. Adam does not notice it when
        training on the main task alone; with auxiliary losses it sets the balance
        (the actor-critic loss has no logarithm to balance it by) and, times `beta`,
        how fast OL-AUX's weights move.
      value_coef: weight of the value loss in the main loss.
      entropy_coef: weight of the entropy bonus in the main loss.
      max_grad_norm: clip the update's gradient to this global norm; None: don't (Adam
        does not notice a gradient's size, and clipping makes it jump).
      features: size of the latent φ(s).
      hidden: units of the auxiliary heads' hidden layers.
    """

    env: str = "Breakout-MinAtar"
    method: str = "olaux"
    aux: tuple[str, ...] | None = None
    num_envs: int = 64
    rollout_length: int = 8
    frames: int = 1_000_000
    learning_rate: float = 1e-3
    horizon: int = 5
    beta: float = 0.03
    clip_at_zero: bool = False
    log_offset: float = 0.02
    discount: float = 0.99
    gae_lambda: float = 0.95
    normalize_advantage: bool = True
    main_coef: float = 30.0
    value_coef: float = 0.5
    entropy_coef: float = 0.01
    max_grad_norm: float | None = None
    features: int = 128
    hidden: int = 128

    def __post_init__(self):
        """Checks what can be checked without the environment."""
        if self.aux is None:
            object.__setattr__(self, "aux", _suitable_tasks(self.env))
        name = METHOD_ALIASES.get(self.method, self.method)
        object.__setattr__(self, "method", name)
        if self.method not in METHODS:
            raise ValueError(
                f"`method` should be one of {', '.join(METHODS)}. Found {self.method}."
            )
        aux = self.aux or ()
        for name in aux:
            if name not in AUXILIARY_TASKS:
                raise ValueError(
                    f"`aux` should hold names of {', '.join(AUXILIARY_TASKS)}. "
                    f"Found {name}."
                )
        if len(set(aux)) < len(aux):
            raise ValueError(
                f"`aux` should name each task once. Found {' '.join(aux)}."
            )
        if self.method != "single" and not aux:
            raise ValueError(
                f"`aux` should name at least one task for method {self.method}. "
                "Found none."
            )
        sizes = ("num_envs", "rollout_length", "horizon", "features", "hidden")
        for name in (*sizes, "frames"):
            object.__setattr__(self, name, integer(name, getattr(self, name), 1))
        for field in dataclasses.fields(A2CConfig):
            value = getattr(self, field.name)
            if isinstance(value, float | np.floating) and not math.isfinite(value):
                raise ValueError(f"`{field.name}` should be finite. Found {value}.")
        for name in ("discount", "gae_lambda"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(
                    f"`{name}` should be in [0, 1]. Found {getattr(self, name)}."
                )
        if self.log_offset < 0:
            raise ValueError(
                f"`log_offset` should be at least 0. Found {self.log_offset}."
            )
        if self.max_grad_norm is not None and self.max_grad_norm <= 0:
            raise ValueError(
                f"`max_grad_norm` should be above 0. Found {self.max_grad_norm}."
            )
        if self.learning_rate <= 0:
            raise ValueError(
                f"`learning_rate` should be above 0. Found {self.learning_rate}."
            )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks trained on, the main one first."""
        return ("main",) if self.method == "single" else ("main", *(self.aux or ()))


def _suitable_tasks(env: str) -> tuple[str, ...]:
    """All tasks that an environment of this name can have."""
    if has_images(env):
        return AUXILIARY_TASKS
    return tuple(task for task in AUXILIARY_TASKS if task not in IMAGE_TASKS)
