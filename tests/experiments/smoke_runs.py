"""A process that runs scripts in a clean clone, one after another; see `conftest.py`.

Started in the clone. Every line of its input is a JSON list: where to write what came
of it, the script's name, and the words of its command line. Packages load once.
"""

import contextlib
import gc
import importlib.util
import io
import json
import subprocess
import sys
import traceback
from pathlib import Path


def load(name):
    """The module of a script, by a name that no folder has."""
    spec = importlib.util.spec_from_file_location(
        f"script_{name}", f"experiments/{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(name, words):
    """Exit code, what was printed, what git says afterwards."""
    import jax

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            load(name).main(words)
            code = 0
        except SystemExit as stopped:
            code = stopped.code or 0
        except BaseException:
            code = traceback.format_exc()
    jax.clear_caches()
    gc.collect()
    words = ["git", "status", "--porcelain"]
    status = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    said = {"out": out.getvalue(), "err": err.getvalue()}
    return {"code": code, **said, "status": status}


if __name__ == "__main__":
    sys.path[0] = str(Path("experiments").resolve())
    for line in sys.stdin:
        kept, name, words = json.loads(line)
        text = json.dumps(run(name, words))
        Path(kept).write_text(text, encoding="utf-8")
        print("done", flush=True)
