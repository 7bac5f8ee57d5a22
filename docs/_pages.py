"""The generated pages: rules, chooser, the gallery's tables. Needs auxjax alone."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from _docstrings import to_markdown
from _recipe import recipe, recipe_of
from _rules import AGGREGATORS, RULES, SITUATIONS, WEIGHTINGS

from auxjax.rules import Method

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "auxjax"
FIGURES = {rule.name: DOCS / "rules" / f"{rule.name}.png" for rule in RULES}
MADE_BY = "<!-- Made by `python docs/make.py`; edit the docstrings or auxjax/rules. -->"


def pages() -> dict[Path, str]:
    """All generated pages: where each belongs, and its text."""
    source = _Source()
    made = {DOCS / "choose.md": _chooser(), DOCS / "gallery.md": _gallery()}
    for rule in RULES:
        made[DOCS / "rules" / f"{rule.name}.md"] = _page(rule, source)
    return made


def stale() -> list[Path]:
    """Pages and figures that are not of now, or of no rule any more."""
    made = pages()
    old = [p for p, text in made.items() if not p.exists() or p.read_text() != text]
    files = [*(DOCS / "rules").glob("*.md"), *(DOCS / "rules").glob("*.png")]
    left = [p for p in files if p not in made and p not in FIGURES.values()]
    return old + left + [FIGURES[rule.name] for rule in to_draw()]


def to_draw() -> list[Method]:
    """Rules whose figure is absent, or was drawn from something else."""
    return [r for r in RULES if recipe_of(FIGURES[r.name]) != recipe(r)]


Definition = ast.FunctionDef | ast.ClassDef


class _Source:
    """Public functions and states of the two rooms of rules, as they are written."""

    def __init__(self):
        self.public: set[str] = set()
        self.definitions: dict[str, tuple[Definition, str]] = {}
        for room in ("weighting", "aggregation"):
            self.public |= _exported(PACKAGE / room / "__init__.py")
            for path in sorted((PACKAGE / room).glob("*.py")):
                text = path.read_text()
                for node in ast.parse(text).body:
                    if isinstance(node, Definition):
                        self.definitions[node.name] = (node, text)

    def functions_of(self, rule: Method) -> list[str]:
        """The rule's public functions, the main one first."""
        name = rule.name
        names = [f"scale_by_{name}", name, f"{name}_weights", f"{name}_rows"]
        names += [f"{name}_probabilities"]
        return [x for x in names if x in self.definitions and x in self.public]

    def states_of(self, rule: Method) -> list[str]:
        """Classes whose docstring says that they are this rule's state."""
        named = (f"`scale_by_{rule.name}`", f"`{rule.name}`")
        return [
            name
            for name, (node, _) in self.definitions.items()
            if name in self.public and any(x in _doc(node) for x in named)
            if _doc(node).startswith("State of")
        ]

    def docstring(self, name: str) -> str:
        """An alias's own one is a line, as its arguments stand above it on the page."""
        node = self.definitions[name][0]
        rule = _summed(node)
        if rule is None:
            return _doc(node)
        return f"{_doc(node)}\n\nIt takes what `{rule}` takes: Jacobian → gradient."

    def signature(self, name: str) -> str:
        """From `def` to the colon; an alias's is its rule's."""
        node, text = self.definitions[name]
        rule = _summed(node)
        if rule is not None:
            return self.signature(rule).replace(f"def {rule}(", f"def {name}(", 1)
        lines = text.splitlines()[node.lineno - 1 : node.body[0].lineno - 1]
        return "\n".join(lines).rstrip(":")

    def code(self, name: str) -> str:
        node, text = self.definitions[name]
        return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])


def _summed(node: Definition) -> str | None:
    """The rule that a function is the alias of, as in `@summed(scale_by_gcs)`."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "summed":
            return ast.unparse(decorator.args[0])
    return None


def _doc(node: Definition) -> str:
    return ast.get_docstring(node) or ""


def _exported(init: Path) -> set[str]:
    for node in ast.parse(init.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise ValueError(f"`{init}` should have an `__all__`. Found none.")


def price(rule: Method) -> str:
    """A sentence."""
    passes = [f"{rule.backward} backward pass{'' if rule.backward == '1' else 'es'}"]
    if rule.tangent != "0":
        passes.append(f"{rule.tangent} tangent pass")
    text = " and ".join(passes)
    if (rule.backward, rule.tangent) == ("1", "0"):
        text += ", as equal weighting"
    elif "T" not in rule.backward:
        text += ", whatever T"
    elif rule.kind == "aggregator":
        text += ", T times the memory of the shared gradient"
    return f"{text}. {rule.price_note}".strip()


def _page(rule: Method, source: _Source) -> str:
    names = source.functions_of(rule)
    if not names:
        raise ValueError(f"`{rule.name}` of auxjax/rules is no rule of `auxjax`.")
    summary = source.docstring(names[0]).splitlines()[0]
    good_for = ", ".join(
        f"[{SITUATIONS[key].title.lower()}](../choose.md#{key})"
        for key in rule.situations
    )
    link = _linker(rule.name)
    parts = [
        f"# {rule.title}",
        MADE_BY,
        summary,
        f"- **Price** of a step with T tasks: {price(rule)}\n"
        f"- **When to use it**: {link(rule.when)}\n"
        f"- **When not**: {link(rule.when_not)}\n"
        f"- **Good for**: {good_for}",
        f"![Where {rule.title} goes on the toy problem]({rule.name}.png)",
        f"*`{rule.call}` on [the toy problem](../toy.md). {rule.figure_note}".strip()
        + "*",
    ]
    for name in names:
        parts.append(f"## `auxjax.{name}`")
        parts.append(f"```python\n{source.signature(name)}\n```")
        parts.append(to_markdown(source.docstring(name), link))
    for name in source.states_of(rule):
        parts.append(f"## `auxjax.{name}`")
        parts.append(f"```python\n{source.code(name)}\n```")
    return "\n\n".join(parts) + "\n"


def _linker(here: str, folder: str = ""):
    """Names of other rules in backticks become links to their pages."""
    known = {rule.name for rule in RULES} - {here}

    def link(text):
        def replace(match):
            name = match[1].removeprefix("scale_by_").removesuffix("_weights")
            return f"[{match[0]}]({folder}{name}.md)" if name in known else match[0]

        return re.sub(r"`(\w+)(?:\([^`]*\))?`", replace, text)

    return link


def _row(rule: Method) -> str:
    link = _linker(rule.name, "rules/")
    tangent = "" if rule.tangent == "0" else f", {rule.tangent} tangent"
    page = f"[{rule.title}](rules/{rule.name}.md)"
    return f"| {page} | {rule.backward} backward{tangent} | {link(rule.when)} |"


HEAD = (
    "| rule | price | when |\n|---|---|---|",
    "| rule | " + " | ".join(SITUATIONS) + " |\n|---|" + "---|" * len(SITUATIONS),
)


def _chooser() -> str:
    parts = [
        "# Which rule?",
        MADE_BY,
        "Whether your tasks need one: [do my tasks conflict?](do_my_tasks_conflict.md) "
        "Which of these is yours?",
        "\n".join(f"- [{x.title}](#{key})" for key, x in SITUATIONS.items()),
        "Prices are passes over the model in one step with T tasks; equal weighting is "
        "1 backward pass. When *not* to use a rule stands on its page. A weighting "
        "(`scale_by_x`) and an aggregator chain with one another: "
        "`optax.chain(scale_by_log_loss(), cagrad(), optax.adam(1e-3))`.",
    ]
    link = _linker("", "rules/")
    for key, situation in SITUATIONS.items():
        parts += [
            f'<a id="{key}"></a>',
            f"## {situation.title}",
            link(situation.advice),
        ]
        for kind, rules in (("Weightings", WEIGHTINGS), ("Aggregators", AGGREGATORS)):
            rows = [_row(rule) for rule in rules if key in rule.situations]
            if rows:
                parts += [f"**{kind}**", "\n".join([HEAD[0], *rows])]
    marks = [
        f"| [{rule.title}](rules/{rule.name}.md) | "
        + " | ".join("×" if key in rule.situations else "" for key in SITUATIONS)
        + " |"
        for rule in RULES
    ]
    parts += ["## All rules", "\n".join([HEAD[1], *marks])]
    return "\n\n".join(parts) + "\n"


def _gallery() -> str:
    """The page as it is, with the pictures of all rules in its two tables of them."""
    text = (DOCS / "gallery.md").read_text()
    for kind, rules in (("Weightings", WEIGHTINGS), ("Aggregators", AGGREGATORS)):
        before, heading, rest = text.partition(f"\n## {kind}\n")
        above, _, below = rest.partition("| | | |\n")
        after = re.sub(r"\A(\|.*\n)+", "", below)
        cells = [
            f"[![{x.title}](rules/{x.name}.png)](rules/{x.name}.md)<br>{x.title}"
            for x in rules
        ]
        rows = [cells[i : i + 3] for i in range(0, len(cells), 3)]
        table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
        text = f"{before}{heading}{above}| | | |\n|---|---|---|\n{table}{after}"
    return text
