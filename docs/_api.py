"""The pages of the modules, from the facades and the docstrings. Needs Python alone."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

from _docstrings import to_markdown

PACKAGE = Path(__file__).parents[1] / "auxjax"
MODULES = {
    "jacobian": "The Jacobian",
    "diagnosis": "Do tasks conflict?",
    "meta": "Meta-gradients",
    "auxiliary": "Auxiliary losses",
    "models": "Networks",
    "envs": "Environments",
    "data": "Data",
    "supervised": "Supervised training",
    "rl": "Agents",
    "labelling": "Labels that are generated",
    "run": "Long runs",
    "rules": "Rules by name",
}


class Entry(NamedTuple):
    """One public name, as it is written."""

    name: str
    node: ast.stmt
    text: str  # of its file


def pages() -> dict[str, str]:
    """The text of each page, by its place in the site; no file is written."""
    return {f"api/{name}.md": page(PACKAGE / name) for name in MODULES}


def page(room: Path) -> str:
    """Of one module: what it is for, a table of its names, and each of them."""
    facade = ast.parse((room / "__init__.py").read_text())
    names = public(room)
    told = [x for x in names if not _is_constant(x)]
    if lost := [name for entry in told for name in _unexplained(entry)]:
        raise ValueError(f"`auxjax.{room.name}` explains not all: {', '.join(lost)}.")
    rows = [f"| [`{x.name}`](#{x.name}) | {_summary(x.node)} |" for x in told]
    parts = [f"# auxjax.{room.name}", to_markdown(_doc(facade))]
    parts.append("\n".join(["| name | what it is |", "|---|---|", *rows]))
    if constants := [x for x in names if _is_constant(x)]:
        code = "\n".join(dict.fromkeys(_source(x) for x in constants))
        parts += ["## Constants", f"```python\n{code}\n```"]
    for entry in told:
        parts += [f'<a id="{entry.name}"></a>', f"## {entry.name}"]
        parts += _entry(entry)
    return "\n\n".join(parts) + "\n"


def public(room: Path) -> list[Entry]:
    """The names of a facade, in its order, where they are defined."""
    facade = ast.parse((room / "__init__.py").read_text())
    wanted = next(
        ast.literal_eval(node.value)
        for node in facade.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    defined: dict[str, Entry] = {}
    for node in facade.body:  # the file that a name is imported from has it
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            text = (room / f"{node.module.split('.')[-1]}.py").read_text()
            written = {name: x for x in ast.parse(text).body for name in _names(x)}
            for alias in node.names:
                name = alias.asname or alias.name
                defined[name] = Entry(name, written[alias.name], text)
    return [defined[name] for name in wanted]


def _names(node: ast.stmt) -> list[str]:
    """What a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    parts = [x for target in targets for x in ast.walk(target)]
    return [x.id for x in parts if isinstance(x, ast.Name)]


def _is_constant(entry: Entry) -> bool:
    return isinstance(entry.node, ast.Assign | ast.AnnAssign)


def _doc(node: ast.AST) -> str:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        return ""
    return ast.get_docstring(node) or ""


def _methods(entry: Entry) -> list[ast.FunctionDef]:
    """The public ones of a class; none of a function."""
    body = entry.node.body if isinstance(entry.node, ast.ClassDef) else []
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]
    return [node for node in functions if node.name[0] != "_"]


def _unexplained(entry: Entry) -> list[str]:
    """The name, and those of its methods, that have no docstring."""
    lost = [] if _doc(entry.node) else [entry.name]
    return lost + [f"{entry.name}.{x.name}" for x in _methods(entry) if not _doc(x)]


def _summary(node: ast.AST) -> str:
    return _doc(node).splitlines()[0].replace("|", "\\|")


def _source(entry: Entry) -> str:
    """The head of a function, the fields of a class, a constant as it stands."""
    if isinstance(entry.node, ast.FunctionDef):
        return _head(entry.node, entry.text)
    if isinstance(entry.node, ast.ClassDef):
        return _fields(entry.node, entry.text)
    return ast.get_source_segment(entry.text, entry.node) or ""


def _entry(entry: Entry) -> list[str]:
    """Signature and docstring; of a class its fields and public methods as well."""
    parts = [f"```python\n{_source(entry)}\n```", to_markdown(_doc(entry.node))]
    for node in _methods(entry):
        parts.append(f"### {entry.name}.{node.name}")
        parts.append(f"```python\n{_head(node, entry.text)}\n```")
        parts.append(to_markdown(_doc(node)))
    return parts


def _head(node: ast.FunctionDef, text: str) -> str:
    """From `def`, or a decorator, to the colon."""
    first = min([node.lineno, *(x.lineno for x in node.decorator_list)])
    return _dedent(text.splitlines()[first - 1 : node.body[0].lineno - 1]).rstrip(":")


def _fields(node: ast.ClassDef, text: str) -> str:
    """The class with its fields and what makes it, without prose and methods."""
    lines, body = text.splitlines(), node.body
    first = min([node.lineno, *(x.lineno for x in node.decorator_list)])
    kept = lines[first - 1 : body[0].lineno - 1]
    for part, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(part, ast.AnnAssign):
            kept += lines[part.lineno - 1 : part.end_lineno]
            if isinstance(after, ast.Expr):  # the field's docstring
                kept += lines[after.lineno - 1 : after.end_lineno]
        elif isinstance(part, ast.FunctionDef) and part.name == "__init__":
            kept += lines[part.lineno - 1 : part.body[0].lineno - 1]
    return _dedent(kept)


def _dedent(lines: list[str]) -> str:
    margin = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[margin:].rstrip() for line in lines).rstrip()
