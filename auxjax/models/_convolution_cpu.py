"""A convolution whose derivatives XLA's CPU backend computes fast.

XLA's CPU convolution is fast for images `[B, H, W, I]` and a kernel `[h, w, I, O]`. The
derivatives that JAX writes have their axes in other orders, and inside a `scan` they
take many times longer. So here are two operations, bilinear both, each the other's
derivative, and both computed as a convolution with its axes in the usual order. JAX
transposes and linearises them as any bilinear operation, as often as one likes; under
`vmap` they become products of matrices, or are done one after the other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def convolve_cpu(images, kernel, strides: Sequence[int], padding, dilation):
    """`[B, H, W, I]` and `[h, w, I, O]` to `[B, H2, W2, O]`, as `convolve`."""
    if jax.sharding.get_abstract_mesh().manual_axes:
        # Inside `shard_map` JAX keeps track of what differs between devices, but of
        # its own operations only.
        return convolve_patches(images, kernel, strides, padding, dilation)
    strides, dilation, pads = tuple(strides), tuple(dilation), []
    for axis in range(2):
        seen = (kernel.shape[axis] - 1) * dilation[axis] + 1
        low, high = padding[axis]
        over = (low + images.shape[1 + axis] + high - seen) % strides[axis]
        pads.append((low, high - over))  # without the rows that no window reaches
    return _conv.bind(
        images,
        kernel,
        strides=strides,
        pads=tuple(pads),
        spread=(1, 1),
        dilation=dilation,
    )


def convolve_patches(images, kernel, strides, padding, dilation):
    """The same as what the kernel sees at each place, times a matrix."""
    how = {"strides": strides, "pads": padding, "spread": (1, 1), "dilation": dilation}
    return _by_patches(images, kernel, **how)


def shifted_views(images, window, strides, dilation=(1, 1), *, first=1) -> list:
    """For each pixel of a window, row by row, what it sees as the window moves.

    The images' rows are axis `first`, their columns the next one.
    """
    reach = [(w - 1) * d for w, d in zip(window, dilation, strict=True)]
    places = [
        (size - r - 1) // s + 1
        for size, r, s in zip(images.shape[first:], reach, strides, strict=False)
    ]

    def view(*offsets):
        cut = [slice(None)] * first
        for offset, count, stride in zip(offsets, places, strides, strict=True):
            cut.append(slice(offset, offset + stride * (count - 1) + 1, stride))
        return images[tuple(cut)]

    return [
        view(a, b)
        for a in range(0, reach[0] + 1, dilation[0])
        for b in range(0, reach[1] + 1, dilation[1])
    ]


def _patches(images, window, strides, pads, spread, dilation):
    """What a window sees at each place, `[h, w, I]` flattened: one view an offset."""
    images = _bordered(images, pads, spread)
    views = shifted_views(images, window, strides, dilation)
    return views[0] if len(views) == 1 else jnp.concatenate(views, axis=-1)


def _bordered(images, pads, spread):
    """With zeros around them and, where they were strided, between their pixels."""
    borders = [(*p, s - 1) for p, s in zip(pads, spread, strict=True)]
    zero = jnp.zeros((), images.dtype)
    return jax.lax.pad(images, zero, ((0, 0, 0), *borders, (0, 0, 0)))


def _by_patches(images, kernel, *, strides, pads, spread, dilation):
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return _patches(images, kernel.shape[:2], strides, pads, spread, dilation) @ matrix


def _by_products(images, kernel, *, strides, pads, spread, dilation):
    """Pixels times numbers, summed, for images of one channel: one fused loop.

    It stands behind a condition, which always holds but for a NaN, because XLA fuses
    nothing across one: it would compute the sum again for everyone who reads it.
    """
    how = {"strides": strides, "pads": pads, "spread": spread, "dilation": dilation}
    dtype = jnp.result_type(images, kernel)
    exact = jnp.float64 if dtype == jnp.float64 else jnp.float32

    def products(images, kernel):
        numbers = kernel.astype(exact).reshape(-1, 1, 1, 1, kernel.shape[-1])
        seen = _bordered(images.astype(exact), pads, spread)
        views = shifted_views(seen, kernel.shape[:2], strides, dilation)
        scaled = [x * number for x, number in zip(views, numbers, strict=True)]
        return functools.reduce(jnp.add, scaled).astype(dtype)

    patches = functools.partial(_by_patches, **how)
    first = kernel[0, 0, 0, 0]
    return jax.lax.cond(first == first, products, patches, images, kernel)


def _by_convolution(images, kernel, *, strides, pads, spread, dilation):
    how = {"strides": strides, "pads": pads, "spread": spread, "dilation": dilation}
    dtype = jnp.result_type(images, kernel)
    few = kernel.shape[2] == 1 and kernel.shape[0] * kernel.shape[1] <= 25
    if few and jnp.issubdtype(dtype, jnp.floating):
        return _by_products(images, kernel, **how)
    if max(kernel.shape[2:]) <= 16:  # XLA's is slow then
        return _by_patches(images, kernel, **how)
    more = 0
    if strides == spread == (1, 1):
        more = _columns_for_all_cores(images, kernel, pads, dilation)
    (above, below), (left, right) = pads
    out = jax.lax.conv_general_dilated(
        images,
        kernel,
        strides,
        ((above, below), (left, right + more)),
        spread,
        dilation,
        ("NHWC", "HWIO", "NHWC"),
    )
    return out[:, :, :-more] if more else out


def _columns_for_all_cores(images, kernel, pads, dilation) -> int:
    """How many columns more than asked for a convolution should have.

    XLA (jaxlib 0.10) runs a convolution with a kernel of few numbers on one core if the
    result is no larger than the images, and on all cores otherwise.
    """
    if _small(kernel.shape[:3]) or kernel.size > 2**17:
        return 0
    window = kernel.shape[:2]
    grown = [sum(pads[i]) - (window[i] - 1) * dilation[i] for i in range(2)]
    more = max(0, 1 - grown[1])
    return more if grown[0] <= 0 and 4 * more <= images.shape[2] else 0


def _small(seen: Sequence[int]) -> bool:
    """Whether a kernel sees so little (h, w, I) that to cut it out costs nothing."""
    return math.prod(seen) < 64


def _filter_images(images, out, *, window, strides, pads, spread, dilation):
    """Of a convolution's kernel, the derivative: Σ_{n, i, j} images ⊗ out.

    A piece of the batch at a time, so that what the kernel sees stays in the cache; the
    kernel's pixels come first, as the product is fastest so. A piece is every n-th
    image, so that a batch that lies on several devices may stay there.
    """
    if _small((*window, images.shape[-1])):
        how = {"strides": strides, "pads": pads, "spread": spread, "dilation": dilation}
        return _filter_by_patches(images, out, window=window, **how)
    borders = [(*p, s - 1) for p, s in zip(pads, spread, strict=True)]
    zero = jnp.zeros((), images.dtype)

    def piece(total, i):
        images, out = (jax.lax.dynamic_index_in_dim(x, i, 1, False) for x in split)
        images = images.transpose(3, 0, 1, 2)
        images = jax.lax.pad(images, zero, ((0, 0, 0), (0, 0, 0), *borders))
        views = shifted_views(images, window, strides, dilation, first=2)
        rows = jnp.stack(views).reshape(len(total), -1)
        return total + rows @ out.reshape(-1, out.shape[-1]), None

    seen = math.prod(window) * images.shape[-1]
    batch, places = len(out), math.prod(out.shape[1:3])
    pieces = _pieces(batch, seen * places * out.dtype.itemsize)
    split = [x.reshape(batch // pieces, pieces, *x.shape[1:]) for x in (images, out)]
    start = jnp.zeros((seen, out.shape[-1]), jnp.result_type(images, out))
    total = jax.lax.scan(piece, start, jnp.arange(pieces, dtype=jnp.int32))[0]
    return total.reshape(*window, -1, out.shape[-1])


def _pieces(batch: int, image_bytes: int) -> int:
    """Into how many to cut a batch, so that one of them has about 2 MiB."""
    most = max(1, min(batch, batch * image_bytes // 2**21))
    return next(n for n in range(most, 0, -1) if batch % n == 0)


def _filter_by_patches(images, out, *, window, strides, pads, spread, dilation):
    if images.shape[-1] == 1:  # the kernel's pixels first
        images = _bordered(images, pads, spread)
        rows = jnp.stack(shifted_views(images, window, strides, dilation))
        product = rows.reshape(len(rows), -1) @ out.reshape(-1, out.shape[-1])
        return product.reshape(*window, 1, -1)
    seen = _patches(images, window, strides, pads, spread, dilation)
    product = seen.reshape(-1, seen.shape[-1]).T @ out.reshape(-1, out.shape[-1])
    return product.reshape(*window, images.shape[-1], out.shape[-1])


def _transpose_images(out, images, kernel, *, strides, pads, spread, dilation):
    """Of a convolution's images, the derivative: convolved with the turned kernel."""
    turned = []
    for axis in range(2):
        inside = (images.aval.shape[1 + axis] - 1) * spread[axis] + 1
        seen = (kernel.shape[axis] - 1) * dilation[axis] + 1
        outside = (out.shape[1 + axis] - 1) * strides[axis] + 1
        low = seen - 1 - pads[axis][0]
        turned.append((low, inside + seen - 1 - outside - low))
    return _conv.bind(
        out,
        kernel[::-1, ::-1].swapaxes(2, 3),
        strides=spread,
        pads=tuple(turned),
        spread=strides,
        dilation=dilation,
    )


def _transpose_kernel(out, images, kernel, **how):
    return _filter.bind(images, out, window=kernel.aval.shape[:2], **how)


def _filter_transpose_images(kernel, images, out, *, window, **how):
    del window
    return _transpose_images(out, images, kernel, **how)


def _filter_transpose_out(kernel, images, out, *, window, **how):
    del window, out
    return _conv.bind(images, kernel, **how)


def _batched_filter(args, axes, **how):
    """Under `vmap`: a batch of images or of outs is no more than more channels."""
    (images, out), (images_axis, out_axis) = args, axes
    if images_axis is None:
        count = out.shape[out_axis]
        filters = _filter.bind(images, _as_channels(out, out_axis), **how)
        return _from_channels(filters, 3, count), 0
    if out_axis is None:
        count = images.shape[images_axis]
        filters = _filter.bind(_as_channels(images, images_axis), out, **how)
        return _from_channels(filters, 2, count), 0
    return _one_by_one(_filter, _filter_by_patches, args, axes, **how)


def _batched_conv(args, axes, **how):
    """Under `vmap`: a larger batch of images, or more channels out."""
    (images, kernel), (images_axis, kernel_axis) = args, axes
    if kernel_axis is None:
        images = jnp.moveaxis(images, images_axis, 0)
        out = _conv.bind(images.reshape(-1, *images.shape[2:]), kernel, **how)
        return out.reshape(*images.shape[:2], *out.shape[1:]), 0
    if images_axis is None:
        count = kernel.shape[kernel_axis]
        out = _conv.bind(images, _as_channels(kernel, kernel_axis), **how)
        return _from_channels(out, 3, count), 0
    return _one_by_one(_conv, _by_patches, args, axes, **how)


def _as_channels(x, axis):
    """`[..., C]` with one more axis as `[..., N · C]`."""
    x = jnp.moveaxis(x, axis, -2)
    return x.reshape(*x.shape[:-2], -1)


def _from_channels(x, axis, count):
    """The same back again, N in front, the channels being axis `axis`."""
    return jnp.moveaxis(
        x.reshape(*x.shape[:axis], count, -1, *x.shape[axis + 1 :]), axis, 0
    )


def _one_by_one(primitive, by_matrices, args, axes, **how):
    """Both are batches: one after the other, or a product of matrices."""
    args = [jnp.moveaxis(x, axis, 0) for x, axis in zip(args, axes, strict=True)]
    window = how.get("window", args[1].shape[1:3])
    sums = args[0][0].size * args[1].shape[-1] * math.prod(window)
    if sums > 10**7:  # for less the product is faster, by half
        return jax.lax.map(lambda pair: primitive.bind(*pair, **how), args), 0
    return jax.vmap(functools.partial(by_matrices, **how))(*args), 0


def _primitive(name: str, run, batch, *transposes) -> Primitive:
    primitive = Primitive(name)

    @functools.cache
    def compiled(**how):
        return jax.jit(functools.partial(run, **how))

    primitive.def_impl(lambda *args, **how: compiled(**how)(*args))

    def shape(*args, **how):
        out = jax.eval_shape(functools.partial(run, **how), *args)
        return ShapedArray(out.shape, out.dtype)

    primitive.def_abstract_eval(shape)
    mlir.register_lowering(primitive, mlir.lower_fun(run, multiple_results=False))
    ad.defbilinear(primitive, *transposes)
    batching.primitive_batchers[primitive] = batch
    return primitive


_conv = _primitive(
    "convolve", _by_convolution, _batched_conv, _transpose_images, _transpose_kernel
)
_filter = _primitive(
    "convolve_filter",
    _filter_images,
    _batched_filter,
    _filter_transpose_images,
    _filter_transpose_out,
)
