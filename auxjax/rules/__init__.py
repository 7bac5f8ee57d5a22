"""Every rule of auxjax by name: whose it is, when to use it, and how it is built.

`RULES[name](setting)` is a whole optimizer: the rule in front of `setting.optimizer`,
or around it. A name is that of the function in `auxjax`; a variant follows after a
hyphen (`gcs-weighted`), what is chained after a plus (`dwa+pcgrad`).

>>> import optax
>>> from auxjax.rules import METHODS, RULES, Setting
>>> setting = Setting(num_tasks=3, optimizer=optax.adam(1e-3), steps=1000)
>>> tx = RULES["cagrad"](setting)
>>> RULES["autolambda-all"].takes
('meta_losses',)
>>> METHODS["cagrad"].when
'You care about the mean loss, but want no task left behind on the way.'

What a rule learns beside the network and its paper learns slowly (Auto-λ's λ,
uncertainty's variances, IMTL-L's scales, AuxiLearn's network) is learned by Adam at the
rate `travel / steps`, so that it gets about as far in a short training as in the
paper's. Everything else has its default. Nothing was tuned for any rule.
"""

from auxjax.rules._rule import (
    AGGREGATOR,
    AUXILIARY,
    COMPOSITION,
    KINDS,
    WEIGHTING,
    Method,
    Rule,
    Setting,
)
from auxjax.rules._table import METHODS, RULES

__all__ = [
    "AGGREGATOR",
    "AUXILIARY",
    "COMPOSITION",
    "KINDS",
    "METHODS",
    "RULES",
    "WEIGHTING",
    "Method",
    "Rule",
    "Setting",
]
