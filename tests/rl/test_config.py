"""Wrong settings are refused before anything runs, with the name and the value."""

import dataclasses

import numpy as np
import pytest

from auxjax.rl import AUXILIARY_TASKS, METHODS, A2CConfig, make_agent, make_train


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "olaux5"}, "`method` should be one of single, equal.*Found olaux5"),
        ({"aux": ("depth",)}, "`aux` should hold names of forward.*Found depth"),
        (
            {"aux": ("flow", "inverse", "flow")},
            "`aux` should name each task once. Found flow inverse flow",
        ),
        ({"aux": ()}, "`aux` should name at least one task for method olaux"),
        ({"num_envs": 0}, "`num_envs` should be at least 1. Found 0"),
        ({"rollout_length": 0}, "`rollout_length` should be at least 1. Found 0"),
        ({"frames": 0}, "`frames` should be at least 1. Found 0"),
        ({"horizon": 0}, "`horizon` should be at least 1. Found 0"),
        ({"features": 0}, "`features` should be at least 1. Found 0"),
        ({"hidden": -3}, "`hidden` should be at least 1. Found -3"),
        ({"discount": 1.1}, r"`discount` should be in \[0, 1\]. Found 1.1"),
        ({"gae_lambda": -0.1}, r"`gae_lambda` should be in \[0, 1\]. Found -0.1"),
        ({"learning_rate": 0.0}, "`learning_rate` should be above 0. Found 0.0"),
        ({"log_offset": -1.0}, "`log_offset` should be at least 0. Found -1.0"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_a_wrong_setting(changes, message):
    with pytest.raises(ValueError, match=message):
        A2CConfig(**changes)


@pytest.mark.parametrize("build", [make_agent, make_train])
def test_an_unknown_world(build):
    with pytest.raises(ValueError, match="Found 'Breakout-Minatar'") as caught:
        build(A2CConfig(env="Breakout-Minatar"))
    assert "Did you mean 'Breakout-MinAtar'?" in str(caught.value)


@pytest.mark.parametrize("task", ["egomotion", "flow"])
def test_a_task_that_needs_pictures(tiny, task):
    config = tiny(env="Probe-Action", aux=("inverse", task))
    with pytest.raises(ValueError) as caught:
        make_agent(config)
    assert f"The auxiliary task `{task}` needs images" in str(caught.value)
    assert "shape (1,) in Probe-Action" in str(caught.value)
    # The main task alone does not look at `aux`.
    make_agent(dataclasses.replace(config, method="single"))


def test_tasks(tiny):
    for method in METHODS:
        tasks = tiny(method=method, aux=("flow", "inverse")).tasks
        assert tasks == (
            ("main",) if method == "single" else ("main", "flow", "inverse")
        )
    assert tiny(method="single", aux=()).tasks == ("main",)


@pytest.mark.parametrize(
    ("word", "name"), [("none", "single"), ("balance", "log_loss"), ("cosine", "gcs")]
)
def test_the_papers_words_for_methods(tiny, word, name):
    assert tiny(method=word) == tiny(method=name)
    assert tiny(method=word).method == name


def test_by_default_a_world_gets_every_task_that_it_can_have():
    assert A2CConfig().aux == AUXILIARY_TASKS
    assert A2CConfig(env="Probe-Image").aux == AUXILIARY_TASKS
    for env in ("brax/ant", "Probe-Action"):
        assert A2CConfig(env=env).aux == ("forward", "inverse", "autoencoder")


@pytest.mark.usefixtures("unchecked_types")
def test_numbers_of_numpy_are_numbers():
    sizes = {"num_envs": 2, "rollout_length": 4, "frames": 16, "horizon": 3}
    config = A2CConfig(**{name: np.int64(x) for name, x in sizes.items()})
    assert config == A2CConfig(**sizes)
    assert all(type(getattr(config, name)) is int for name in sizes)
    with pytest.raises(ValueError, match=r"`frames` should be an integer. Found '1e6'"):
        A2CConfig(frames="1e6")
    with pytest.raises(ValueError, match=r"`main_coef` should be finite. Found inf"):
        A2CConfig(main_coef=np.float32("inf"))
