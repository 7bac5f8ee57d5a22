"""TorchJD's Gramian of the losses of a batch's examples, timed on request.

Needs a virtual environment of its own: `pip install "torchjd==0.18.0"`.
`benchmarks/examples.py` starts it. Each line on stdin is a JSON object that names a
model, its sizes and what is asked: `autogram`, the Gramian by `torchjd.autogram`, or
`equal`, the backward pass of the summed losses. The answer is a line with the seconds.
The models are those of `benchmarks/examples.py`.
"""

import json
import sys
import time

import torch
from torch import nn
from torchjd.autogram import Engine


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
    """What is asked, as a function without arguments."""
    sizes = request["sizes"]
    torch.manual_seed(0)
    width, batch = sizes["width"], sizes["batch"]
    if request["model"] == "mlp":
        inputs, layers = torch.randn(batch, sizes["inputs"]), []
        before = sizes["inputs"]
    else:
        c1, c2 = sizes["channels"]
        inputs = torch.randn(batch, 3, sizes["images"], sizes["images"])
        layers = [Patchy(3, c1), Patchy(c1, c2), nn.Flatten()]
        before = (sizes["images"] // 4) ** 2 * c2
    for _ in range(3 if request["model"] == "mlp" else 1):
        layers += [nn.Linear(before, width), nn.ReLU()]
        before = width
    model = nn.Sequential(*layers, nn.Linear(width, sizes["outputs"]))
    labels = torch.randint(0, sizes["outputs"], (batch,))
    engine = Engine(model, batch_dim=0)

    def losses():
        return nn.functional.cross_entropy(model(inputs), labels, reduction="none")

    def equal():
        model.zero_grad()
        losses().sum().backward()

    asked = {"autogram": lambda: engine.compute_gramian(losses()), "equal": equal}
    return asked[request["what"]]


def main():
    """Answers requests until stdin ends."""
    known = {}
    for line in sys.stdin:
        request = json.loads(line)
        key = (request["model"], request["what"])
        if key not in known:
            known[key] = make(request)
        known[key]()  # the other side has emptied the caches
        begin = time.perf_counter()
        known[key]()
        print(json.dumps({"seconds": time.perf_counter() - begin}), flush=True)


if __name__ == "__main__":
    main()
