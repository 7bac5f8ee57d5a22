"""Smooth Tchebycheff: the largest loss counts, softly."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax._types import Number
from auxjax.jacobian import is_traced
from auxjax.weighting._alias import summed
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import (
    Vector,
    check_at_least,
    check_num_tasks,
    check_positive,
    need_losses,
    vector,
    weight_dtype,
)
from auxjax.weighting._tasks import is_positive, log_of, softmax


class STCHState(NamedTuple):
    """State of `scale_by_stch`."""

    weights: jax.Array  # [T] float, those of the last update
    steps: jax.Array  # [T] int32, steps of the warm-up made
    nadir: jax.Array  # [T] float, given or measured; ideal + 1 where there is none
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_stch(
    num_tasks: int = 2,
    *,
    mu: Number = 1.0,
    preference: Vector = None,
    ideal: Vector = None,
    nadir: Vector = None,
    log: bool = False,
    warmup: int = 0,
    nadir_steps: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales the rows so that their sum is the gradient of a smooth maximum.

        S = μ log Σᵢ exp(λᵢ fᵢ / μ),   ∂S/∂fᵢ = λᵢ softmax(λf / μ)ᵢ
        fᵢ = Lᵢ − z*ᵢ,   or (Lᵢ − z*ᵢ) / (nadirᵢ − z*ᵢ),   or the log of that

    As μ → 0 it becomes maxᵢ λᵢfᵢ, which reaches every Pareto optimum by a choice of λ;
    as μ → ∞ the plain mean. It is for losses that are alike in size, hence the nadir,
    a bad value of each loss that is measured or given.

    **The authors' recipe for networks** is `log=True` with a warm-up: train on Σ log Lᵢ
    for `warmup` steps, take the mean losses at its end as nadir, then go on with
    f = log(L / nadir). In it a loss at or below z* has no logarithm: it is left out
    of the maximum, and its row is passed on unscaled for that step. The same goes for
    any loss that is NaN or infinite.

    Args:
      num_tasks: T, main task included.
      mu: μ, how smooth the maximum is.
      preference: λ `[T]`, at or above 0; None: 1/T each.
      ideal: z* `[T]`, a lower bound of each loss; None: 0.
      nadir: `[T]`, above `ideal`; None: measured if there is a warm-up, else none.
      log: take the logarithm of each loss, relative to the nadir.
      warmup: steps at the start whose rows are scaled by 1/(Lᵢ − z*ᵢ), ∇ log.
      nadir_steps: measure the nadir over so many of the warm-up's last steps, an epoch
        in the paper; None: over all of them.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` `[T]` are those that
      the last step was made with. Price: none of its own. Stacked gradients need
      `losses=` `[T]` as an extra argument of the update. An absent task's warm-up
      waits for it, and the maximum is over those present.

    Raises:
      ValueError: for num_tasks < 2, μ not above 0, a vector of another length, a
        negative preference, a nadir not above `ideal`, a warm-up without `log`, a log
        with neither nadir nor warm-up, or `nadir_steps` outside 1..`warmup`; from the
        update, where the losses are missing.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.scale_by_stch(2, preference=[1.0, 1.0])
      >>> grads, losses = jnp.ones((2, 1)), jnp.log(jnp.array([3.0, 1.0]))
      >>> updates, _ = tx.update(grads, tx.init(jnp.zeros(1)), losses=losses)
      >>> [round(float(x), 4) for x in updates[:, 0]]  # softmax
      [0.75, 0.25]

    References:
      Lin et al., *Smooth Tchebycheff Scalarization for Multi-Objective Optimization*,
      ICML 2024, arXiv 2402.19078, section 3.

    Paper and code:
      | | paper | released code for networks | here |
      |---|---|---|---|
      | f | L − z* | log(L / nadir) | `log=False` |
      | λ | on the simplex | 1 each, all times T | 1/T each |
    """
    check_num_tasks(num_tasks)
    check_positive(mu=mu)
    wishes = vector("preference", preference, 1 / num_tasks, num_tasks)
    if not is_traced(preference) and np.any(wishes < 0):
        raise ValueError(f"`preference` should be at least 0. Found {preference}.")
    best = vector("ideal", ideal, 0.0, num_tasks)
    worst = best + 1 if nadir is None else vector("nadir", nadir, 0.0, num_tasks)
    if not is_traced((ideal, nadir)) and not np.all(worst > best):
        raise ValueError(f"`nadir` should be above `ideal`. Found {nadir}.")
    measured = _check_warmup(log, nadir, warmup, nadir_steps)

    def init_fn(params):
        dtype = weight_dtype(params)
        return STCHState(
            weights=jnp.ones(num_tasks, dtype),
            steps=jnp.zeros(num_tasks, jnp.int32),
            nadir=jnp.asarray(worst, dtype),
        )

    def rule(jac, state, *, present):
        dtype = state.weights.dtype
        values = need_losses(jac, "scale_by_stch").astype(dtype)
        least = jnp.asarray(best, dtype)
        above = values - least
        usable = is_positive(above) if log else jnp.isfinite(above)
        ones = jnp.ones_like(above)
        above = jnp.where(usable, above, ones)
        span = state.nadir - least
        f = log_of(above / span, usable) if log else above / span
        slope = 1 / above if log else 1 / span  # ∂f/∂L

        is_cold = state.steps < warmup
        among = jnp.logical_and(jnp.logical_and(present, usable), ~is_cold)
        wish = jnp.asarray(wishes, dtype)
        logits = wish * f / jnp.asarray(mu, dtype)
        weights = wish * softmax(logits, among) * slope
        weights = jnp.where(among, weights, jnp.where(usable, slope, ones))

        steps = state.steps + jnp.logical_and(is_cold, usable).astype(jnp.int32)
        nth = steps - (warmup - measured)  # which of the steps that are averaged
        averages = jnp.logical_and(jnp.logical_and(is_cold, usable), nth > 0)
        mean = jnp.where(nth > 1, state.nadir, values)  # of the steps before
        mean += (values - mean) / jnp.maximum(nth, 1).astype(dtype)
        nadir_now = jnp.where(averages, mean, state.nadir)
        return weights, STCHState(weights, steps, nadir_now)

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_stch)
def stch():
    """Smooth Tchebycheff, ∇S: `chain(scale_by_stch(...), sum_tasks())`."""


def _check_warmup(
    log: bool, nadir: Vector, warmup: int, nadir_steps: int | None
) -> int:
    """How many steps the nadir is measured over: none where it is given."""
    check_at_least("warmup", warmup, 0)
    if warmup and not log:
        raise ValueError(
            f"`warmup` should be 0 without `log`. Found {warmup}: the warm-up trains "
            "on the logarithms."
        )
    if log and nadir is None and not warmup:
        raise ValueError(
            "`warmup` should be at least 1 with `log` and without `nadir`, which is "
            "measured then. Found 0."
        )
    if nadir_steps is None:
        return warmup if nadir is None else 0
    check_at_least("nadir_steps", nadir_steps, 1)
    if nadir is not None or nadir_steps > warmup:
        raise ValueError(
            f"`nadir_steps` should be at most `warmup`, {warmup}, and only without a "
            f"`nadir`. Found {nadir_steps}."
        )
    return nadir_steps
