"""What OL-AUX's weights follow: how alike the tasks' gradients and the main one are.

Inner products or cosines; of this step, of running means, of another Jacobian.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from auxjax._types import Mask, Number, Params
from auxjax.jacobian import Jacobian, Layout, as_jacobian, is_traced
from auxjax.weighting._checks import check_among, check_at_least, weight_dtype
from auxjax.weighting._cosines import cosine, cosine_of_squares
from auxjax.weighting._history import mean_of_history, push_history, start_history
from auxjax.weighting._tasks import relative_to_main


@dataclasses.dataclass(frozen=True)
class Statistic:
    """What `scale_by_olaux` takes that says what its weights follow."""

    num_tasks: int
    statistic: str = "n_step"
    smoothing: int = 1
    where: Mask | None = None
    inner_products: str = "raw"
    sketch: int | None = None
    sketch_ema: Number = 0.9
    key: Any = None

    def __post_init__(self):
        """A ValueError for what cannot be."""
        check_at_least("smoothing", self.smoothing, 1)
        check_among("statistic", self.statistic, ("n_step", "last_step"))
        check_among("inner_products", self.inner_products, ("raw", "cosine"))
        if not is_traced(self.sketch_ema) and not 0.0 <= self.sketch_ema < 1.0:
            raise ValueError(
                f"`sketch_ema` should be in [0, 1). Found {self.sketch_ema}."
            )
        if self.sketch is None:
            return
        check_at_least("sketch", self.sketch, 1)
        of_every_step = self.statistic == "n_step" and self.smoothing == 1
        if not (self.inner_products == "cosine" and of_every_step):
            raise ValueError(
                '`sketch` should be given with `inner_products="cosine"`, '
                '`statistic="n_step"` and `smoothing=1`. '
                f"Found {self.inner_products!r}, {self.statistic!r} and "
                f"{self.smoothing}."
            )

    @property
    def wants_rows(self) -> bool:
        """Whether rows that are written down are less than what follows."""
        is_of_every_step = self.statistic == "n_step"
        return self.smoothing > 1 or (self.num_tasks == 2 and is_of_every_step)

    def start(self, params: Params) -> dict[str, Any]:
        """The fields of the state that are remembered for it."""
        tasks, smooths = self.num_tasks, self.smoothing > 1
        fields = {
            "history": start_history(params, self.where, tasks, self.smoothing),
            "pushed": jnp.zeros(tasks, jnp.int32) if smooths else None,
        }
        if self.sketch is not None:
            fields["squares"] = jnp.zeros(tasks, weight_dtype(params))
            fields["draws"] = jnp.zeros(tasks, jnp.int32)
            fields["key"] = jax.random.key(0) if self.key is None else self.key
        return fields

    def find(
        self, jac: Jacobian, state: Any, counted: jax.Array, wanted: Any, source: Any
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array], dict[str, Any]]:
        """This step's.

        Args:
          jac: of the step.
          state: the rule's.
          counted: `[T]` (bool), the tasks that are there.
          wanted: [] (bool), whether this step's is used, if it is of the last alone.
          source: another Jacobian to take it of, or what makes one, or None.

        Returns:
          The statistic `[T]`; as `relative_to_main`, whose counts and who spoilt his;
          and the fields of the state that are new.
        """
        if source is not None:
            self._check_it_counts()
        dtype = state.weights.dtype
        if self.sketch is not None:
            return self._sketched(jac, state, counted, dtype)
        fields = {}
        if self.smoothing > 1:
            history, pushed, finite = push_history(
                state.history, jac, self.where, state.pushed, counted
            )
            dots = mean_of_history(history, pushed, self._kept(jac), dtype)
            dots = dots[0] if self.inner_products == "raw" else cosine_of_squares(*dots)
            dots = jnp.where(finite, dots, jnp.nan)
            fields = {"history": history, "pushed": pushed}
        elif self.statistic == "n_step":
            dots = self._alike(jac).astype(dtype)
        else:
            dots = jax.lax.cond(
                wanted,
                lambda: self._alike(self._other(source, jac)).astype(dtype),
                lambda: jnp.zeros(self.num_tasks, dtype),
            )
        return dots, relative_to_main(counted, dots), fields

    def _alike(self, jac: Jacobian) -> jax.Array:
        """Every task and the main one, `[T]`."""
        if self.inner_products == "raw":
            return jac.gramian_row(0, self.where)
        return cosine(jac, self._where(jac))

    def _sketched(self, jac, state, counted, dtype):
        """Cosines by estimates of the squares, averaged over the steps."""
        where = self._where(jac)
        new_key, own = jax.random.split(state.key)
        dots = jac.gramian_row(0, where).astype(dtype)
        drawn = jac.norms(where, sketch=self.sketch, key=own).astype(dtype) ** 2
        among, broken = relative_to_main(counted, dots + drawn)
        decay = jnp.asarray(self.sketch_ema, dtype)
        average = decay * state.squares + (1 - decay) * drawn
        squares = jnp.where(among, average, state.squares)
        draws = state.draws + among.astype(jnp.int32)
        debias = 1 - decay ** jnp.maximum(draws, 1).astype(dtype)
        fields = {"squares": squares, "draws": draws, "key": new_key}
        return cosine_of_squares(dots, squares / debias), (among, broken), fields

    def _where(self, jac: Jacobian) -> Mask:
        """The leaves whose norms count: by default those that are shared."""
        return jac.shared_mask() if self.where is None else self.where

    def _kept(self, jac: Jacobian) -> Any:
        """Which of the leaves in the window count, one bool each; None: all."""
        if self.inner_products == "raw" or self.where is not None:
            return None
        first = jax.tree.map(lambda rows: rows[0], jac.rows())
        return Layout(first).mask(jac.shared_mask())

    def _other(self, source: Any, jac: Jacobian) -> Jacobian:
        """Another Jacobian where one is given, with its own scales."""
        if source is None:
            return jac
        other = source() if callable(source) else source
        return as_jacobian(other, num_tasks=self.num_tasks)

    def _check_it_counts(self) -> None:
        """A `statistic_jacobian` that would be ignored is a mistake."""
        if self.statistic == "n_step" or self.smoothing > 1:
            raise ValueError(
                '`statistic_jacobian` should be given with `statistic="last_step"` and '
                f"`smoothing=1` only. Found {self.statistic!r} and {self.smoothing}."
            )
