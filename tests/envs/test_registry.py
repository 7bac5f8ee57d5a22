"""Names: all of them lead somewhere, wrong ones lead to the right one."""

import sys

import pytest

from auxjax.envs import VectorEnv, from_gymnax, make, make_probe, names


def test_the_names_are_listed_once_each():
    assert len(set(names())) == len(names())
    for name in ("Seaquest-MinAtar", "ALE/Pong-v5", "brax/ant", "Probe-Image"):
        assert name in names()


@pytest.mark.parametrize("name", [n for n in names() if not n.startswith("brax/")])
def test_every_name_makes_its_world(name):
    env = make(name, 2)
    assert isinstance(env, VectorEnv)
    assert (env.name, env.num_envs) == (name, 2)
    assert env.is_image == (len(env.observation_shape) == 3)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("Breakout-Minatar", "Breakout-MinAtar"),
        ("freeway-minatar", "Freeway-MinAtar"),
        ("ALE/MontezumasRevenge-v5", "ALE/MontezumaRevenge-v5"),
        ("brax/humanoids", "brax/humanoid"),
        ("Probe-Actions", "Probe-Action"),
    ],
)
def test_a_wrong_name_is_answered_with_the_closest(wrong, right):
    with pytest.raises(ValueError, match=f"Did you mean '{right}'") as error:
        make(wrong, 1)
    assert f"Found '{wrong}'" in str(error.value)
    assert "Breakout-MinAtar, Asterix-MinAtar" in str(error.value)


def test_even_an_empty_name_is_answered():
    with pytest.raises(ValueError, match="Found ''"):
        make("", 1)


def test_the_adapters_check_names_too():
    with pytest.raises(ValueError, match="Did you mean 'Seaquest-MinAtar'"):
        from_gymnax("Seaquest")
    with pytest.raises(ValueError, match="Did you mean 'Probe-Truncation'"):
        make_probe("Truncation")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("Breakout-MinAtar", "gymnax", "rl"),
        ("ALE/Pong-v5", "ale_py", "rl"),
        ("brax/ant", "brax", "brax"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, name, package, extra):
    for module in list(sys.modules):
        if module.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError) as error:
        make(name, 1)
    assert f"needs `{package}`, which is not installed" in str(error.value)
    assert f'pip install "auxjax[{extra}]"' in str(error.value)


def test_an_empty_vector_is_refused():
    with pytest.raises(
        ValueError, match=r"`num_envs` should be at least 1\. Found -1\."
    ):
        make("Probe-Action", -1)
