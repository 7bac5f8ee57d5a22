import subprocess
import sys

from auxjax import run


def test_heavy_parts_wait_until_they_are_used():
    heavy = ["matplotlib", "orbax", "tyro", "rich", "tensorstore", "PIL", "flax"]
    code = (
        "import sys, auxjax.run\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    assert sorted(run.__all__) == run.__all__
    assert all(hasattr(run, name) for name in run.__all__)
