"""The README's diff runs before and after, and what it names is there."""

import re
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text()


def side_of(diff, sign):
    """What a diff has without this sign's other: "-" is before, "+" after."""
    return "\n".join(line[1:] for line in diff.splitlines() if line[:1] in (sign, " "))


def train(code, steps):
    """The names that the loop's code leaves behind, after so many steps."""
    code += f"\nbatch = jnp.ones((8, 3)), jnp.ones(8)\nfor _ in range({steps}):"
    code += "\n    params, opt_state = step(params, opt_state, batch)"
    names = {}
    with jax.numpy_dtype_promotion("standard"):  # for Optax's Adam
        exec(compile(code, "README.md", "exec"), names)
    return names


@pytest.fixture(scope="module")
def diff():
    (found,) = re.findall(r"```diff\n(.*?)```", TEXT, re.DOTALL)
    return found


def test_the_diff_is_three_lines_and_an_import(diff):
    new = [line for line in diff.splitlines() if line.startswith("+")]
    assert len(new) == 4
    assert new[0] == "+import auxjax"
    assert sum(line.startswith("-") for line in diff.splitlines()) == 3


def test_both_loops_run_and_the_new_one_has_weights(diff):
    plain, new = (train(side_of(diff, sign), steps=10) for sign in "-+")
    assert "auxjax" not in plain
    weights = optax.tree.get(new["opt_state"], "weights")
    assert weights.shape == (2,)
    assert weights[0] == 1
    assert weights[1] != 1  # it has learned
    for names in (plain, new):
        leaves = jax.tree.leaves(names["params"])
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in leaves)


def test_while_its_weights_are_one_the_new_loop_is_the_plain_one(diff):
    plain, new = (train(side_of(diff, sign), steps=4) for sign in "-+")  # n is 5
    for name, value in plain["params"].items():
        np.testing.assert_allclose(value, new["params"][name], rtol=1e-5)


def test_what_the_readme_names_is_there():
    root = README.parent
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXT)
    scripts = re.findall(r"python (\w+/\w+\.py)", TEXT)
    scripts += [f"experiments/{x}" for x in re.findall(r", `(\w+\.py)` \|", TEXT)]
    files = [x for x in links if "//" not in x] + scripts
    assert len(files) > 30
    assert [x for x in files if not (root / x).exists()] == []
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    asked_for = set(",".join(re.findall(r'"\.\[(.+?)\]"', TEXT)).split(","))
    assert {"rl", "test"} <= asked_for <= set(project["optional-dependencies"])
    targets = set(re.findall(r"^([\w-]+):", (root / "Makefile").read_text(), re.M))
    assert {"demo", "test"} <= set(re.findall(r"\bmake ([a-z-]+)\b", TEXT)) <= targets


def test_every_experiment_is_in_a_table():
    root, table = README.parent, "\n".join(re.findall(r"^\|.*\|$", TEXT, re.M))
    scripts = [x.name for x in (root / "experiments").glob("*.py")]
    scripts = [x for x in scripts if not x.startswith("summarise")]
    assert scripts
    assert [x for x in scripts if f"`{x}`" not in table] == []


def test_every_rule_in_its_table_is_there():
    """The chooser lists all rules; it is made from the table of rules, this is not."""
    part = TEXT.split("\n## The rules\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\|.*\|$", part, re.M)[2:]
    named = [x for row in rows for x in re.findall(r"`(\w+)\b", row)]
    assert len(named) > 30
    assert [x for x in named if x not in auxjax.__all__] == []


def test_it_is_one_page():
    assert len(TEXT.splitlines()) <= 100
