"""Scripts as modules: three of them bear the name of a folder beside them."""

import functools
import importlib.util
import sys
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@functools.cache
def load_script(name, folder=EXPERIMENTS):
    """The module of `experiments/<name>.py`, whose folder is on the path by then."""
    spec = importlib.util.spec_from_file_location(
        f"script_{name}", folder / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
