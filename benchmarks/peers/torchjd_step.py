"""Training steps with TorchJD's aggregators, timed one at a time on request.

Needs a virtual environment of its own:

    pip install torch==2.13.0 \
        "torchjd[quadprog_projector,nash_mtl,cagrad]==0.18.0" qpsolvers

`benchmarks/aggregators.py` starts it. Each line on stdin is a JSON object that names a
model, a number of tasks and an aggregator; the answer is a line with the seconds of a
step. The models are those of `benchmarks/_rules_models.py`, a step is what TorchJD's
documentation shows: `mtl_backward`, `jac_to_grad`, SGD. Trunk rows are pulled back by
`torch.vmap` or one by one, whichever was faster in a trial before.
"""

import inspect
import json
import sys
import time

import torch
from torch import nn
from torchjd import aggregation
from torchjd.autojac import jac_to_grad, mtl_backward

TRIALS = 5


class Patchy(nn.Module):
    """A 3x3 convolution of stride 2, padded below and on the right, then ReLU."""

    def __init__(self, inputs, outputs):
        """Makes the layer."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=2)

    def forward(self, x):
        """`[B, C, H, W]` -> `[B, C', H/2, W/2]`."""
        return torch.relu(self.conv(nn.functional.pad(x, (0, 1, 0, 1))))


def make(request):
    """A step of one model, number of tasks and aggregator; the fastest of two ways."""
    sizes, tasks = request["sizes"], request["tasks"]
    torch.manual_seed(0)
    width, batch = sizes["width"], sizes["batch"]
    if request["model"] == "mlp":
        inputs = torch.randn(batch, sizes["inputs"])
        layers, before = [], sizes["inputs"]
    else:
        c1, c2 = sizes["channels"]
        inputs = torch.randn(batch, 3, sizes["images"], sizes["images"])
        layers = [Patchy(3, c1), Patchy(c1, c2), nn.Flatten()]
        before = (sizes["images"] // 4) ** 2 * c2
    for _ in range(3 if request["model"] == "mlp" else 1):
        layers += [nn.Linear(before, width), nn.ReLU()]
        before = width
    trunk = nn.Sequential(*layers)
    heads = [nn.Linear(width, sizes["outputs"]) for _ in range(tasks)]
    targets = [torch.randn(batch, sizes["outputs"]) for _ in range(tasks)]
    params = [p for module in (trunk, *heads) for p in module.parameters()]
    optimizer = torch.optim.SGD(params, lr=1e-3)
    kind = getattr(aggregation, request["aggregator"])
    wanted = inspect.signature(kind).parameters
    settings = {"n_tasks": tasks, "c": 0.4, "alpha": 2.0}
    aggregator = kind(**{k: v for k, v in settings.items() if k in wanted})

    def step(chunk):
        optimizer.zero_grad()
        features = trunk(inputs)
        losses = [
            nn.functional.mse_loss(head(features), target)
            for head, target in zip(heads, targets, strict=True)
        ]
        mtl_backward(losses, features=features, parallel_chunk_size=chunk)
        jac_to_grad(trunk.parameters(), aggregator)
        optimizer.step()

    spent = {}
    for chunk in (None, 1):
        step(chunk)
        begin = time.perf_counter()
        for _ in range(TRIALS):
            step(chunk)
        spent[chunk] = time.perf_counter() - begin
    best = min(spent, key=spent.get)
    return lambda: step(best)


def main():
    """Answers requests until stdin ends."""
    steps = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("forget"):
            steps.clear()
            print(json.dumps({}), flush=True)
            continue
        name = request["aggregator"]
        if name not in steps:
            steps[name] = make(request)
        for _ in range(request["warm"]):  # the other side has emptied the caches
            steps[name]()
        begin, count = time.perf_counter(), request["steps"]
        for _ in range(count):
            steps[name]()
        seconds = (time.perf_counter() - begin) / count
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
