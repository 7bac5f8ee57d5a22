"""The code blocks of a docs page, run as a reader would."""

import re
from pathlib import Path

import jax

DOCS = Path(__file__).parents[2] / "docs"


def sections(page):
    """`{heading: [code blocks]}` of a page, in order."""
    parts = re.split(r"^##+ (.*)$", (DOCS / page).read_text(), flags=re.MULTILINE)
    return {
        heading: re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def run(page, *headings, **names):
    """The names that the code below these headings leaves behind.

    Args:
      page: a file of docs/.
      *headings: whose blocks are run, one after another.
      **names: set again before the blocks of each heading: what the test puts in the
        place of what the page defines.
    """
    found = {"__name__": page}
    blocks = sections(page)
    for heading in headings:
        assert blocks[heading], f"no code below {heading!r}"
        found |= names
        for code in blocks[heading]:
            with jax.numpy_dtype_promotion("standard"):  # for Optax's Adam
                exec(compile(code, f"{page}: {heading}", "exec"), found)
    return found
