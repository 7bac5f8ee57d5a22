"""Training steps of a small CNN in PyTorch, timed on request.

Needs a virtual environment of its own:

    pip install torch==2.13.0

`benchmarks/images.py` starts it. Each line on stdin is a JSON object with a number of
steps; the answer is a line with their seconds, the number of parameters and the memory
layout, the faster of two in a trial before. The network is `auxjax.models.cnn(10)`, the
step cross-entropy and SGD.
"""

import json
import sys
import time

import torch
from torch import nn

TRIALS = 10


def make(batch, layout):
    """A step on one batch, and how many parameters it trains."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(7 * 7 * 64, 128), nn.ReLU(), nn.Linear(128, 10)),
    ).to(memory_format=layout)
    images = torch.randn(batch, 1, 28, 28).to(memory_format=layout)
    labels = torch.randint(10, (batch,))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step, sum(p.numel() for p in model.parameters())


def timed(step, steps):
    """Seconds of some steps, after one that warms up."""
    step()
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - begin


def main():
    """Answers until stdin ends."""
    batch = int(sys.argv[1])
    layouts = {
        "channels first": torch.contiguous_format,
        "channels last": torch.channels_last,
    }
    made = {name: make(batch, layout) for name, layout in layouts.items()}
    spent = {name: timed(step, TRIALS) for name, (step, _) in made.items()}
    layout = min(spent, key=spent.get)
    step, parameters = made[layout]
    for line in sys.stdin:
        seconds = timed(step, json.loads(line)["steps"])
        answer = {"seconds": seconds, "parameters": parameters, "layout": layout}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
