"""The command line of a script that trains by several rules."""

from __future__ import annotations

import dataclasses
import sys
from typing import ClassVar

from lab.options import Options, free
from lab.rules import BY_NAME, check_names, spelled_out

SINGLE = "single"


@dataclasses.dataclass(frozen=True)
class Training(Options):
    """What the command line of such a script has.

    Attributes:
      method: the rules to compare, by their names in `auxjax.rules`; `single` trains on
        the main task alone, `constant-0.1` and `constant-0.3` give every task that
        weight, `autolambda-sum` and `autolambda-all-sum` are Auto-λ at a mean weight of
        1. The papers' names will do: `multi` is `equal`, `autolambda` what the script
        has of it by default.
      seeds: how many; all of a method's train together.
      first_seed: the first one.
      epochs: passes over the training set.
      batch_size: samples per step.
      eval_every: epochs between two evaluations on the test set, and between two
        checkpoints.
    """

    KNOWN: ClassVar[tuple[str, ...]] = (SINGLE, *BY_NAME)
    """What `method` may name."""

    method: tuple[str, ...] = free((SINGLE, "equal", "gcs"))
    seeds: int = 3
    first_seed: int = 0
    epochs: int = 50
    batch_size: int = 128
    eval_every: int = 5

    def __post_init__(self):
        """Checks what the command line said."""
        super().__post_init__()
        object.__setattr__(self, "method", self.spelled_out("method"))
        self.each_once("method")
        self.at_least_one("seeds", "epochs", "batch_size", "eval_every")
        if self.epochs % self.eval_every:
            raise ValueError(
                "`epochs` should be a multiple of `eval_every`. "
                f"Found {self.epochs} and {self.eval_every}."
            )

    def spelled_out(self, field: str) -> tuple[str, ...]:
        """The methods that a field names, in full.

        Raises:
          ValueError: one is unknown; it lists those that are known.
        """
        names = spelled_out(getattr(self, field), getattr(type(self), field))
        check_names(field, names, self.KNOWN)
        return names


def say(config: Options, text: str) -> None:
    """A line on stderr, unless told to be quiet."""
    if not config.quiet:
        print(text, file=sys.stderr)
