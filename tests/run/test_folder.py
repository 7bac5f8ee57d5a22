import dataclasses
import enum
import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from auxjax import run
from auxjax.run._json import from_json, to_json


@dataclasses.dataclass(frozen=True)
class Rule:
    n: int = 5


@dataclasses.dataclass(frozen=True)
class OtherRule:
    n: int = 5


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = 0
    frames: int = 100
    rates: tuple = (0.1, float("inf"))
    rule: object = Rule()


def test_a_new_run(tmp_path):
    folder = run.open_run(tmp_path / "runs" / "one", Config())
    assert folder == run.RunFolder(tmp_path / "runs" / "one")
    assert folder.metrics == folder.path / "metrics.jsonl"
    assert folder.checkpoint == folder.path / "checkpoint"
    assert folder.figure("weights") == folder.path / "weights.png"
    text = folder.config.read_text()
    assert json.loads(text) == {
        "class": "Config",
        "frames": 100,
        "rates": [0.1, "Infinity"],
        "rule": {"class": "Rule", "n": 5},
        "seed": 0,
    }
    assert list(json.loads(text)) == ["class", "frames", "rates", "rule", "seed"]
    assert [item.name for item in folder.path.iterdir()] == ["config.json"]


def test_an_empty_folder_will_do(tmp_path):
    assert run.open_run(str(tmp_path), Config()).path == tmp_path


def test_a_run_is_not_overwritten(tmp_path):
    run.open_run(tmp_path, Config())
    with pytest.raises(run.RunError, match="Found a run: pass --resume"):
        run.open_run(tmp_path, Config())


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_something_else(tmp_path, resume):
    for i in range(7):
        (tmp_path / f"thesis{i}.tex").write_text("")
    with pytest.raises(run.RunError, match=r"Found thesis0.tex, .*4.tex and 2 more"):
        run.open_run(tmp_path, Config(), resume=resume)
    assert not (tmp_path / "config.json").exists()


def test_resume(tmp_path, capsys):
    first = run.open_run(tmp_path, Config())
    assert run.open_run(tmp_path, Config(), resume=True) == first
    assert capsys.readouterr().err == ""


def test_nothing_to_resume_starts_anew(tmp_path, capsys):
    folder = run.open_run(tmp_path / "new", Config(), resume=True)
    assert folder.config.exists()
    assert "No run to resume" in capsys.readouterr().err


def test_resume_with_another_configuration(tmp_path):
    run.open_run(tmp_path, Config())
    other = Config(seed=1, frames=200, rule=Rule(n=7))
    with pytest.raises(run.RunError) as caught:
        run.open_run(tmp_path, other, resume=True)
    lines = str(caught.value).splitlines()
    assert sorted(lines[1:-1]) == [
        "  `frames` should be 100. Found 200.",
        "  `rule.n` should be 5. Found 7.",
        "  `seed` should be 0. Found 1.",
    ]
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0


def test_resume_with_another_class(tmp_path):
    run.open_run(tmp_path, Config())
    message = r'`rule.class` should be "Rule". Found "OtherRule"'
    with pytest.raises(run.RunError, match=message):
        run.open_run(tmp_path, Config(rule=OtherRule()), resume=True)
    with pytest.raises(run.RunError, match=r"`rule` should be nothing. Found null"):
        run.open_run(tmp_path, Config(rule=None), resume=True)


def test_some_fields_may_differ(tmp_path):
    run.open_run(tmp_path, Config())
    other = Config(frames=200, rule=OtherRule(n=7))
    run.open_run(tmp_path, other, resume=True, may_differ=("frames", "rule"))
    assert json.loads((tmp_path / "config.json").read_text()) == to_json(other)
    with pytest.raises(run.RunError, match=r"`frames` should be 200. Found 300"):
        run.open_run(tmp_path, Config(frames=300), resume=True, may_differ=("rule",))


def test_a_damaged_configuration(tmp_path):
    (tmp_path / "config.json").write_text('{"class": ')
    with pytest.raises(run.RunError, match=r"config.json` should be a readable JSON"):
        run.open_run(tmp_path, Config(), resume=True)


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(run.RunError, match=r"file/below.*Not a directory"):
        run.open_run(tmp_path / "file" / "below", Config())
    with pytest.raises(run.RunError, match=r"file` should be writable.*File exists"):
        run.open_run(tmp_path / "file", Config())


@pytest.mark.parametrize("number", ["EACCES", "ENOSPC"])
def test_a_disk_that_refuses(tmp_path, monkeypatch, number):
    number = getattr(__import__("errno"), number)

    def refuse(path, content):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(run.RunError) as caught:
        run.open_run(tmp_path, Config())
    assert str(caught.value) == (
        f"`{tmp_path / 'config.json'}` should be writable. "
        f"Found: {os.strerror(number)}."
    )


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (jnp.bfloat16(0.5), 0.5),
        (jnp.array([1.5, jnp.nan], jnp.bfloat16), [1.5, "NaN"]),
        (np.array([[1, 2]]), [[1, 2]]),
        (np.array(True), True),
        (jnp.int4(3), 3),
        (-np.inf, "-Infinity"),
        (Path("a/b"), "a/b"),
        (Colour.RED, "RED"),
        ((1, None, "x"), [1, None, "x"]),
        ({2: True}, {"2": True}),
        (jnp.tanh, "jax.numpy.tanh"),
    ],
)
def test_to_json(value, expected):
    found = to_json(value)
    if callable(value):
        assert found.endswith("tanh")
    else:
        assert found == expected
        assert type(found) is type(expected)


def test_from_json_undoes_it():
    value = {"a": [float("inf"), -float("inf"), 1.0], "b": {"c": "text"}}
    assert from_json(json.loads(json.dumps(to_json(value)))) == value


def test_to_json_of_something_else():
    with pytest.raises(ValueError, match="Found object"):
        to_json({"x": [object()]})


def test_write_json(tmp_path):
    run.write_json(tmp_path / "results.json", {"b": 1, "a": np.arange(2)})
    assert json.loads((tmp_path / "results.json").read_text()) == {"a": [0, 1], "b": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["results.json"]
