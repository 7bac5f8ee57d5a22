"""The page's first example runs as it stands there."""

import re
from pathlib import Path

import jax
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "labelling.md"


@pytest.fixture
def quick_compilation():
    """A program that runs once: compiling it is what takes the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def test_the_first_example_runs(quick_compilation):
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    names = {}
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        exec(compile(code, "labelling.md", "exec"), names)
    assert 0 < float(names["metrics"].accuracy) <= 1
    given = names["method"].labels(
        names["state"], names["data"].images, names["classes"]
    )
    assert (given // 3 == names["classes"]).all()
