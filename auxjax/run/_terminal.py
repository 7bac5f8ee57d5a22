"""Terminals that cannot show every character: what they cannot show is spelled out."""

from __future__ import annotations

import codecs
import sys
import unicodedata
from typing import Any

_SPELLED = {
    **{"±": "+/-", "−": "-", "–": "-", "—": "-", "×": "x", "·": ".", "…": "..."},
    **{"≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "→": "->", "‖": "||", "∞": "inf"},
    **{"λ": "lambda", "Λ": "Lambda"},  # whose Unicode names lack the b
    **{"√": "sqrt", "Σ": "Sum", "∇": "grad ", "½": "1/2", "“": '"', "”": '"', "’": "'"},
}


def plain_text() -> None:
    """Lets stdout and stderr spell out what their encoding has no character for.

    A report that is done should not end in a `UnicodeEncodeError` because of its ±. It
    is called by all that prints here, again where a stream was replaced meanwhile.
    """
    streams: list[Any] = [sys.stdout, sys.stderr]
    for stream in streams:
        encoding = (getattr(stream, "encoding", None) or "utf-8").replace("_", "-")
        if encoding.lower().startswith("utf") or not hasattr(stream, "reconfigure"):
            continue
        if stream.errors in ("strict", "backslashreplace", "surrogateescape"):
            stream.reconfigure(errors=_NAME)


def spelled_out(text: str) -> str:
    """The text in ASCII.

    Example:
      >>> spelled_out("0.9 ± 0.1, Δ = 3 %, Auto-λ, é")
      '0.9 +/- 0.1, Delta = 3 %, Auto-lambda, e'
    """
    return "".join(c if c.isascii() else _spell(c) for c in text)


def _spell(character: str) -> str:
    if character in _SPELLED:
        return _SPELLED[character]
    name = unicodedata.name(character, "")
    if name.startswith("GREEK") and "LETTER" in name:
        letter = name.split("LETTER ")[1].split()[0]
        return letter.capitalize() if "CAPITAL" in name else letter.lower()
    if name.startswith("BOX DRAWINGS"):
        return "-" if name.endswith("HORIZONTAL") else "|"
    bare = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return bare or "?"


def _handle(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return spelled_out(error.object[error.start : error.end]), error.end


_NAME = "auxjax.spelled_out"
codecs.register_error(_NAME, _handle)
