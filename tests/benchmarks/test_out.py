"""What a benchmark writes lies where git does not look, unless `--out` leads away."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
TREES = {
    path.stem: ast.parse(path.read_text()) for path in ROOT.glob("benchmarks/*.py")
}


def test_the_default_folder_is_ignored_by_git():
    ignored = (ROOT / ".gitignore").read_text().split()
    folders = {
        name: [ast.literal_eval(x) for x in node.value.args]
        for name, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "OUT"
    }
    assert {"_ratios", "a2c"} <= set(folders)
    assert all(f"{parts[0]}/" in ignored for parts in folders.values())


def test_every_option_out_has_that_default():
    defaults = {
        name: ast.unparse(node.value)
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and node.target.id == "out"
    }
    assert len(defaults) >= 7
    assert set(defaults.values()) == {"OUT"}
