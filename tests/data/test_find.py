"""Where data is looked for, and what is said when it is not there."""

import os
import pwd
from pathlib import Path

import pytest

from auxjax.data import find
from auxjax.data._decoded import cache_folder


def a_file(folder, name="x.npy"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"")
    return folder / name


def test_the_order_of_the_places(tmp_path, monkeypatch, nowhere):
    elsewhere = a_file(tmp_path / "elsewhere")
    expected = [elsewhere]
    data_dir = tmp_path / "argument"
    data_dir.mkdir()

    def found():
        return find(["x.npy"], data_dir, "", elsewhere=[elsewhere])

    assert found() == elsewhere
    expected.append(a_file(nowhere / "tensorflow_datasets"))
    assert found() == expected[-1]
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    expected.append(a_file(tmp_path / "tfds"))
    assert found() == expected[-1]
    monkeypatch.setenv("AUXJAX_DATA", str(tmp_path / "auxjax"))
    expected.append(a_file(tmp_path / "auxjax"))
    assert found() == expected[-1]
    expected.append(a_file(data_dir))
    assert found() == expected[-1]
    assert len(set(expected)) == 5


def test_names_are_tried_in_their_order(tmp_path):
    second = a_file(tmp_path, "b")
    assert find(["a", "b"], tmp_path, "") == second
    first = a_file(tmp_path, "a")
    assert find(["a", "b"], tmp_path, "") == first


def test_the_folder_itself_may_be_given(tmp_path):
    folder = tmp_path / "cifar"
    folder.mkdir()
    assert find(["cifar"], folder, "") == folder
    assert find(["cifar"], tmp_path, "") == folder
    assert find([""], folder, "") == folder


def test_a_tilde_is_the_home(nowhere):
    path = a_file(nowhere / "data")
    assert find(["x.npy"], "~/data", "") == path


def test_accept_decides(tmp_path):
    a_file(tmp_path / "one")
    path = a_file(tmp_path / "two", "y.npy").parent
    found = find(["one", "two"], tmp_path, "", accept=lambda p: (p / "y.npy").exists())
    assert found == path


def test_a_miss_names_all_that_was_tried(tmp_path, monkeypatch, nowhere):
    monkeypatch.setenv("AUXJAX_DATA", str(tmp_path / "auxjax"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    with pytest.raises(FileNotFoundError) as error:
        find(["a", "b/c"], tmp_path, "Get it from the moon.", elsewhere=["/debian"])
    tried = [tmp_path, tmp_path / "auxjax", tmp_path / "tfds"]
    tried = [*tried, nowhere / "tensorflow_datasets"]
    lines = [f"  {root / name}" for root in tried for name in ("a", "b/c")]
    assert str(error.value).splitlines() == [
        "The data was not found. Tried:",
        *lines,
        "  /debian",
        "Get it from the moon.",
        "Then pass its folder as `data_dir`, or set AUXJAX_DATA to it.",
    ]


def test_a_misspelt_data_dir_is_not_passed_over(tmp_path, monkeypatch):
    a_file(tmp_path)
    monkeypatch.setenv("AUXJAX_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"typo \(`data_dir`, which"):
        find(["x.npy"], tmp_path / "typo", "")


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """A container's user: no HOME, and in no list of users."""

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(RuntimeError):
        Path.home()
    return here


def test_without_a_home_the_other_places_are_searched(homeless, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as error:
        find(["x.npy"], tmp_path, "")
    assert "~" not in str(error.value)
    path = a_file(tmp_path / "data")
    monkeypatch.setenv("AUXJAX_DATA", str(tmp_path / "data"))
    assert find(["x.npy"], None, "") == path
    a_file(homeless / "~" / "tensorflow_datasets", "y.npy")  # not a home either
    with pytest.raises(FileNotFoundError):
        find(["y.npy"], None, "")


def test_without_a_home_nothing_is_kept_in_one(homeless, monkeypatch):
    """And above all not in a folder `~` of the folder one happens to be in."""
    assert cache_folder(None) is None
    assert cache_folder("~/cache") is None
    assert cache_folder("cache") == Path("cache")
    monkeypatch.setenv("AUXJAX_CACHE", "~/cache")
    assert cache_folder(None) is None
    monkeypatch.delenv("AUXJAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", os.sep + "x")
    assert cache_folder(None) == Path("/x/auxjax")


def test_what_may_not_be_read_is_passed_over(tmp_path, monkeypatch):
    """The home of another user, say."""
    for name in ("theirs", "ours"):
        a_file(tmp_path / name)

    def accept(path):
        if path.parent.name == "theirs":
            raise PermissionError(13, "Permission denied", str(path))
        return path.exists()

    monkeypatch.setenv("AUXJAX_DATA", str(tmp_path / "ours"))
    found = find(["x.npy"], tmp_path / "theirs", "", accept=accept)
    assert found == tmp_path / "ours" / "x.npy"
    monkeypatch.delenv("AUXJAX_DATA")
    with pytest.raises(FileNotFoundError, match=r"x.npy \(which may not be read"):
        find(["x.npy"], tmp_path / "theirs", "", accept=accept)
