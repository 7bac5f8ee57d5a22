"""DGA: a mixture of helpers whose gradients align with the main task's."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Array, Float, Mask, Number
from auxjax.jacobian import Jacobian
from auxjax.weighting._alias import summed
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import (
    check_among,
    check_at_least,
    check_decay,
    check_finite,
    check_not_negative,
    check_num_tasks,
    check_positive,
    check_share,
    weight_dtype,
)
from auxjax.weighting._cosines import cosine
from auxjax.weighting._shares import exponentiated, keep_together
from auxjax.weighting._tasks import relative_to_main


class DGAState(NamedTuple):
    """State of `scale_by_dga`."""

    count: jax.Array  # [] int32, updates made
    weights: jax.Array  # [T] float, those of the last update
    logits: jax.Array  # [T] float, log α, however small; the main task's is 0, unused
    mixture: jax.Array  # [T] float, moving average of α; the main task's is 0
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_dga(
    num_tasks: int = 2,
    *,
    learning_rate: Number = 0.1,
    inner_products: str = "raw",
    ema: Number = 0.0,
    every: int = 1,
    total: Number | None = None,
    main_weight: Number = 1.0,
    where: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Mixes auxiliary tasks by how their gradients align with the main task's.

        αᵢ ← αᵢ exp(η ⟨∇L_main, ∇Lᵢ⟩) / Σⱼ αⱼ exp(η ⟨∇L_main, ∇Lⱼ⟩)
        ᾱᵢ ← d ᾱᵢ + (1 − d) αᵢ,   wᵢ = `total` · ᾱᵢ

    over the auxiliary tasks; α begins uniform. It is mirror descent on the main loss
    after a step along the mixture: to first order a step of length ρ lowers it by
    ρ Σᵢ αᵢ ⟨∇L_main, ∇Lᵢ⟩. So αᵢ is a softmax of what the inner products sum to, and
    the average d forgets the noise of single batches. With one auxiliary task there is
    nothing to mix: w is `total`.

    η goes with the square of the gradients' size: put `scale_by_log_loss` before it, or
    take cosines. Nobody's weight falls below 0, and all of them share `total`: unlike
    OL-AUX's weights they are relative.

    **As sampling probabilities**, which is what the paper does with domains of data,
    see `dga_probabilities`: batches are drawn by them, and this rule sees a small
    batch of every domain now and then.

    A task that is absent (`task_mask=`) or not finite keeps its share, and the others
    keep what they share together; so do all of them while the main task is.

    Args:
      num_tasks: T, main task included.
      learning_rate: η.
      inner_products: `"raw"`, or `"cosine"`: divided by both gradients' norms.
      ema: d, in [0, 1).
      every: take inner products in every so many updates only.
      total: what the auxiliary weights sum to; None: T − 1, their mean is then 1.
      main_weight: the main task's own; 0 trains on the mixture alone.
      where: the leaves that count; None: those that at least two losses depend on.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` are `[T]`, those that
      the step is made with. Price: one backward pass of the main task and one tangent
      pass, in every `every`-th update; with cosines T backward passes more.

    Raises:
      ValueError: for num_tasks < 2, `every` < 1, another word for `inner_products`, d
        outside [0, 1), `total` ≤ 0, a `main_weight` below 0, or η that is not finite.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.scale_by_dga(3, learning_rate=1.0)
      >>> grads = jnp.array([[1.0, 0.0], [1.0, 1.0], [-1.0, 1.0]])
      >>> _, state = tx.update(grads, tx.init(jnp.zeros(2)))
      >>> [round(float(w), 3) for w in state.weights]  # 2 softmax(1, -1)
      [1.0, 1.762, 0.238]

    References:
      Fan, Grangier, Ablin, *Dynamic Gradient Alignment for Online Data Mixing*, 2024,
      arXiv 2410.02498. The update is derived here from what its abstract and summaries
      say (online alignment of gradients, exponentiated weights, a moving average of
      them); no equation of it is quoted.

    Paper and code:
      | | paper | here |
      |---|---|---|
      | what α does | draws domains of data | weighs; `dga_probabilities` draws |
      | the specific task | is never trained on | `main_weight=1.0` |
      | Σ w | 1 | `total=None`: T − 1 |
    """
    check_num_tasks(num_tasks)
    check_finite(learning_rate=learning_rate)
    check_among("inner_products", inner_products, ("raw", "cosine"))
    check_decay(ema=ema)
    check_at_least("every", every, 1)
    check_not_negative(main_weight=main_weight)
    if total is not None:
        check_positive(total=total)
    whole = num_tasks - 1 if total is None else total

    def weigh(mixture):
        dtype = mixture.dtype
        w = jnp.asarray(whole, dtype) * mixture
        return w.at[0].set(jnp.asarray(main_weight, dtype))

    def init_fn(params):
        dtype = weight_dtype(params)
        even = jnp.full(num_tasks, 1 / (num_tasks - 1), dtype).at[0].set(0)
        return DGAState(
            count=jnp.zeros((), jnp.int32),
            weights=weigh(even),
            logits=jnp.log(even.at[0].set(1)),
            mixture=even,
        )

    def rule(jac, state, *, counted):
        mask = jac.shared_mask() if where is None else where
        dtype = state.weights.dtype
        is_due = state.count % every == 0

        def ask():
            return _likeness(jac, mask, inner_products).astype(dtype)

        if every == 1:
            dots = ask()
        else:
            dots = jax.lax.cond(is_due, ask, lambda: jnp.zeros(num_tasks, dtype))
        among, broken = relative_to_main(counted, dots)
        moves = jnp.logical_and(among, is_due).at[0].set(False)

        rate = jnp.asarray(learning_rate, dtype)
        logits = exponentiated(state.logits, rate * dots, moves)
        decay = jnp.asarray(ema, dtype)
        mixed = decay * state.mixture + (1 - decay) * jnp.exp(logits)
        mixture = keep_together(mixed, state.mixture, moves)
        weights = weigh(mixture)
        new_state = DGAState(state.count + 1, weights, logits, mixture, broken)
        return jac.scale(weights), new_state

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_dga)
def dga():
    """DGA as an update: `optax.chain(scale_by_dga(...), sum_tasks())`."""


def dga_probabilities(
    opt_state: Any, *, main_share: Number = 0.0
) -> Float[Array, " T"]:
    r"""How often to draw each task's (or domain's) data, by the mixture of `dga`.

    p₀ = `main_share`, and pᵢ = (1 − `main_share`) ᾱᵢ for the others: then a batch's
    plain mean of losses is the mixture, and no weights are needed.

    Args:
      opt_state: a `DGAState`, or a pytree that holds one: an optimizer's state.
      main_share: the share of the main task's own data; 0, as in the paper: it is
        looked at, and never trained on.

    Returns:
      p `[T]`, which sum to 1.

    Raises:
      ValueError: where there is no `DGAState`, or more than one, or for a
        `main_share` outside [0, 1].

    Example:
      The rule looks at a few samples of every domain; batches are drawn by it:

      >>> import jax
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> centers = jnp.array([1.0, 1.2, -3.0])  # of the main data and two domains
      >>> def losses(mu, x):
      ...     return 0.5 * (mu - x) ** 2  # one sample of each, [3]
      >>> look = auxjax.scale_by_dga(3, learning_rate=0.1, ema=0.5)
      >>> mu = jnp.array(0.0)
      >>> state = look.init(mu)
      >>> for key in jax.random.split(jax.random.key(0), 30):
      ...     seen, which, noise = jax.random.split(key, 3)
      ...     x = centers + 0.1 * jax.random.normal(seen, (3,))
      ...     _, state = look.update(auxjax.task_jacobian(losses, mu, x), state, mu)
      ...     p = auxjax.dga_probabilities(state)
      ...     domains = jax.random.choice(which, 3, (8,), p=p)  # the next batch's
      ...     batch = centers[domains] + 0.1 * jax.random.normal(noise, (8,))
      ...     mu = mu - 0.1 * jnp.mean(mu - batch)
      >>> bool(p[1] > 0.75), round(float(jnp.sum(p)), 3)
      (True, 1.0)

    References:
      Fan, Grangier, Ablin, arXiv 2410.02498.
    """
    check_share(main_share=main_share)

    def is_state(node):
        return isinstance(node, DGAState)

    found = [x for x in jax.tree.leaves(opt_state, is_leaf=is_state) if is_state(x)]
    if len(found) != 1:
        raise ValueError(
            "`opt_state` should hold one `DGAState`, of `dga` or `scale_by_dga`. "
            f"Found {len(found)}."
        )
    mixture = found[0].mixture
    share = jnp.asarray(main_share, mixture.dtype)
    return ((1 - share) * mixture / jnp.sum(mixture)).at[0].set(share)


def _likeness(jac: Jacobian, mask: Mask, inner_products: str) -> jax.Array:
    """⟨∇L_main, ∇Lᵢ⟩ or cosines `[T]`."""
    if inner_products == "cosine":
        return cosine(jac, mask)
    return jac.gramian_row(0, mask)
