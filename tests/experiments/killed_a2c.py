"""As a program: `atari_a2c.py` that kills itself in the midst of its fourth chunk."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))

import atari_a2c
from a2c import run as _a2c_run

rows, row = [], _a2c_run._row


def last_words(*args):
    rows.append(row(*args))
    if len(rows) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return rows[-1]


if __name__ == "__main__":
    _a2c_run._row = last_words
    atari_a2c.main(sys.argv[1:])
