"""Auxiliary tasks that are generated: RL-AUX, WA-RL, MAXL, WA-MAXL, and baselines.

Each image gets an auxiliary label out of the ψ that belong to its main class, and the
main network learns both. Who makes the labels is the question:

| | |
|---|---|
| `make_method(config, ...)` | any method, in one training loop: `METHODS` |
| `LabellingEnv` | training as an environment: `reset`, `step`, `step_batch` |
| `gymnasium_env` | the same for agents that speak Gymnasium |
| `make_rl_aux`, `make_maxl` | the agent and the label network, without the loop |
| `label_gradient` | how labels change a loss one step ahead, exactly |
"""

from auxjax.labelling._config import METHODS, LabellingConfig
from auxjax.labelling._environment import (
    EnvParams,
    EnvState,
    LabellingEnv,
    Observation,
)
from auxjax.labelling._episode import EpisodeConfig
from auxjax.labelling._gymnasium import gymnasium_env
from auxjax.labelling._hierarchy import (
    Hierarchy,
    check_labels,
    human_labels,
    masked_softmax,
)
from auxjax.labelling._kmeans import kmeans, nearest_centre
from auxjax.labelling._label_gradient import LabelGradient, label_gradient
from auxjax.labelling._labellers import (
    LabelData,
    Labeller,
    Made,
    human_labeller,
    kmeans_labeller,
    random_labeller,
)
from auxjax.labelling._losses import (
    batch_entropy,
    focal_loss,
    focal_loss_of_logits,
    label_use,
    weight_factor,
    weight_scale,
)
from auxjax.labelling._main import MainBatch, MainMetrics, MainState, MainTask
from auxjax.labelling._maxl import MAXLState, make_maxl, maxl_gradient
from auxjax.labelling._methods import Method, MethodMetrics, MethodState, make_method
from auxjax.labelling._network import Network, NetworkLike, agent, many_headed
from auxjax.labelling._rl_aux import environment, make_rl_aux

__all__ = [
    "METHODS",
    "EnvParams",
    "EnvState",
    "EpisodeConfig",
    "Hierarchy",
    "LabelData",
    "LabelGradient",
    "Labeller",
    "LabellingConfig",
    "LabellingEnv",
    "MAXLState",
    "Made",
    "MainBatch",
    "MainMetrics",
    "MainState",
    "MainTask",
    "Method",
    "MethodMetrics",
    "MethodState",
    "Network",
    "NetworkLike",
    "Observation",
    "agent",
    "batch_entropy",
    "check_labels",
    "environment",
    "focal_loss",
    "focal_loss_of_logits",
    "gymnasium_env",
    "human_labeller",
    "human_labels",
    "kmeans",
    "kmeans_labeller",
    "label_gradient",
    "label_use",
    "make_maxl",
    "make_method",
    "make_rl_aux",
    "many_headed",
    "masked_softmax",
    "maxl_gradient",
    "nearest_centre",
    "random_labeller",
    "weight_factor",
    "weight_scale",
]
