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


@pytest.fixture
def litter():
    """Leaves in every folder what operating systems and editors leave there."""

    def leave(root, *more):
        for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
            for name in ("__MACOSX", ".ipynb_checkpoints", "$RECYCLE.BIN"):
                (folder / name).mkdir()
                for file in ("0.png", *more):
                    (folder / name / file).write_bytes(b"?")
            for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.png", "._0.npy"):
                (folder / name).write_bytes(b"?")

    return leave
