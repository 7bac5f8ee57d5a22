"""Scripts as modules: some bear the name of a folder, or of a script elsewhere."""

import functools
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXPERIMENTS, BENCHMARKS = ROOT / "experiments", ROOT / "benchmarks"


@functools.cache
def load_script(name, folder=EXPERIMENTS):
    """The module of `<folder>/<name>.py`, by a name that nothing else has.

    The folder goes to the end of the path: what the script imports from beside itself
    is found there, and nothing is hidden by it.
    """
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    spec = importlib.util.spec_from_file_location(
        f"{folder.name}_{name}", folder / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
