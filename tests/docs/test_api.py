"""Every module has a page, and every public name a place on it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture
def api(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    import _api

    return _api


def test_every_module_is_there(api):
    rooms = {path.parent.name for path in (ROOT / "auxjax").glob("*/__init__.py")}
    assert set(api.MODULES) == rooms - {"weighting", "aggregation"}  # a page per rule
    assert set(api.pages()) == {f"api/{name}.md" for name in api.MODULES}


def test_every_public_name_has_its_place(api):
    for place, text in api.pages().items():
        room = ROOT / "auxjax" / Path(place).stem
        for name in (x.name for x in api.public(room)):
            place_of_it = rf"^## {name}$|^[\w, ]*\b{name}\b.* = "
            assert re.search(place_of_it, text, re.M), (place, name)


FACADE = """\"\"\"What the room is for.\"\"\"

from auxjax.room._inside import LIMIT, Pair, half

__all__ = ["LIMIT", "Pair", "half"]
"""
INSIDE = """
from typing import NamedTuple

LIMIT = 3


class Pair(NamedTuple):
    \"\"\"Two numbers.\"\"\"

    first: int  # the one
    second: int = 0
    \"\"\"The other.\"\"\"

    def total(self) -> int:
        \"\"\"Their sum.\"\"\"
        return self.first + self.second

    def _hidden(self):
        return 0


def half(
    x: float,
) -> float:
    \"\"\"A half | of it.

    Args:
      x: a number.
    \"\"\"
    return x / 2
"""
PAGE = """# auxjax.room

What the room is for.

| name | what it is |
|---|---|
| [`Pair`](#Pair) | Two numbers. |
| [`half`](#half) | A half \\| of it. |

## Constants

```python
LIMIT = 3
```

<a id="Pair"></a>

## Pair

```python
class Pair(NamedTuple):
    first: int  # the one
    second: int = 0
    \"\"\"The other.\"\"\"
```

Two numbers.

### Pair.total

```python
def total(self) -> int
```

Their sum.

<a id="half"></a>

## half

```python
def half(
    x: float,
) -> float
```

A half | of it.

**Args**

- `x`: a number.
"""


@pytest.fixture
def room(tmp_path):
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "__init__.py").write_text(FACADE)
    (tmp_path / "room" / "_inside.py").write_text(INSIDE)
    return tmp_path / "room"


def test_a_page_is_made_of_the_facade_and_the_docstrings(api, room):
    assert api.page(room) == PAGE


def test_a_public_name_without_a_docstring_is_refused(api, room):
    bare = INSIDE.replace(
        '"""A half | of it.\n\n    Args:\n      x: a number.\n    """', ""
    )
    assert bare != INSIDE
    (room / "_inside.py").write_text(bare)
    with pytest.raises(ValueError, match=r"`auxjax\.room` explains not all: half\."):
        api.page(room)


def test_a_public_method_without_a_docstring_is_refused(api, room):
    (room / "_inside.py").write_text(INSIDE.replace('"""Their sum."""', ""))
    with pytest.raises(ValueError, match=r"explains not all: Pair\.total\."):
        api.page(room)
