import errno
import json
import math
import os

import jax.numpy as jnp
import numpy as np
import pytest

from auxjax import run
from auxjax.run import _metrics
from auxjax.run._metrics import mend_metrics


def test_rows_are_there_at_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = run.MetricsWriter(path)
    writer.write({"step": 1, "loss": jnp.float32(0.5), "weights": np.ones(2)})
    assert path.read_text() == '{"step": 1, "loss": 0.5, "weights": [1.0, 1.0]}\n'
    writer.write({"step": np.int64(2), "loss": 0.25})
    assert [row["step"] for row in run.read_metrics(path)] == [1, 2]
    writer.close()
    writer.close()


def test_what_is_not_finite_stays_json(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with run.MetricsWriter(path) as writer:
        writer.write({"step": 1, "a": math.nan, "b": [math.inf, -math.inf]})

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    json.loads(path.read_text(), parse_constant=refuse)
    (row,) = run.read_metrics(path)
    assert math.isnan(row["a"])
    assert row["b"] == [math.inf, -math.inf]


def test_truncate_after(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with run.MetricsWriter(path) as writer:
        for step in (10, 20, 20, 30):
            writer.write({"step": step})
        before = path.read_bytes().splitlines(keepends=True)
        writer.truncate_after(20)
        assert path.read_bytes() == b"".join(before[:3])
        writer.write({"step": 21})
    assert [row["step"] for row in run.read_metrics(path)] == [10, 20, 20, 21]
    with run.MetricsWriter(path) as writer:
        writer.truncate_after(-1)
    assert path.read_bytes() == b""


def test_a_line_cut_short_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}')
    assert run.read_metrics(path) == [{"step": 1}]
    with run.MetricsWriter(path) as writer:
        writer.write({"step": 3})
    assert path.read_text() == '{"step": 1}\n{"step": 3}\n'


@pytest.mark.parametrize("line", ["{nonsense}", "[1, 2]", '{"loss": 1.0}'])
def test_a_damaged_line(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{line}\n{{"step": 2}}\n')
    with pytest.raises(run.RunError) as caught:
        run.read_metrics(path)
    assert repr(line) in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(run.RunError, match=r"none.jsonl.*No such file"):
        run.read_metrics(tmp_path / "none.jsonl")
    with pytest.raises(run.RunError, match=r"absent/x.jsonl.*No such file"):
        run.MetricsWriter(tmp_path / "absent" / "x.jsonl")


@pytest.mark.parametrize("row", [{}, {"step": 1.5}, {"step": True}, {"step": "1"}])
def test_a_row_needs_a_step(tmp_path, row):
    writer = run.MetricsWriter(tmp_path / "metrics.jsonl")
    with writer, pytest.raises(ValueError, match=r"should be an int"):
        writer.write(row)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_a_full_disk(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"

    def write(number, content):
        if len(content) > 4:  # a system may take a part, and refuse the rest
            return true_write(number, content[:4])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    true_write = os.write
    with run.MetricsWriter(path) as writer:
        writer.write({"step": 1})
        with monkeypatch.context() as patch:
            patch.setattr(_metrics.os, "write", write)
            with pytest.raises(run.RunError, match=r"metrics.jsonl.*No space left"):
                writer.write({"step": 2})
    assert run.read_metrics(path) == [{"step": 1}]


ROWS = [f'{{"step": {step}, "loss": 0.5}}\n' for step in (1, 2, 2, 3)]


@pytest.mark.parametrize(
    "end",
    [
        *("", ROWS[2], "".join(ROWS[2:]), ROWS[2] + '{"step": 3, "lo'),
        ROWS[2] + '{"step": 3, "\xff": 0.5}\n',  # damaged, and whole as a line
        ROWS[2] + "\0" * 20,  # as some disks leave what was not written
        ROWS[2][:-1] + ROWS[3],  # the end of a line is lost
        "".join(ROWS[2:]) + '{"step": 4}\n{"step": 5',  # beyond the checkpoint
    ],
)
def test_what_the_checkpoint_kept_is_written_again(tmp_path, end):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes((ROWS[0] + end).encode("latin-1"))
    mend_metrics(path, 3, ROWS[1:])
    assert path.read_text() == "".join(ROWS)
    before = path.stat().st_mtime_ns
    mend_metrics(path, 3, ROWS[1:])
    assert path.stat().st_mtime_ns == before


def test_a_file_that_is_gone_is_written_again(tmp_path):
    mend_metrics(tmp_path / "metrics.jsonl", 3, ROWS)
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(ROWS)


def test_damage_that_no_checkpoint_can_mend_is_told(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("{nonsense}\n" + "".join(ROWS))
    for last in (ROWS[2:], []):
        with pytest.raises(run.RunError, match="nonsense"):
            mend_metrics(path, 3, last)
    assert path.read_text() == "{nonsense}\n" + "".join(ROWS)


def test_the_last_rows_are_of_whole_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(_metrics, "_REMEMBERED", 4)
    with run.MetricsWriter(tmp_path / "metrics.jsonl") as writer:
        for step in (1, 1, 1, 2, 2, 3):
            writer.write({"step": step})
        # Two of step 1 are forgotten, so the third is of no use.
        assert [json.loads(line)["step"] for line in writer.take_last()] == [2, 2, 3]
        assert writer.take_last() == []
        writer.write({"step": 4})
        assert writer.take_last() == ['{"step": 4}\n']
        for seed in range(6):  # more rows than are remembered, but of one step
            writer.write({"step": 5, "seed": seed})
        assert len(writer.take_last()) == 6
