"""Terminals that have no ± and no Δ."""

import io
import os
import subprocess
import sys

import pytest

from auxjax import run
from auxjax.run._terminal import plain_text, spelled_out

PROGRAM = """
import dataclasses, sys
from auxjax import run

@dataclasses.dataclass(frozen=True)
class Config:
    '''Auto-λ, ± and Δ.'''

    epochs: int = 5
    '''How many: ± Δ λ.'''

with run.plain_errors():
    config = run.parse(Config, description="Trains with Auto-λ, ± Δ.")
    run.print_table([{"rule": "Auto-λ", "accuracy": run.mean_std([12.0, 12.4])}], "Δ ±")
    print("Δ 12.2 ± 0.3 — done")
    with run.Progress("Auto-λ", total=2) as progress:
        progress.update(1, "Δ = 3 ± 1")
        progress.note("± 1")
    raise run.RunError("Δ should be ± 1.")
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


def program(script, encoding, *words):
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LC_", "LANG", "PYTHONUTF8"))
    }
    given = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    if encoding is not None:
        given["PYTHONIOENCODING"] = encoding
    return subprocess.run(
        [sys.executable, str(script), *words],
        env=environment | given,
        capture_output=True,
        timeout=120,
    )


@pytest.mark.parametrize("encoding", ["ascii", None])
def test_what_is_printed_degrades(script, encoding):
    done = program(script, encoding)
    out, err = done.stdout.decode("ascii"), done.stderr.decode("ascii")
    assert done.returncode == 2, err
    assert "Delta 12.2 +/- 0.3 - done" in out
    assert "Auto-lambda" in out
    assert "12.2 +/- 0.3" in out
    assert "Auto-lambda  50%" in err
    assert "Delta = 3 +/- 1" in err
    assert err.endswith("error: Delta should be +/- 1.\n")


def test_the_help_renders(script):
    done = program(script, "ascii", "--help")
    out = done.stdout.decode("ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Trains with Auto-lambda, +/- Delta." in out
    assert "How many: +/- Delta lambda." in out
    assert "--epochs" in out


def test_a_wrong_word_is_told_too(script):
    done = program(script, "ascii", "--epoch", "5")
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"--epochs" in done.stderr


def test_characters():
    assert spelled_out("Δ ± λ Λ θ Ω × − ≥ … é ü — ½") == (
        "Delta +/- lambda Lambda theta Omega x - >= ... e u - 1/2"
    )
    assert spelled_out("╭─┬│╰") == "|--||"
    assert spelled_out("漢") == "?"
    assert spelled_out("plain\n") == "plain\n"


def test_a_stream_that_can_show_them_is_left_alone(monkeypatch):
    able, unable = (
        io.TextIOWrapper(io.BytesIO(), encoding=name) for name in ("utf-8", "latin-1")
    )
    monkeypatch.setattr(sys, "stdout", able)
    monkeypatch.setattr(sys, "stderr", unable)
    plain_text()
    assert able.errors == "strict"
    able.write("Δ ±")
    unable.write("Δ ±")
    for stream, expected in ((able, "Δ ±".encode()), (unable, b"Delta \xb1")):
        stream.flush()
        assert stream.buffer.getvalue() == expected


def test_files_are_utf8_whatever_the_terminal(tmp_path):
    run.write_json(tmp_path / "results.json", {"rule": "Auto-λ"})
    found = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert found == '{\n  "rule": "Auto-\\u03bb"\n}\n'
