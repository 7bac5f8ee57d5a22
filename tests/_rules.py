"""Every rule, once: how it is made for three tasks and what its update asks for.

The table of rules (`auxjax.rules`) says which rules there are. One that has no options
here is made with its defaults; what it takes beside the number of tasks and the shared
parameters, or promises beyond the others, is a line in `WEIGHTINGS` or `AGGREGATORS`.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import auxjax
from auxjax.rules import METHODS

TASKS, STEPS = 3, 4
TRUNK = {"heads": False, "w": True}
halving = optax.exponential_decay(0.1, transition_steps=1, decay_rate=0.5)


class Rule(NamedTuple):
    make: Callable[[], Any]  # Jacobian → gradient
    rows: Callable[[], Any] | None = None  # Jacobian → Jacobian, of a weighting
    needs: tuple[str, ...] = ()  # extra arguments of the update
    stacked: bool = True  # whether stacked gradients will do
    any_number: bool = False  # whether it takes any number of tasks
    main_is_one: bool = False  # whether the main task's weight is always 1
    draws: bool = False  # whether it draws numbers: others in another precision


def weighting(name, *needs, stacked=True, main=False, draws=False, **options):
    return Rule(
        make=lambda: getattr(auxjax, name)(**options),
        rows=lambda: getattr(auxjax, f"scale_by_{name}")(**options),
        needs=needs,
        stacked=stacked,
        main_is_one=main,
        draws=draws,
    )


def log_loss_then(make, **options):
    return lambda: optax.chain(auxjax.scale_by_log_loss(**options), make())


def scaled_to_sum(stacked=True, **options):
    """Behind weights that follow from the losses."""

    def rows():
        return optax.chain(auxjax.scale_by_gls(TASKS), auxjax.scale_to_sum(**options))

    return Rule(
        make=lambda: optax.chain(rows(), auxjax.sum_tasks()), rows=rows, stacked=stacked
    )


def autolambda(aggregator=None):
    """It holds the optimizer, which it is a gradient of here."""
    tx = auxjax.autolambda(
        optax.sgd(1.0, momentum=0.5),
        aggregator=aggregator,
        num_tasks=TASKS,
        lambda_optimizer=optax.sgd(0.1),
    )
    return optax.chain(tx, optax.scale(-1.0))


def select_then_train():
    """Two steps of search, one back to the start, then training."""
    tx = auxjax.select_then_train(
        optax.sgd(1.0, momentum=0.5),
        search_steps=2,
        num_tasks=TASKS,
        num_labels=(2, 3, 3),
        n=1,
        learning_rate=1.0,
        search_optimizer=optax.sgd(0.1),
    )
    return optax.chain(tx, optax.scale(-1.0))


LAMBDA = "scale_by_autolambda"


def ahead_in_form(parametrisation):
    """Of the logarithm of the main loss."""

    def rows():
        return auxjax.scale_by_autolambda(
            0.1,
            num_tasks=TASKS,
            parametrisation=parametrisation,
            meta_objective="log",
            lambda_optimizer=optax.sgd(1.0),
        )

    return Rule(
        make=lambda: optax.chain(rows(), auxjax.sum_tasks()),
        rows=rows,
        needs=(META,),
        main_is_one=parametrisation == "exp",
    )


all_of = functools.partial(weighting, num_tasks=TASKS)
ahead = functools.partial(all_of, stacked=False)
momentum = optax.sgd(0.02, momentum=0.9)
META, SAMPLES = "meta_losses", "sample_losses"

WEIGHTINGS = {
    "fixed": weighting("fixed", main=True, weights=[1.0, 0.5, -0.3]),
    "equal": all_of("equal", main=True),
    "uncertainty": all_of("uncertainty", optimizer=momentum, classification=[1, 2]),
    "revised_uncertainty": all_of("revised_uncertainty", optimizer=momentum),
    "rlw": all_of("rlw", draws=True),
    "rlw dirichlet": all_of("rlw", distribution="dirichlet", draws=True),
    "gradnorm": all_of("gradnorm", optimizer=optax.sgd(0.01), where=TRUNK),
    "gradnorm sketch": all_of(
        "gradnorm", optimizer=momentum, where=TRUNK, sketch=2, draws=True
    ),
    "stch": all_of("stch", mu=0.5),
    "stch log": all_of("stch", log=True, warmup=2),
    "imtl_l": all_of("imtl_l", optimizer=momentum),
    "famo": all_of("famo", optimizer=optax.adam(0.025)),
    "slgrad": all_of("slgrad", META, SAMPLES, lookahead=0.05),
    "auxilearn": ahead("auxilearn", META, every=2, main=True),
    "auxilearn mlp": ahead("auxilearn", META, every=2, hidden=(3,), draws=True),
    "auxinash": ahead("auxinash", META, every=2, where=TRUNK),
    "olaux": all_of("olaux", n=2, learning_rate=0.1, main=True),
    "olaux last step": all_of(
        "olaux", n=2, learning_rate=0.1, statistic="last_step", where=TRUNK, main=True
    ),
    "olaux smoothing": all_of("olaux", n=1, learning_rate=0.1, smoothing=2, main=True),
    "olaux cosine": all_of(
        "olaux",
        n=2,
        learning_rate=0.5,
        inner_products="cosine",
        where=TRUNK,
        main=True,
    ),
    "olaux exponentiated": all_of(
        "olaux", n=1, learning_rate=0.1, update="exponentiated", main=True
    ),
    "olaux sketch": all_of(
        "olaux",
        n=1,
        learning_rate=0.5,
        inner_products="cosine",
        update="exponentiated",
        where=TRUNK,
        sketch=2,
        main=True,
        draws=True,
    ),
    "gcs": all_of("gcs", where=TRUNK, main=True),
    "gcs weighted": all_of("gcs", weighted=True, where=TRUNK, main=True),
    "gcs atari": all_of(
        "gcs",
        weighted=True,
        threshold=0.02,
        ema=0.9,
        per_layer=True,
        where=TRUNK,
        main=True,
    ),
    "gcs sketch": all_of(
        "gcs", weighted=True, ema=0.9, where=TRUNK, sketch=2, main=True, draws=True
    ),
    "dga": all_of("dga", where=TRUNK, main=True),
    "dga cosine": all_of(
        "dga",
        where=TRUNK,
        main=True,
        inner_products="cosine",
        ema=0.5,
        every=2,
    ),
    "balance_at": all_of("balance_at", where=TRUNK, main=True),
    "balance_at reference": all_of(
        "balance_at", where=TRUNK, reference=2.0, decay=0.5, weights=[1.0, 0.5, 0.5]
    ),
    "metabalance": all_of("metabalance", where=TRUNK, main=True),
    "metabalance whole": all_of(
        "metabalance", per_layer=False, beta=0.5, where=TRUNK, main=True
    ),
    "log_loss": Rule(
        make=log_loss_then(auxjax.sum_tasks),
        rows=auxjax.scale_by_log_loss,
        any_number=True,
    ),
    "log_loss olaux": Rule(
        make=log_loss_then(
            lambda: auxjax.olaux(1, TASKS, halving, clip_at_zero=True),
            tasks="auxiliary",
            offset=0.02,
        ),
        main_is_one=True,
    ),
    "scale_to_sum": scaled_to_sum(num_tasks=TASKS),
    "scale_to_sum heads": scaled_to_sum(
        total=2.0, own_heads=True, num_tasks=TASKS, stacked=False
    ),
    "scale_by_autolambda": Rule(
        make=lambda: optax.chain(WEIGHTINGS[LAMBDA].rows(), auxjax.sum_tasks()),
        rows=lambda: auxjax.scale_by_autolambda(
            0.1, num_tasks=TASKS, tasks_per_step=2, lambda_optimizer=optax.sgd(0.1)
        ),
        needs=(META,),
    ),
    **{f"{LAMBDA} {name}": ahead_in_form(name) for name in ("softmax", "exp")},
    "autolambda": Rule(make=autolambda, needs=(META,)),
    "select_then_train": Rule(make=select_then_train, stacked=False, main_is_one=True),
}


def aggregator(name, *, any_number=True, draws=False, **options):
    return Rule(
        make=lambda: getattr(auxjax, name)(**options),
        any_number=any_number,
        draws=draws,
    )


def around(name, rule, *needs, **options):
    return Rule(
        make=lambda: getattr(auxjax, name)(rule(), num_tasks=TASKS, **options),
        needs=needs,
    )


shared = functools.partial(aggregator, where=TRUNK)
AGGREGATORS = {
    "pcgrad": shared("pcgrad"),
    "periodic": around("periodic", lambda: auxjax.upgrad(where=TRUNK), every=2),
    "periodic pcgrad": around(
        "periodic", lambda: auxjax.pcgrad(where=TRUNK), every=3, weights_ema=0.5
    ),
    "periodic gcs": around(
        "periodic", lambda: WEIGHTINGS["gcs weighted"].make(), every=2
    ),
    "cr_mogm": around("cr_mogm", lambda: auxjax.mgda(where=TRUNK)),
    "gradvac": shared("gradvac", num_tasks=TASKS, any_number=False),
    "sdmgrad": shared("sdmgrad", num_tasks=TASKS, any_number=False, learning_rate=0.1),
    "trimmed_mean": shared("trimmed_mean", fraction=1 / 3),
}


def by_default(method):
    """A rule of the table with no options but those that every rule may have."""
    taken = inspect.signature(getattr(auxjax, method.name)).parameters
    known = {"num_tasks": TASKS, "where": TRUNK}
    options = {name: value for name, value in known.items() if name in taken}
    if method.kind == "weighting":
        return weighting(method.name, *method.takes, draws="key" in taken, **options)
    any_number = "num_tasks" not in taken
    return aggregator(
        method.name, any_number=any_number, draws="key" in taken, **options
    )


for method in METHODS.values():
    room = WEIGHTINGS if method.kind == "weighting" else AGGREGATORS
    if method.name not in room:
        room[method.name] = by_default(method)
RULES = WEIGHTINGS | AGGREGATORS

COMPOSITIONS = [  # some of the weightings, aggregators and optimizers
    ("fixed", "mean_tasks", "sgd"),
    ("equal", "mgda", "momentum"),
    ("uncertainty", "pcgrad", "adam"),
    ("revised_uncertainty", "gradvac", "rmsprop"),
    ("dwa", "graddrop", "clipped"),
    ("rlw", "cagrad", "sgd"),
    ("gradnorm", "imtl_g", "momentum"),
    ("gls", "nash_mtl", "adam"),
    ("stch", "aligned_mtl", "rmsprop"),
    ("imtl_l", "imtl_g", "clipped"),
    ("famo", "upgrad", "sgd"),
    ("slgrad", "dualproj", "momentum"),
    ("auxilearn", "con_fig", "adam"),
    ("auxinash", "fairgrad", "clipped"),
    ("olaux", "sdmgrad", "rmsprop"),
    ("gcs", "cagrad", "adam"),
    ("gcs sketch", "pcgrad", "sgd"),
    ("log_loss", "upgrad", "momentum"),
    ("scale_to_sum", "cagrad", "sgd"),
    ("scale_by_autolambda", "pcgrad", "clipped"),
    ("autolambda", "mgda", "sgd"),
    ("fixed", "periodic pcgrad", "momentum"),
    ("log_loss", "periodic gcs", "sgd"),
]
WHOLE = ("sum_tasks", "select_then_train")  # nothing stands behind these
COMPOSITIONS += [  # and every other weighting, every other aggregator
    (name, "pcgrad", "adam") if method.kind == "weighting" else ("fixed", name, "adam")
    for name, method in METHODS.items()
    if name not in WHOLE and not any(name in chain for chain in COMPOSITIONS)
]
OPTIMIZERS = {
    "sgd": lambda: optax.sgd(0.1),
    "momentum": lambda: optax.sgd(0.1, momentum=0.9),
    "adam": lambda: optax.adam(0.01),
    "rmsprop": lambda: optax.rmsprop(0.01),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.01)),
}


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def start(dtype="float32", seed=0):
    heads = list(draw(seed + 1, TASKS, 2))
    tree = {"w": draw(seed, 3, 2), "heads": heads}
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


def batches(dtype="float32", size=4):
    return jnp.asarray(draw(9, STEPS, size, 3), dtype)


def samples(params, x):
    """Each sample's losses, of three regressions on one hidden layer."""
    z = jnp.tanh(x @ params["w"])
    return [(z @ h - i) ** 2 for i, h in enumerate(params["heads"])]


def losses(params, x):
    return tuple(jnp.mean(loss) for loss in samples(params, x))


def extras(rule, x, losses=losses, samples=samples):
    """What the rule's update asks for; the second batch is made of the first."""
    given = {
        META: lambda p: losses(p, x[::-1] * jnp.asarray(0.9, x.dtype)),
        SAMPLES: lambda p: samples(p, x),
    }
    return {name: given[name] for name in rule.needs}
