"""Where data is looked for, and what is said when it is not there."""

import pytest

from auxjax.data import find


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
