import dataclasses
import json
import os
import platform
import subprocess
from pathlib import Path

import jax
import pytest

from auxjax import run
from auxjax.run import _describe


@dataclasses.dataclass(frozen=True)
class Empty:
    """Nothing."""


def test_machine():
    found = run.machine()
    assert found["jax"] == jax.__version__
    assert found["device"] == "cpu"
    assert found["devices"] == 8
    assert found["python"] == platform.python_version()
    assert 1 <= found["cores"] <= os.cpu_count()
    assert found["cpu"]
    text = json.dumps(found)
    assert platform.node() not in text
    assert str(Path.home()) not in text


def answer(monkeypatch, answers):
    """Lets git answer as told: its command's name -> (exit status, words)."""

    def ask(command, **_):
        assert command[:3] == ["git", "--no-optional-locks", "-C"]
        code, words = answers[command[4]]
        return subprocess.CompletedProcess(command, code, stdout=words)

    monkeypatch.setattr(subprocess, "run", ask)


@pytest.fixture
def afresh():
    """The commit is asked for anew."""
    _describe.first_commit.cache_clear()
    yield
    _describe.first_commit.cache_clear()


@pytest.mark.usefixtures("afresh")
def test_the_commit_is_that_of_the_beginning(monkeypatch):
    monkeypatch.setattr(_describe, "_commit", lambda: "1111111")
    run.parse(Empty, args=[])
    monkeypatch.setattr(_describe, "_commit", lambda: "2222222-dirty")
    assert run.machine()["commit"] == "1111111"


@pytest.mark.usefixtures("afresh")
def test_commit(monkeypatch):
    known = {"ls-files": (0, "_describe.py\n"), "describe": (0, "0a1b2c3-dirty\n")}
    answer(monkeypatch, known)
    assert run.machine()["commit"] == "0a1b2c3-dirty"


@pytest.mark.usefixtures("afresh")
def test_no_commit_in_somebody_elses_repository(monkeypatch):
    answer(monkeypatch, {"ls-files": (1, ""), "describe": (0, "0a1b2c3\n")})
    assert "commit" not in run.machine()


@pytest.mark.usefixtures("afresh")
def test_no_commit_before_the_first_one(monkeypatch):
    answer(monkeypatch, {"ls-files": (0, "_describe.py\n"), "describe": (128, "")})
    assert "commit" not in run.machine()


@pytest.mark.usefixtures("afresh")
def test_no_commit_without_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "commit" not in run.machine()
