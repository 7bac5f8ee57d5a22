"""The README's example runs as it stands there."""

import re
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp

README = Path(__file__).parents[1] / "README.md"


def test_the_readmes_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    with jax.numpy_dtype_promotion("standard"):  # for Optax's Adam
        exec(compile(code, "README.md", "exec"), names)
    assert names["values"].shape == (2,)
    assert bool(jnp.isfinite(names["values"]).all())


def test_what_the_readme_names_is_there():
    root, text = README.parent, README.read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    scripts = re.findall(r"python (\S+\.py)", text)
    files = [x for x in links if "//" not in x] + scripts
    assert len(files) > 20
    assert [x for x in files if not (root / x).exists()] == []
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    named = re.findall(r'pip install -e "\.\[(.+?)\]"', text)
    asked_for = {extra for names in named for extra in names.split(",")}
    assert {"rl", "test"} <= asked_for <= set(project["optional-dependencies"])
    targets = set(re.findall(r"^([\w-]+):", (root / "Makefile").read_text(), re.M))
    assert {"demo", "test"} <= set(re.findall(r"\bmake ([\w-]+)", text)) <= targets
