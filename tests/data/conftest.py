"""No data of this machine's own reaches a test."""

import pytest


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path_factory):
    """A home without data, and no environment variables that name some."""
    for name in ("AUXJAX_DATA", "TFDS_DATA_DIR", "AUXJAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    return home
