"""The methods that the paper compares: a rule each, and what its update is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax.aggregation import sum_tasks
from auxjax.jacobian import task_jacobian
from auxjax.weighting import gcs, olaux, scale_by_log_loss

if TYPE_CHECKING:
    from auxjax.rl._config import A2CConfig


class A2CMethod(NamedTuple):
    """A rule, and what the agent hands to it beside the Jacobian of the rollout.

    The agent knows no method by name. A rule that asks for more than the Jacobian
    brings the two functions; `olaux-ablation` is one that does.

    Attributes:
      rule: Jacobian → gradient: any chain of `auxjax` rules that ends in an aggregator.
      start: `rollout -> past`: what is kept between updates, before the first one. The
        rollout says shapes alone, its leaves are `jax.ShapeDtypeStruct`.
      hand_over: `(past, rollout, params, losses) -> (past, extra)`, in every update:
        `extra` is what the rule's update takes, by name; `losses(params, rollout)` are
        the tasks' losses of any rollout `[T, N, ...]`.

    Example:
      >>> import auxjax
      >>> from auxjax.rl import A2CConfig, make_train
      >>> def hand_over(last, rollout, params, losses):  # Auto-λ wants other data's
      ...     return rollout, {"meta_losses": lambda params: losses(params, last)}
      >>> rule = auxjax.scale_by_autolambda(optax.sgd(1e-3), num_tasks=2)
      >>> rule = optax.chain(rule, auxjax.sum_tasks())
      >>> method = A2CMethod(rule, lambda x: jax.tree.map(jnp.zeros_like, x), hand_over)
      >>> config = A2CConfig(env="Probe-Action", aux=("inverse",), num_envs=4,
      ...                    rollout_length=2, frames=16, features=8, hidden=8)
      >>> _, metrics = jax.jit(make_train(config, method))(jax.random.key(0))
      >>> bool((metrics.weights[1] != metrics.weights[0]).any())
      True
    """

    rule: optax.GradientTransformationExtraArgs
    start: Callable[[Any], Any] = lambda rollout: None
    hand_over: Callable[..., tuple[Any, dict[str, Any]]] = lambda past, *_: (past, {})


def make_method(config: A2CConfig) -> A2CMethod:
    """What `config.method` names.

    All but `single` and `equal` first balance the auxiliary losses by their logarithm
    (OL-AUX, section 4.2). The actor-critic loss is left as it is: it can be negative.
    That `gcs` balances too is our choice: its gate does not depend on it (a positive
    factor leaves the sign alone), and so the methods differ in the weights only.

    Args:
      config: the run.

    Returns:
      The method; its `rule` is the transformation, Jacobian → gradient.

    Example:
      >>> import jax.numpy as jnp
      >>> from auxjax.rl import A2CConfig
      >>> method = make_method(A2CConfig(method="equal", aux=("inverse", "flow")))
      >>> rows = jnp.array([[1.0], [2.0], [4.0]])
      >>> method.rule.update(rows, method.rule.init(jnp.ones(1)))[0].tolist()
      [7.0]
    """
    return _METHODS[config.method](config)


def _balanced(config: A2CConfig, rule: Any) -> optax.GradientTransformationExtraArgs:
    """The rule behind ∇ log(L + offset) for the auxiliary losses."""
    return optax.chain(_balance(config), rule)


def _balance(config: A2CConfig) -> optax.GradientTransformationExtraArgs:
    return scale_by_log_loss("auxiliary", offset=config.log_offset)


def _plain(config: A2CConfig) -> A2CMethod:
    del config
    return A2CMethod(sum_tasks())


def _log_loss(config: A2CConfig) -> A2CMethod:
    return A2CMethod(_balanced(config, sum_tasks()))


def _gcs(config: A2CConfig) -> A2CMethod:
    return A2CMethod(_balanced(config, gcs(num_tasks=len(config.tasks))))


def _olaux(config: A2CConfig, **options: Any) -> A2CMethod:
    known = {"n": config.horizon, "learning_rate": config.beta}
    rule = olaux(
        num_tasks=len(config.tasks),
        clip_at_zero=config.clip_at_zero,
        **{**known, **options},
    )
    return A2CMethod(_balanced(config, rule))


def _olaux1(config: A2CConfig) -> A2CMethod:
    """Section 5.6."""
    return _olaux(config, n=1, learning_rate=config.beta / 5)


def _olaux_ablation(config: A2CConfig) -> A2CMethod:
    """Eq. 4 at every N-th step only, on the last N rollouts side by side."""

    def start(rollout):
        return jax.tree.map(
            lambda x: jnp.zeros((config.horizon, *x.shape), x.dtype), rollout
        )

    def hand_over(past, rollout, params, losses):
        past = jax.tree.map(
            lambda old, new: jnp.concatenate([old[1:], new[None]]), past, rollout
        )

        def rows():  # as the rule sees them; called when the weights move, and not else
            tx: Any = _balance(config)
            jac = task_jacobian(losses, params, _side_by_side(past))
            return tx.update(jac, tx.init(None), None)[0]

        return past, {"statistic_jacobian": rows}

    return A2CMethod(_olaux(config, statistic="last_step").rule, start, hand_over)


def _side_by_side(past: Any) -> Any:
    """Rollouts `[K, T, N, ...]` as one of K times as many environments."""

    def merge(x):
        x = jnp.moveaxis(x, 0, 1)
        return x.reshape(x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:])

    return jax.tree.map(merge, past)


_METHODS: dict[str, Callable[[A2CConfig], A2CMethod]] = {
    "single": _plain,
    "equal": _plain,
    "log_loss": _log_loss,
    "gcs": _gcs,
    "olaux": _olaux,
    "olaux1": _olaux1,
    "olaux-ablation": _olaux_ablation,
}

METHODS = tuple(_METHODS)
"""The methods of OL-AUX's Figures 3 and 6, and equal weights without a logarithm."""

METHOD_ALIASES = {"none": "single", "balance": "log_loss", "cosine": "gcs"}
"""Other words for some of them, as OL-AUX's figures have them."""
