"""The methods that the paper compares, each as one transformation."""

from __future__ import annotations

import optax

from auxjax.aggregation import sum_tasks
from auxjax.rl._config import A2CConfig
from auxjax.weighting import gcs, olaux, scale_by_log_loss


def make_rule(config: A2CConfig) -> optax.GradientTransformationExtraArgs:
    """The rule, Jacobian → gradient, of `config.method`.

    All but `none` first balance the auxiliary losses by their logarithm (OL-AUX,
    section 4.2). The actor-critic loss is left as it is: it can be negative. That
    `cosine` balances too is our choice: its gate does not depend on it (a positive
    factor leaves the sign alone), and so the methods differ in the weights only.
    """
    num_tasks, beta, n = len(config.tasks), config.beta, config.horizon
    clip = config.clip_at_zero
    rules = {
        "none": sum_tasks,
        "balance": sum_tasks,
        "cosine": lambda: gcs(num_tasks=num_tasks),
        "olaux": lambda: olaux(n, num_tasks, beta, clip_at_zero=clip),
        "olaux1": lambda: olaux(
            1, num_tasks, beta / 5, clip_at_zero=clip
        ),  # section 5.6
        "olaux-ablation": lambda: olaux(
            n, num_tasks, beta, clip_at_zero=clip, statistic="last_step"
        ),
    }
    return optax.chain(balance(config), rules[config.method]())


def balance(config: A2CConfig) -> optax.GradientTransformationExtraArgs:
    """∇ log(L + offset) for the auxiliary losses."""
    return scale_by_log_loss("auxiliary", offset=config.log_offset)
