"""Runs the code of a page as a reader would."""

from __future__ import annotations

import os
import re
from pathlib import Path

DOCS = Path(__file__).parent


def text_of(page: str) -> str:
    """A page of this folder."""
    return (DOCS / page).read_text()


def run_page(page: str, settings: str, instead: str, folder: Path) -> dict:
    """The names that a page's code leaves behind.

    Args:
      page: its file's name.
      settings: a line of it.
      instead: what stands there this time.
      folder: where it runs, and leaves its figures.
    """
    code = "\n".join(re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL))
    if settings not in code:
        raise ValueError(f"`{page}` should have the line `{settings}`.")
    names: dict = {"__name__": page}
    code = code.replace(settings, instead)
    before = Path.cwd()
    os.chdir(folder)
    try:
        exec(compile(code, page, "exec"), names)
    finally:
        os.chdir(before)
    return names
