"""One call: from a loss function and some batches to what is between the tasks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._types import LossFn, Mask, Params
from auxjax.diagnosis._checks import check_at_least
from auxjax.diagnosis._measure import Sample, measure
from auxjax.diagnosis._monitor import DiagnosisState
from auxjax.diagnosis._result import Diagnosis
from auxjax.jacobian import check_task_mask, task_jacobian


def diagnose(
    losses: LossFn,
    params: Params,
    batches: Iterable[Any],
    *,
    pairs_every: int = 1,
    across_batches: bool = False,
    num_batches: int | None = None,
    task_mask: Callable[[Any], Any] | None = None,
    where: Mask | None = None,
    has_aux: bool = False,
    main: str | None = None,
) -> Diagnosis:
    r"""Measures whether the tasks conflict at these parameters, over some batches.

        effectᵢ = mean ⟨∇L_main, ∇Lᵢ⟩ / mean ‖∇L_main‖²
        tᵢ = √n · mean ⟨∇L_main, ∇Lᵢ⟩ / standard deviation over the n batches

    On one batch, ⟨∇L_main, ∇Lᵢ⟩ holds the noise that both gradients have from the same
    examples: its mean is that of the full gradients plus tr Cov(∇L_main, ∇Lᵢ), which a
    rule that looks at one batch sees as well. `across_batches=True` takes the main
    task's gradient from the batch before: the noises are independent, and the mean is
    that of the full gradients.

    Args:
      losses: `losses(params, batch)`, as in `task_jacobian`.
      params: where.
      batches: a list, a loader, any iterable of batches; or a dict of arrays whose
        first axis is that of the batches.
      pairs_every: measure cosines and norms of all pairs every so many batches; 0:
        never.
      across_batches: take the main task's gradient from the batch before.
      num_batches: stop after so many; None: take all.
      task_mask: from a batch to bools `[T]`, the tasks that have labels there; None:
        all. (A task that is not finite never counts.)
      where: the leaves that count; None: those that at least two losses depend on.
      has_aux: whether `losses` returns `(losses, aux)`.
      main: the main task's name, as in `task_jacobian`.

    Returns:
      A `Diagnosis`. Price for each batch: one backward pass of the main task and one
      tangent pass; T backward passes, with T times the memory of the shared parameters,
      where pairs are measured. It compiles once a call.

    Raises:
      ValueError: where there is no batch (with `across_batches`, fewer than two), or
        for pairs_every < 0, num_batches < 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import auxjax
      >>> def losses(p, x):  # a slope, and noise of the same size
      ...     near, far = p["shared"] - x[0], p["shared"] - x[1]
      ...     return {"main": jnp.sum(near**2), "friend": 2 * jnp.sum(near**2),
      ...             "foe": -3 * jnp.sum(near**2), "stranger": jnp.sum(far * x[2])}
      >>> batches = jax.random.normal(jax.random.key(0), (50, 3, 4))
      >>> found = auxjax.diagnose(losses, {"shared": jnp.ones(4)}, batches)
      >>> found.verdicts()
      ('main task', 'sum', 'train apart', 'unclear')
      >>> print(found)
                effect     t  positive  cosine  norm  verdict
      main      +1.000  +9.8     100 %   +1.00  5.22  main task
      friend    +2.000  +9.8     100 %   +1.00  10.4  sum
      foe       -3.000  -9.8       0 %   -1.00  15.7  train apart
      stranger  -0.044  -1.4      42 %   -0.06  1.92  unclear
      50 batches. Added up, all would raise the main loss.
    """
    check_at_least("pairs_every", pairs_every, 0)
    if num_batches is not None:
        check_at_least("num_batches", num_batches, 1)
    names: list[tuple[str, ...]] = []

    def jacobian(params, batch):
        jac = task_jacobian(losses, params, batch, has_aux=has_aux, main=main)
        names[:] = [jac.names]
        mask = None if task_mask is None else task_mask(batch)
        mask = check_task_mask(mask, jac.num_tasks)
        present = jnp.ones(jac.num_tasks, bool) if mask is None else mask
        return (jac if mask is None else jac.mask(mask)), present

    def sample(params, batch, before, pairs):
        jac, present = jacobian(params, batch)
        if not across_batches:
            return measure(jac, present, where, pairs)
        other, there = jacobian(params, before)
        present = present.at[0].set(present[0] & there[0])
        return measure(jac, present, where, pairs, other)

    program = jax.jit(sample, static_argnums=3)
    samples, pair_batches, before = [], [], None
    for batch in itertools.islice(_one_by_one(batches), num_batches):
        if before is not None or not across_batches:
            pairs = pairs_every > 0 and len(samples) % pairs_every == 0
            pair_batches += [len(samples)] if pairs else []
            samples.append(program(params, batch, before, pairs))
        before = batch if across_batches else None
    if not samples:
        least = "two batches with `across_batches`" if across_batches else "one batch"
        raise ValueError(f"`batches` should hold at least {least}. Found too few.")
    seen = _stack(jax.device_get(samples))
    nonfinite = np.sum(seen.broken, axis=0)
    return _build(
        names[0], seen, np.array(pair_batches, int), nonfinite, across_batches
    )


def diagnosis_of(opt_state: Any, names: Sequence[str] | None = None) -> Diagnosis:
    """The `Diagnosis` of the last batches, from an optimizer's state.

    Args:
      opt_state: a pytree with the state of a `monitor_tasks` in it (the first counts).
      names: the tasks' names; None: `main`, `aux_1`, ….

    Returns:
      A `Diagnosis`, oldest batch first.

    Raises:
      ValueError: where there is no such state, or there are not T names.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> tx = optax.chain(auxjax.monitor_tasks(2, pairs_every=1), auxjax.olaux())
      >>> params, grads = jnp.zeros(2), jnp.array([[1.0, 0.0], [-0.6, 0.8]])  # stacked
      >>> state = tx.init(params)
      >>> for _ in range(9):
      ...     updates, state = tx.update(grads, state, params)
      >>> found = auxjax.diagnosis_of(state, ["policy", "flow"])
      >>> found.cosines.round(2).tolist(), found.conflict_rate.tolist()
      ([[1.0, -0.6], [-0.6, 1.0]], [[0.0, 1.0], [1.0, 0.0]])
      >>> found.verdicts()
      ('main task', 'project')
    """
    leaves = jax.tree.leaves(opt_state, is_leaf=_is_state)
    states = [leaf for leaf in leaves if _is_state(leaf)]
    if not states:
        raise ValueError(
            "`opt_state` should hold the state of a `monitor_tasks`. Found none."
        )
    state = jax.device_get(states[0])
    window, num_tasks = state.inner_products.shape
    if names is None:
        names = ["main", *(f"aux_{i}" for i in range(1, num_tasks))]
    if len(names) != num_tasks:
        raise ValueError(
            f"`names` should be {num_tasks}, one per task. Found {len(names)}."
        )
    count = int(state.count)
    places = np.arange(max(count - window, 0), count) % window
    sample = Sample(state.inner_products[places], state.counted[places], None)
    if state.pair_batches is None:
        return _build(names, sample, np.zeros(0, int), state.nonfinite)
    order = np.argsort(state.pair_batches)
    order = order[state.pair_batches[order] >= 0]
    sample = sample._replace(
        cosines=state.pair_cosines[order],
        norms=state.pair_norms[order],
        paired=state.paired[order],
    )
    return _build(names, sample, state.pair_batches[order], state.nonfinite)


def _is_state(x: Any) -> bool:
    return isinstance(x, DiagnosisState)


def _one_by_one(batches: Any) -> Iterator[Any]:
    if not isinstance(batches, Mapping):
        return iter(batches)
    number = len(jax.tree.leaves(dict(batches))[0]) if batches else 0
    return (jax.tree.map(lambda x, i=i: x[i], batches) for i in range(number))


def _stack(samples: list[Sample]) -> Sample:
    """All batches as one sample, whose arrays have them as their first axis."""
    with_pairs = [x for x in samples if x.cosines is not None]
    fields = {}
    for name in Sample._fields:
        of = with_pairs if name in ("cosines", "norms", "paired") else samples
        fields[name] = np.stack([getattr(x, name) for x in of]) if of else None
    return Sample(**fields)


def _build(
    names: Sequence[str],
    seen: Sample,
    pair_batches: np.ndarray,
    nonfinite: np.ndarray,
    across_batches: bool = False,
) -> Diagnosis:
    """From arrays whose first axis is that of the batches, oldest first."""
    paired, num_tasks = seen.paired, len(names)
    cosines, norms = np.zeros((0, num_tasks, num_tasks)), np.zeros((0, num_tasks))
    if paired is not None:
        both = paired[:, :, None] & paired[:, None, :]
        cosines, norms = _or_nan(seen.cosines, both), _or_nan(seen.norms, paired)
    return Diagnosis(
        names=tuple(names),
        inner_products=_or_nan(seen.inner_products, seen.counted),
        pair_cosines=cosines,
        pair_norms=norms,
        pair_batches=np.asarray(pair_batches),
        nonfinite=np.asarray(nonfinite),
        across_batches=across_batches,
    )


def _or_nan(values: Any, counted: Any) -> np.ndarray:
    return np.where(counted, np.asarray(values, np.float64), np.nan)
