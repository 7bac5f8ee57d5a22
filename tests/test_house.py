"""The house rules: who imports whom, how large a room grows, what is explained."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "auxjax"

# From the ground up: a room imports only rooms that stand before it.
ROOMS = [
    "_types",
    "_extras",
    "_optax",
    "jacobian",
    "meta",
    "aggregation",
    "weighting",
    "diagnosis",
    "rules",
    "auxiliary",
    "models",
    "_numbers",
    "envs",
    "data",
    "supervised",
    "rl",
    "labelling",
    "run",
]
CORE = ROOMS[: ROOMS.index("rules") + 1]  # what needs no extra
CORE_NEEDS = {"jax", "numpy", "optax", "chex"}
EXTRAS = {
    *("ale_py", "brax", "flax", "gymnasium", "gymnax", "matplotlib", "mujoco", "orbax"),
    *("rich", "sklearn", "tensorflow", "tensorflow_datasets", "tyro"),
}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 300, 80
LONGER_FILES = {  # what they have today; no more are to come
    "jacobian/_task_jacobian.py": 350,
    "labelling/_environment.py": 310,
    "models/_convolution_cpu.py": 320,
}
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example")
SECTIONS += ("References", "Paper and code")

FILES = sorted(ROOT.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}
every_file = pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(ROOT))
)


def room_of(path):
    """The room a file belongs to; the package's own `__init__` is the roof."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "roof" if first == "__init__" else first


def imported_modules(path):
    """Absolute dotted names of everything a file imports, wherever it does so."""
    package = ["auxjax", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            yield ".".join([*base, *filter(None, [node.module])])
        elif isinstance(node, ast.ImportFrom) and node.module == "auxjax":
            yield from (f"auxjax.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_the_reader_of_imports_sees_them_all():
    """The rules below are only as good as this."""
    source = "import a.b, c\nfrom d.e import f\nfrom . import g\nfrom .h import i\n"
    source += "from auxjax import jacobian\ndef late():\n    import z\n"
    path = ROOT / "weighting" / "_gcs.py"
    kept, TREES[path] = TREES[path], ast.parse(source)
    try:
        found = list(imported_modules(path))
    finally:
        TREES[path] = kept
    inside = ["auxjax.weighting", "auxjax.weighting.h", "auxjax.jacobian"]
    assert sorted(found) == sorted(["a.b", "c", "d.e", "z", *inside])


def test_every_room_has_its_place():
    found = {room_of(path) for path in FILES} - {"roof"}
    assert found <= set(ROOMS)
    assert set(CORE) - {"meta"} <= found


def test_contributors_are_told_of_every_room():
    """The tables of CONTRIBUTING.md: all rooms in order, and the other folders."""
    text = (ROOT.parent / "CONTRIBUTING.md").read_text()
    house = text.split("## The house")[1].split("\n## ")[0]
    told = re.findall(r"^\| `([\w/.]+)` \|", house, re.MULTILINE)
    names = [name.removesuffix("/").removesuffix(".py") for name in told]
    assert names[: len(ROOMS)] == ROOMS
    folders = names[len(ROOMS) :]
    assert all((ROOT.parent / folder).is_dir() for folder in folders)
    tracked = {path.parts[0] for path in map(Path, tracked_files()) if path.parts[1:]}
    tracked = {name for name in tracked if name[0] != "."}
    assert tracked <= {*folders, "auxjax"}


def tracked_files():
    """What git knows; nothing where there is no git."""
    command = ["git", "-C", str(ROOT.parent), "ls-files", "*.py", "*.sh"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.split()


@every_file
def test_a_room_imports_only_rooms_below(path):
    room = room_of(path)
    below = CORE if room == "roof" else ROOMS[: ROOMS.index(room)]
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] != "auxjax" or parts[1:2] == [room]:
            continue
        assert len(parts) > 1, f"{path.name} imports the roof"
        assert parts[1] in below, f"{path.name} imports {module}"
        is_facade = len(parts) == 2
        assert is_facade, f"{path.name} looks behind a facade: {module}"


@every_file
def test_what_a_room_may_import_from_outside(path):
    room = room_of(path)
    outside = {m.split(".")[0] for m in imported_modules(path)} - {"auxjax"}
    outside -= sys.stdlib_module_names
    if room in CORE or room == "roof":
        allowed = CORE_NEEDS | ({"jaxtyping"} if room == "_types" else set())
        assert outside <= allowed
    if room != "models":
        assert "flax" not in outside


@every_file
def test_files_stay_small(path):
    most = LONGER_FILES.get(path.relative_to(ROOT).as_posix(), MAX_FILE_LINES)
    assert len(path.read_text().splitlines()) <= most


def test_the_longer_files_are_there_and_longer():
    for name, most in LONGER_FILES.items():
        assert MAX_FILE_LINES < len((ROOT / name).read_text().splitlines()) <= most


def badly_indented(docstring):
    """Sections of a docstring that are not indented by two; edges of `===` tables."""
    lines = inspect.cleandoc(docstring).splitlines()
    bad = [line for line in lines if line.strip().startswith("===")]
    for number, line in enumerate(lines):
        if line.removesuffix(":") in SECTIONS and line.endswith(":"):
            first = next((x for x in lines[number + 1 :] if x.strip()), "")
            if len(first) - len(first.lstrip()) != 2:
                bad.append(line)
    return bad


@every_file
def test_docstrings_have_one_style(path):
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            docstring = ast.get_docstring(node)
            where = getattr(node, "name", path.name)
            assert badly_indented(docstring or "") == [], where


def test_the_reader_of_docstrings_sees_other_styles():
    good = "Line.\n\nArgs:\n  x: one.\n\nPaper and code:\n\n  | | |\n"
    assert badly_indented(good) == []
    assert badly_indented(good.replace("  x", "    x")) == ["Args:"]
    assert badly_indented(good.replace("| | |", "=== ===")) == ["  === ==="]


@every_file
def test_functions_stay_small(path):
    """Lines of a function; its docstring is not counted."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{path.name}: {node.name} {lines}"


def public_names(init):
    """`__all__` of a facade, as it is written: strings, and `+= room.__all__`."""
    names = []
    for node in TREES[init].body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            names += ast.literal_eval(node.value)
        elif isinstance(node, ast.AugAssign) and node.target.id == "__all__":
            room, rest = ast.unparse(node.value).split(".")
            assert rest == "__all__"
            names += public_names(init.parent / room / "__init__.py")
    return names


def bound_names(init):
    """What a facade imports: each name, and whether it is marked `name as name`."""
    bound = {}
    for node in TREES[init].body:
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            if alias.name == "*":
                room = ROOT.parent.joinpath(*node.module.split("."))
                bound |= dict.fromkeys(public_names(room / "__init__.py"), False)
            else:
                bound[alias.asname or alias.name] = alias.asname == alias.name
    return bound


@pytest.mark.parametrize(
    "init",
    [path for path in FILES if path.name == "__init__.py"],
    ids=lambda path: path.parent.name,
)
def test_every_public_name_is_there_and_explained(init):
    assert ast.get_docstring(TREES[init])
    names, bound = public_names(init), bound_names(init)
    assert len(names) == len(set(names))
    assert set(names) <= bound.keys()
    offered = {*names, *(name for name, is_marked in bound.items() if is_marked)}
    if init.parent != ROOT:  # whose rooms are bound as well
        assert offered == bound.keys(), "neither in `__all__` nor marked `x as x`"
    definitions = {
        node.name: node
        for path, tree in TREES.items()
        if init.parent in path.parents
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in offered
    }
    for name, node in definitions.items():
        assert ast.get_docstring(node), f"{name} has no docstring"
        for part in node.body if isinstance(node, ast.ClassDef) else ():
            is_public = isinstance(part, ast.FunctionDef) and part.name[0] != "_"
            if is_public:
                assert ast.get_docstring(part), f"{name}.{part.name} has no docstring"


def test_the_roof_offers_what_the_core_rooms_offer():
    """Flat names: each public rule of a core room is one of `auxjax`, and no other."""
    import auxjax
    from auxjax import aggregation, diagnosis, jacobian, weighting

    rooms = (aggregation, diagnosis, jacobian, weighting)
    names = [name for room in rooms for name in room.__all__]
    assert sorted(auxjax.__all__) == sorted(names)
    assert sorted(public_names(ROOT / "__init__.py")) == sorted(names)
    for room in rooms:
        for name in room.__all__:
            assert getattr(auxjax, name) is getattr(room, name)
            assert getattr(auxjax, name).__doc__, f"{name} has no docstring"
    helpers = bound_names(ROOT / "jacobian" / "__init__.py").keys() - set(names)
    assert {"evaluate", "Layout"} <= helpers
    assert not [name for name in helpers if hasattr(auxjax, name)]


def test_a_rule_that_no_facade_offers_is_seen():
    """Every function without an underscore that makes a rule is one of `auxjax`."""
    roof = set(public_names(ROOT / "__init__.py"))
    for room in ("aggregation", "weighting"):
        for path in (ROOT / room).glob("_*.py"):
            for node in TREES[path].body:
                if isinstance(node, ast.FunctionDef) and node.name[0] != "_":
                    words = [ast.unparse(x) for x in (node, *node.decorator_list)]
                    makes = "GradientTransformationExtraArgs" in str(
                        node.returns and ast.unparse(node.returns)
                    ) or any(word.startswith("summed(") for word in words)
                    is_tool = path.name in ("_build.py", "_alias.py")
                    assert node.name in roof or not makes or is_tool, node.name


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_auxjax_needs_no_extra():
    loaded = set(run_python("import sys, auxjax; print(*sys.modules)"))
    assert "optax" in loaded
    assert not {module.split(".")[0] for module in loaded} & EXTRAS
    assert "auxjax.rules" not in loaded  # nor what most programs do not need


def test_the_table_of_rules_needs_no_extra():
    loaded = set(run_python("import sys, auxjax.rules; print(*sys.modules)"))
    assert not {module.split(".")[0] for module in loaded} & EXTRAS


def test_works_where_jaxtyping_is_absent():
    code = """
import sys
sys.modules["jaxtyping"] = None
import jax.numpy as jnp
import auxjax
jac = auxjax.task_jacobian(lambda p: (jnp.sum(p**2), jnp.sum(p)), jnp.ones(2))
tx = auxjax.olaux(n=1)
print(*tx.update(jac, tx.init(jnp.ones(2)))[0])
"""
    assert run_python(code) == ["3.0", "3.0"]
