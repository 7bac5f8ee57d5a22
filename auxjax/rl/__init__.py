"""Agents, fully jitted: `make_train(config) -> train(key)`."""

from auxjax.rl._a2c import (
    A2CMetrics,
    A2CState,
    Agent,
    make_agent,
    make_train,
    scan_updates,
)
from auxjax.rl._config import AUXILIARY_TASKS, METHODS, A2CConfig
from auxjax.rl._methods import make_rule
from auxjax.rl._returns import advantages

__all__ = [
    "AUXILIARY_TASKS",
    "METHODS",
    "A2CConfig",
    "A2CMetrics",
    "A2CState",
    "Agent",
    "advantages",
    "make_agent",
    "make_rule",
    "make_train",
    "scan_updates",
]
