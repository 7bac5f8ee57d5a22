import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("toy_run.py")


@pytest.fixture(scope="session")
def toy():
    spec = importlib.util.spec_from_file_location("toy_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def whole(toy, tmp_path_factory):
    """The toy run that nothing disturbed: its state and the bytes of its metrics."""
    path = tmp_path_factory.mktemp("whole") / "run"
    state = toy.go(path)
    return state, (path / "metrics.jsonl").read_bytes()
