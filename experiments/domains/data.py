"""Domains: problems of five classes each, with images of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from auxjax import data
from auxjax.models import resize
from auxjax.run import RunError, reading
from lab.sources import NAMES, block_means, load

DomainSource = Literal["digits", "mnist_5000", "mnist", "fashion_mnist", "cifar100"]
ITSELF, SAME_CLASSES, SAME_LOOK, NEITHER = (
    "itself",
    "same classes",
    "same look",
    "neither",
)
RELATIONS = (ITSELF, SAME_CLASSES, SAME_LOOK, NEITHER)


class Domain(NamedTuple):
    """One of the problems."""

    name: str
    classes: str  # which five
    look: str  # what was done to the images; "" for photographs as they are


class Domains(NamedTuple):
    """Several domains side by side: one sample holds an image of each."""

    images: np.ndarray  # [n, T, H, W, C] uint8
    labels: np.ndarray  # [n, T] int32, 0 to 4
    domains: tuple[Domain, ...]

    @property
    def names(self) -> list[str]:
        """Of the domains, in order."""
        return [domain.name for domain in self.domains]

    def only(self, chosen: Sequence[int]) -> Domains:
        """Some of them, in the order given."""
        at = list(chosen)
        domains = tuple(self.domains[i] for i in at)
        return Domains(self.images[:, at], self.labels[:, at], domains)


def few(domains: Domains) -> Domains:
    """Four of digits: two of either classes, in two looks."""
    return domains.only((0, 1, 5, 6))


def relation(a: Domain, b: Domain) -> str:
    """What two domains made of digits have in common."""
    if a == b:
        return ITSELF
    if a.classes == b.classes:
        return SAME_CLASSES
    return SAME_LOOK if a.look == b.look else NEITHER


def _zoomed(images: np.ndarray) -> np.ndarray:
    """The middle, three quarters as wide and high, enlarged to the old size."""
    height, width = images.shape[1:3]
    top, left = height // 8, width // 8
    middle = images[:, top : height - top, left : width - left]
    large = resize(jnp.asarray(middle, jnp.float32), (height, width))
    return np.asarray(jnp.round(large)).astype(np.uint8)


LOOKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda images: images,
    "turned": lambda images: np.rot90(images, axes=(1, 2)),
    "inverted": lambda images: 255 - images,
    "mirrored": lambda images: images[:, :, ::-1],
    "zoomed": _zoomed,
}
"""What is done to images `[n, H, W, C]` uint8, H = W: nothing, a quarter turn
counter-clockwise, black for white, left for right, larger."""
GROUPS = {"0-4": range(0, 5), "5-9": range(5, 10)}


def digit_domains(
    train: data.Images, test: data.Images, *, seed: int = 0
) -> tuple[Domains, Domains]:
    """Ten domains: two groups of five classes, each in five looks.

    No training image is in two domains: a class's images are dealt out to the looks,
    the same number to each. The test images are seen in every look.
    """
    random = np.random.default_rng(seed)
    domains = tuple(
        Domain(f"{look} {group}", group, look) for group in GROUPS for look in LOOKS
    )
    share = int(np.bincount(train.labels, minlength=10)[:10].min()) // len(LOOKS)
    count = int(np.bincount(test.labels, minlength=10)[:10].min())
    if not share or not count:
        raise RunError(
            f"the source should have {len(LOOKS)} training images and a test image of "
            f"each of 10 classes. Found {share * len(LOOKS)} and {count}."
        )
    dealt = {
        c: random.permutation(np.flatnonzero(train.labels == c)) for c in range(10)
    }
    seen = {c: np.flatnonzero(test.labels == c)[:count] for c in range(10)}
    parts: dict[str, list] = {"train": [], "test": []}
    for domain in domains:
        place, classes = [*LOOKS].index(domain.look), GROUPS[domain.classes]
        own = {c: dealt[c][place * share : (place + 1) * share] for c in classes}
        common = {c: seen[c] for c in classes}
        for name, images, at in (("train", train, own), ("test", test, common)):
            chosen = np.concatenate([at[c] for c in classes])
            pixels = LOOKS[domain.look](images.images[chosen])
            parts[name].append((pixels, images.labels[chosen] - classes[0]))
    return (
        _side_by_side(parts["train"], domains, random),
        _side_by_side(parts["test"], domains, random),
    )


def cifar100_domains(data_dir: Path | None) -> tuple[Domains, Domains]:
    """The 20 coarse classes of CIFAR-100, five fine ones each."""
    names = [name.replace("_", " ") for name in data.CIFAR100_COARSE_NAMES]
    domains = tuple(Domain(name, name, "") for name in names)
    random = np.random.default_rng(0)
    halves = []
    with reading():
        both = data.cifar100(data_dir)
    for images in both:
        parts = [(x.images, x.labels) for x in data.cifar100_domains(images)]
        counts = sorted({len(labels) for _, labels in parts})
        if len(counts) > 1:
            raise RunError(
                "CIFAR-100 should have as many images of each coarse class. "
                f"Found {counts[0]} to {counts[-1]}."
            )
        halves.append(_side_by_side(parts, domains, random))
    return halves[0], halves[1]


def _side_by_side(
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    domains: tuple[Domain, ...],
    random: np.random.Generator,
) -> Domains:
    """Each domain in an order of its own: what stands in one row is drawn together."""
    orders = [random.permutation(len(labels)) for _, labels in parts]
    pairs = list(zip(parts, orders, strict=True))
    images = np.stack([x[order] for (x, _), order in pairs], axis=1)
    labels = np.stack([y[order] for (_, y), order in pairs], axis=1)
    return Domains(images, labels.astype(np.int32), domains)


def load_domains(
    source: DomainSource, data_dir: Path | None, shrink: int = 1
) -> tuple[Domains, Domains, str]:
    """The training and the test images, and what they are."""
    if source == "cifar100":
        train, test = cifar100_domains(data_dir)
        described = "CIFAR-100, its 20 coarse classes"
    else:
        train, test = digit_domains(
            *(
                part._replace(images=block_means(part.images, shrink))
                for part in load(source, data_dir)
            )
        )
        described = f"{NAMES[source]}: two groups of five classes in five looks"
        if shrink > 1:
            described += ", at {}x{}".format(*train.images.shape[2:4])
    described += (
        f", {train.images.shape[0]:,} training and {test.images.shape[0]:,} test "
        "images per domain"
    )
    return train, test, described


def by_relation(
    primary: Domain, weights: Mapping[str, np.ndarray], domains: Sequence[Domain]
) -> dict[str, np.ndarray]:
    """The mean weight of the domains in each relation to the primary one.

    Example:
      >>> a, b, c = (Domain(x, x[0], x[1:]) for x in ("1p", "1q", "2q"))
      >>> found = by_relation(a, {"1p": 4.0, "1q": 2.0, "2q": 1.0}, (a, b, c))
      >>> {name: float(x) for name, x in found.items()}
      {'itself': 4.0, 'same classes': 2.0, 'neither': 1.0}
    """
    groups: dict[str, list] = {name: [] for name in RELATIONS}
    for domain in domains:
        groups[relation(primary, domain)].append(weights[domain.name])
    return {name: np.mean(x, axis=0) for name, x in groups.items() if x}
