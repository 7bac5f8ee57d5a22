"""The table of rules: every rule is in it, and each row holds."""

import dataclasses
import inspect
import re

import jax
import jax.numpy as jnp
import optax
import pytest

import auxjax
from auxjax.rules import AGGREGATOR, KINDS, METHODS, RULES, WEIGHTING, Setting

# Of these two rooms, but not rules.
NO_RULES = {"accumulate_tasks", "selected_helpers", "task_metrics"}
NOBODYS = (
    "equal",
    "fixed",
    "scale_to_sum",
    "select_then_train",
    "sum_tasks",
    "mean_tasks",
)
SETTING = Setting(num_tasks=3, optimizer=optax.sgd(0.1), steps=10)
every_method = pytest.mark.parametrize("name", METHODS)


def rules_of(room):
    """Names of the rules that a facade offers; `scale_by_x` and `x` are one."""
    functions = [
        name
        for name in room.__all__
        if inspect.isfunction(getattr(room, name))
        and not name.endswith(("_weights", "_rows", "_probabilities"))
    ]
    return {name.removeprefix("scale_by_") for name in functions} - NO_RULES


@pytest.mark.parametrize(
    ("room", "kind"),
    [(auxjax.weighting, WEIGHTING), (auxjax.aggregation, AGGREGATOR)],
)
def test_every_rule_of_a_facade_has_a_row_and_every_row_a_rule(room, kind):
    rows = {name for name, method in METHODS.items() if method.kind == kind}
    assert len(rules_of(room)) > 10
    assert rows == rules_of(room)
    assert all(name == method.name for name, method in METHODS.items())


def test_equal_weights_come_first():
    assert next(iter(METHODS)) == "equal"
    assert next(iter(RULES)) == "equal"


@every_method
def test_a_row_says_what_it_should(name):
    method = METHODS[name]
    assert method.title
    assert method.when.endswith(".")
    assert method.when_not.endswith(".")
    assert re.fullmatch(r"T|T \+ 1|\d", method.backward)
    assert re.fullmatch(r"\d", method.tangent)
    assert method.situations
    assert set(method.situations) <= {"main", "all", "many", "rl"}


@every_method
def test_the_paper_is_the_one_that_the_rule_refers_to(name):
    docstrings = [
        getattr(auxjax, function).__doc__
        for function in (name, f"scale_by_{name}", f"{name}_weights")
        if hasattr(auxjax, function)
    ]
    paper = METHODS[name].paper
    if not paper:
        assert name in NOBODYS
        return
    year = re.search(r"\b(19|20)\d\d\b", paper)
    number = re.search(r"arXiv (\d{4}\.\d{5})", paper)
    wanted = number[1] if number else year[0]
    assert any(wanted in docstring for docstring in docstrings)


@every_method
def test_variants_are_the_methods_own(name):
    method = METHODS[name]
    assert method.variants or name == "sum_tasks"  # what `equal` ends in
    for variant, rule in method.variants.items():
        assert variant.split("-")[0] == name
        assert RULES[variant] is rule
        assert rule.kind in KINDS
        assert set(method.takes) <= set(rule.takes)
        assert (rule.kind == AGGREGATOR) == (method.kind == AGGREGATOR)


def test_compositions_are_of_rules():
    names = [name for name in RULES if "+" in name]
    assert len(names) == 9
    assert {part for name in names for part in name.split("+")} <= METHODS.keys()


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_built_from_a_setting(name):
    """Rows that are its own: three tasks, where it wants their number."""
    state = RULES[name](SETTING).init(jnp.zeros(3))
    metrics = auxjax.task_metrics(state)
    if RULES[name].kind != AGGREGATOR and name not in ("log_loss", "scale_to_sum"):
        assert metrics["weights"].shape == (3,)


def test_weights_at_or_above_zero_where_a_setting_says_so():
    """A second task that is the main one's enemy."""
    rows = jnp.array([[1.0, 0.0], [-30.0, 0.0], [0.0, 1.0]])
    for name in ("olaux", "olaux-log"):
        for clip in (False, True):
            setting = dataclasses.replace(SETTING, clip_at_zero=clip)
            tx = RULES[name](setting)
            state = tx.init(jnp.zeros(2))
            for _ in range(40):
                _, state = tx.update(rows, state, jnp.zeros(2), losses=jnp.ones(3))
            weights = auxjax.task_metrics(state)["weights"]
            assert (weights[1] == 0) == clip
            assert (weights[1] < 0) == (not clip)


def test_what_is_learned_goes_about_as_far_in_every_training():
    """Adam's steps are as long as its rate: so many of them make `travel`."""
    for steps, every in ((10, 1), (1000, 1), (1000, 50)):
        setting = Setting(2, optax.identity(), steps, travel=2.0)
        learn = setting.learn(every)
        with jax.numpy_dtype_promotion("standard"):  # Adam counts in integers
            step, _ = learn.update(jnp.ones(()), learn.init(jnp.zeros(())))
        assert float(-step) * steps / every == pytest.approx(2.0, rel=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "`steps` should be at least 1. Found 0."),
        ({"num_tasks": 0}, "`num_tasks` should be at least 1. Found 0."),
        ({"first_losses": (1.0, 2.0)}, "`first_losses` should be 3 numbers, one per"),
        ({"first_losses": (1.0, 0.0, 2.0)}, "`first_losses` should be above 0."),
    ],
)
def test_a_setting_that_no_rule_could_use_is_refused(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(SETTING, **given)
