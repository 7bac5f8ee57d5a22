"""Agents, fully jitted: `make_train(config) -> train(key)`, and PPO's like it."""

from auxjax.rl._a2c import (
    A2CMetrics,
    A2CState,
    Agent,
    make_agent,
    make_train,
    scan_updates,
)
from auxjax.rl._config import AUXILIARY_TASKS, A2CConfig
from auxjax.rl._gae import gae
from auxjax.rl._methods import METHOD_ALIASES, METHODS, A2CMethod, make_method
from auxjax.rl._policy import Policy, make_policy
from auxjax.rl._ppo import PPO, PPOReport, PPOState, make_ppo, make_ppo_train
from auxjax.rl._ppo_config import PPOConfig
from auxjax.rl._ppo_loss import PPOBatch, PPOMetrics, clipped_objective, ppo_loss
from auxjax.rl._ppo_networks import ActorCritic, actor_critic, factored_categorical
from auxjax.rl._ppo_update import PPOLearner, init_learner, make_ppo_update
from auxjax.rl._returns import advantages

__all__ = [
    "AUXILIARY_TASKS",
    "METHODS",
    "METHOD_ALIASES",
    "PPO",
    "A2CConfig",
    "A2CMethod",
    "A2CMetrics",
    "A2CState",
    "ActorCritic",
    "Agent",
    "PPOBatch",
    "PPOConfig",
    "PPOLearner",
    "PPOMetrics",
    "PPOReport",
    "PPOState",
    "Policy",
    "actor_critic",
    "advantages",
    "clipped_objective",
    "factored_categorical",
    "gae",
    "init_learner",
    "make_agent",
    "make_method",
    "make_policy",
    "make_ppo",
    "make_ppo_train",
    "make_ppo_update",
    "make_train",
    "ppo_loss",
    "scan_updates",
]
