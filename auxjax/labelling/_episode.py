"""What the environment of labels and a whole run are both told."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from auxjax._numbers import integer
from auxjax.labelling._losses import check_formula


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpisodeConfig:
    """An epoch of labelling: its batches, and how the agent's reward is measured.

    Attributes:
      batch_size: B, images of a training batch.
      eval_size: images that the reward is measured on, drawn without replacement.
      entropy_coef: c, of the batch entropy in RL-AUX's reward or MAXL's loss; None: 1
        for RL-AUX, 0.2 for MAXL, as in the papers. (RL-AUX's released code has 0.2
        too.)
      num_weights: WA-RL's weight classes.
      weight_formula: of WA-RL's factor, `"paper"` or `"code"`; see `weight_factor`.
    """

    batch_size: int = 100
    eval_size: int = 256
    entropy_coef: float | None = None
    num_weights: int = 21
    weight_formula: str = "paper"

    def __post_init__(self):
        """Refuses settings that make no sense."""
        for name in ("batch_size", "eval_size"):
            object.__setattr__(self, name, integer(name, getattr(self, name), 1))
        coef = self.entropy_coef
        if coef is not None and not (math.isfinite(coef) and coef >= 0):
            raise ValueError(
                "`entropy_coef` should be at least 0: below, to use one label alone "
                f"would pay. Found {coef}."
            )
        check_formula(self.weight_formula, self.num_weights)

    @property
    def entropy_weight(self) -> float:
        """`entropy_coef`, or the paper's."""
        return 1.0 if self.entropy_coef is None else self.entropy_coef


def episode_of(config: EpisodeConfig) -> dict[str, Any]:
    """The fields that a run's configuration and its environment have in common."""
    names = [field.name for field in dataclasses.fields(EpisodeConfig)]
    return {name: getattr(config, name) for name in names}
