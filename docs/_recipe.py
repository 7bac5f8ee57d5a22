"""What a figure was drawn from, as a mark in its file. Needs no drawing."""

from __future__ import annotations

import ast
import hashlib
import struct
from pathlib import Path

from auxjax.rules import Method

KEY = "recipe"
DRAWN_BY = ("_toy.py", "_figures.py")


def recipe(rule: Method) -> str:
    """Of the rule's call and the drawing code; words and layout do not count.

    The rule's own code is not in it: who changes that draws again by `--redraw`.
    """
    folder = Path(__file__).parent
    code = [_without_words((folder / x).read_text()) for x in DRAWN_BY]
    text = "\n".join([*code, rule.call, *rule.takes])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_words(source: str) -> str:
    """The code without docstrings and comments."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def recipe_of(path: Path) -> str | None:
    """The mark in a PNG; None where there is no file or no mark."""
    if not path.exists():
        return None
    content, place = path.read_bytes(), 8
    while place + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        if kind == b"tEXt":
            key, _, value = content[place + 8 : place + 8 + size].partition(b"\0")
            if key == KEY.encode():
                return value.decode()
        place += 12 + size  # length, kind and checksum
    return None
