"""Google docstrings to Markdown, as this repository writes them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator

ITEMS = ("Args", "Attributes", "Raises")
SECTIONS = (*ITEMS, "Returns", "Yields", "Example", "References", "Paper and code")
Link = Callable[[str], str]


def to_markdown(docstring: str, link: Link = lambda text: text) -> str:
    """One docstring: prose, indented formulas and sections.

    Args:
      docstring: as it stands in the source.
      link: what makes links in prose; code is left alone.
    """
    parts = []
    for section, lines in _sections(inspect.cleandoc(docstring)):
        if section is None:
            parts.append(_prose(lines, link))
        elif section in ITEMS:
            parts.append(f"**{section}**\n\n{_items(lines, link)}")
        elif section == "Example":
            parts.append("**Example**\n\n" + _fenced("\n".join(lines), "pycon"))
        elif section == "References":
            parts.append("**References**\n\n" + link(_arxiv(" ".join(lines))))
        elif section == "Paper and code":
            parts.append(f"**{section}**\n\n{_with_tables(lines, link)}")
        else:
            parts.append(f"**{section}**\n\n{_prose(lines, link)}")
    return "\n\n".join(parts)


def _sections(text: str) -> Iterator[tuple[str | None, list[str]]]:
    """Name (None: no section) and lines, without indentation, one after another."""
    name, lines = None, []
    for line in text.splitlines():
        heading = line.removesuffix(":") if line.endswith(":") else None
        ends = name is not None and line[:1].strip() != ""
        if heading in SECTIONS or ends:
            if any(lines):
                yield name, _dedent(lines)
            name, lines = (heading, []) if heading in SECTIONS else (None, [line])
        else:
            lines.append(line)
    if any(lines):
        yield name, _dedent(lines)


def _dedent(lines: list[str]) -> list[str]:
    return inspect.cleandoc("\n" + "\n".join(lines)).splitlines()


def _fenced(code: str, language: str) -> str:
    return f"```{language}\n{code}\n```"


def _prose(lines: list[str], link: Link) -> str:
    """Paragraphs; blocks indented by four are formulas and stay as they are."""

    def block(text):
        if text.startswith(">>>"):
            return _fenced(text, "pycon")
        return text if text.startswith("    ") else link(text)

    blocks = re.split(r"\n\s*\n", "\n".join(lines))
    return "\n\n".join(block(text) for text in blocks)


def _items(lines: list[str], link: Link) -> str:
    """`name: text` with its continuation lines, as a list."""
    items: list[list[str]] = []
    for line in lines:
        item = re.match(r"(\*{0,2}\w+): (.*)", line)
        if item:
            items.append([item[1], item[2]])
        elif line.strip():
            items[-1][1] += " " + line.strip()
    return "\n".join(f"- `{name}`: {link(text)}" for name, text in items)


def _arxiv(text: str) -> str:
    """Numbers of the arXiv become links."""
    pattern = r"arXiv[: ](\d{4}\.\d{4,5})"
    return re.sub(pattern, r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def _with_tables(lines: list[str], link: Link) -> str:
    """Prose, and tables: a row without a name goes on with the one above it."""
    done, named = [], False
    for line in lines:
        if not line.startswith("|"):
            done.append(link(line))
            named = False
        elif named and line.startswith("| | "):
            done[-1] = f"{done[-1].removesuffix(' |')} {line.removeprefix('| | ')}"
        else:
            done.append(line)
            named = named or line.startswith("|-")
    return "\n".join(done)
