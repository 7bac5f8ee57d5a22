"""Data: sets that need no download, readers for what users download, a loader.

Every reader returns NumPy arrays on the host, decoded once. Where the files are looked
for is said in `find`; a file that is missing or broken is an error that names it, never
a smaller data set. What operating systems and editors leave in folders (hidden files,
`__MACOSX`, `Thumbs.db`, `desktop.ini`, …) counts nowhere.
"""

from auxjax.data._augment import augment_scenes, random_crop_flip, rotate
from auxjax.data._batches import batches
from auxjax.data._celeba import celeba
from auxjax.data._cifar import cifar10, cifar100
from auxjax.data._cityscapes import cityscapes
from auxjax.data._domains import CIFAR100_COARSE_NAMES, cifar100_domains
from auxjax.data._embedded import digits, mnist_5000
from auxjax.data._find import find
from auxjax.data._folder import image_folder
from auxjax.data._idx import fashion_mnist, mnist
from auxjax.data._images import Attributes, Images
from auxjax.data._mtan_write import write_mtan
from auxjax.data._nyuv2 import nyuv2
from auxjax.data._prefetch import Prefetched, prefetch
from auxjax.data._rooms import ROOM_CLASSES, render_room, rooms
from auxjax.data._scenes import Scenes
from auxjax.data._svhn import svhn
from auxjax.data._tfds import tfds

__all__ = [
    "CIFAR100_COARSE_NAMES",
    "ROOM_CLASSES",
    "Attributes",
    "Images",
    "Prefetched",
    "Scenes",
    "augment_scenes",
    "batches",
    "celeba",
    "cifar10",
    "cifar100",
    "cifar100_domains",
    "cityscapes",
    "digits",
    "fashion_mnist",
    "find",
    "image_folder",
    "mnist",
    "mnist_5000",
    "nyuv2",
    "prefetch",
    "random_crop_flip",
    "render_room",
    "rooms",
    "rotate",
    "svhn",
    "tfds",
    "write_mtan",
]
