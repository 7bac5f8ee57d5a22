"""The house rules of `experiments/`: thin scripts, a room each, `lab/` for all."""

import ast

import pytest

from tests._scripts import EXPERIMENTS

MAX_SCRIPT_LINES, MAX_FILE_LINES, MAX_FUNCTION_LINES = 120, 250, 60
SCRIPTS = sorted(EXPERIMENTS.glob("*.py"))
ROOMS = sorted(path.parent.name for path in EXPERIMENTS.glob("*/__init__.py"))
FILES = sorted(EXPERIMENTS.rglob("*.py"))
TREES = {path: ast.parse(path.read_text("utf-8")) for path in FILES}


def named(path):
    return str(path.relative_to(EXPERIMENTS))


every_file = pytest.mark.parametrize("path", FILES, ids=named)
every_script = pytest.mark.parametrize("path", SCRIPTS, ids=named)


def rooms_imported(path):
    """Which of the rooms a file imports from, wherever it does so."""
    modules = []
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a room is imported by its name"
            modules.append(node.module)
    return {module.split(".")[0] for module in modules} & set(ROOMS)


def test_the_folder_is_the_table_of_contents():
    assert len(SCRIPTS) >= 12
    assert "lab" in ROOMS
    owners = set.union(*(rooms_imported(path) for path in SCRIPTS))
    assert owners == set(ROOMS)  # no room that no script has


@every_file
def test_names_hide_nothing(path):
    """No underscore before a file's name, or a folder's."""
    parts = [*path.relative_to(EXPERIMENTS).parts[:-1], path.stem]
    hidden = [part for part in parts if part.startswith("_") and part != "__init__"]
    assert not hidden


@every_script
def test_scripts_are_thin(path):
    """What it is, how it is set, what it does in which order; the rest has a room."""
    assert len(path.read_text("utf-8").splitlines()) <= MAX_SCRIPT_LINES
    assert ast.get_docstring(TREES[path])
    names = {getattr(node, "name", None) for node in TREES[path].body}
    assert {"Config", "main"} <= names


@every_file
def test_files_stay_small(path):
    assert len(path.read_text("utf-8").splitlines()) <= MAX_FILE_LINES


@every_file
def test_functions_stay_small(path):
    """Lines of a function; its docstring is not counted."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{node.name}: {lines}"


@every_script
def test_a_script_imports_its_room_and_the_lab(path):
    assert len(rooms_imported(path) - {"lab"}) == 1


@every_file
def test_a_room_imports_the_lab_alone(path):
    if path in SCRIPTS:
        return
    room = path.relative_to(EXPERIMENTS).parts[0]
    assert rooms_imported(path) <= {room, "lab"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is(room):
    """What came out, with the command that gives it; and where the numbers are."""
    assert ast.get_docstring(TREES[EXPERIMENTS / room / "__init__.py"])
    page = (EXPERIMENTS / room / "README.md").read_text("utf-8")
    if room == "lab":
        return
    scripts = [path for path in SCRIPTS if room in rooms_imported(path)]
    for path in scripts:
        assert f"python experiments/{path.name}" in page
    results = EXPERIMENTS / room / "results"
    unseen = [
        path.name for path in results.glob("*.md") if f"results/{path.name}" not in page
    ]
    assert not unseen


def test_the_lab_says_what_each_of_its_files_is_for():
    page = (EXPERIMENTS / "lab" / "README.md").read_text("utf-8")
    files = [path.name for path in (EXPERIMENTS / "lab").glob("*.py")]
    unnamed = [x for x in files if f"`{x}`" not in page and x != "__init__.py"]
    assert not unnamed
