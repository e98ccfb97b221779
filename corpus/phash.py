"""The 256-bit perceptual hash of two views in eight orientations, from one resize and one DCT per view.

Bit for bit the hash of ``imagehash.phash(hash_size=16)``, at a fraction of its cost. Flipping an image negates the odd
frequencies of its DCT and turning it transposes them, so seven orientations cost no further transform. Pillow's 8-bit
Lanczos resize is fixed-point arithmetic; it is done here as banded float64 matrix products, which are exact for such
integers and twice as fast. Tests hold both equalities: should a Pillow release resize otherwise, they fail.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float64]

#: Orientation k of the eight hashes is the hash of the upright image after this transposition (None: as it is).
#: The last four are the first four, each then mirrored left to right.
ORIENTATIONS: tuple[Image.Transpose | None, ...] = (
    None,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
)
HASH_BYTES = 32

_SIDE = 64  # the image is resized to 64 x 64 ...
_LOW = 16  # ... of whose DCT the 16 x 16 lowest frequencies make the bits
_BAND = 8  # output columns made by one matrix product
# Multiply-adds of one product at most: OpenBLAS keeps so small ones in the calling thread. Larger ones it spreads over
# all cores, where waiting for each other costs many times the product when those cores inspect other images.
_PRODUCT_SIZE = 1 << 18
_FIXED_ONE = 1 << 22  # Pillow's fixed-point weight of 1

_ODD = np.where(np.arange(_LOW) % 2, -1.0, 1.0)
#: Sign patterns of: the image, flipped left to right, turned by 180 degrees, flipped top to bottom.
_FLIPS = np.stack([np.ones((_LOW, _LOW)), np.tile(_ODD, (_LOW, 1)), np.outer(_ODD, _ODD), np.tile(_ODD[:, None], _LOW)])
#: Where each orientation stands among the four flips followed by the four flips transposed.
_ORDER = [0, 5, 2, 7, 1, 6, 3, 4]


def central_square(image: Image.Image) -> Image.Image:
    """The largest centred square of an image."""
    left, top, side = _square(*image.size)
    return image.crop((left, top, left + side, top + side))


def oriented_hashes(grey: Image.Image) -> bytes:
    """Hashes of an upright image of mode L in the eight :data:`ORIENTATIONS`: 8 x 32 bytes, most significant bit first.

    The first equals ``imagehash.phash(grey, hash_size=16)``; the others equal the hash of the turned image but for a
    few bits, because resizing rounds.
    """
    return _hash_thumbnails(_resized(_pixels(grey))[None])[0]


def hash_views(grey: Image.Image) -> tuple[bytes, bytes]:
    """:func:`oriented_hashes` of the whole frame and of its central square."""
    pixels = _pixels(grey)
    left, top, side = _square(*grey.size)
    centre = _resized(pixels[top : top + side, left : left + side])
    whole = centre if pixels.shape == (side, side) else _resized(pixels)
    first, second = _hash_thumbnails(np.stack([whole, centre]))
    return first, second


def phash_hex(hashes: bytes) -> str:
    """The first (upright) hash as 64 hexadecimal digits, as ``str(imagehash.phash(...))`` writes it."""
    return hashes[:HASH_BYTES].hex()


def _square(width: int, height: int) -> tuple[int, int, int]:
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def _pixels(grey: Image.Image) -> NDArray[np.uint8]:
    if grey.mode != "L":
        raise ValueError(f"a grey image (mode L) is hashed, not mode {grey.mode}")
    return np.asarray(grey)


def _resized(pixels: NDArray[np.uint8]) -> Floats:
    """64 x 64 values, equal to Pillow's ``resize((64, 64), LANCZOS)`` of the image."""
    height, width = pixels.shape
    if height - _SIDE > 2 * (width - _SIDE):  # Pillow 13 resizes so tall an image down its columns first
        resized = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        return np.asarray(resized, dtype=np.float64)
    return np.ascontiguousarray(_shrink_rows(_shrink_rows(pixels).T).T)


def _shrink_rows(values: NDArray[Any]) -> Floats:
    """Each row resampled to 64 whole values from 0 to 255."""
    height, width = values.shape
    bands = _lanczos_bands(width)
    shrunk = np.empty((height, _SIDE))
    step = max(1, _PRODUCT_SIZE // (_BAND * max(high - low for low, high, _ in bands)))
    for top in range(0, height, step):
        rows = values[top : top + step].astype(np.float64)
        for band, (low, high, weights) in enumerate(bands):
            shrunk[top : top + step, band * _BAND : (band + 1) * _BAND] = rows[:, low:high] @ weights
    return _round_fixed(shrunk)


def _round_fixed(sums: Floats) -> Floats:
    sums += _FIXED_ONE // 2
    sums *= 1.0 / _FIXED_ONE
    np.floor(sums, out=sums)
    return np.clip(sums, 0.0, 255.0, out=sums)


@lru_cache(maxsize=64)
def _lanczos_bands(length: int) -> tuple[tuple[int, int, Floats], ...]:
    """Fixed-point weights that resample ``length`` values to 64, as eight bands (first input, end, weights)."""
    scale = length / _SIDE
    stretch = max(scale, 1.0)
    support = 3.0 * stretch
    centre = (np.arange(_SIDE) + 0.5) * scale
    low = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    high = np.minimum((centre + support + 0.5).astype(np.int64), length)
    inputs = low[:, None] + np.arange(int(np.max(high - low)))
    x = (inputs - centre[:, None] + 0.5) * (1.0 / stretch)
    weights = np.where((inputs < high[:, None]) & (x >= -3.0) & (x < 3.0), np.sinc(x) * np.sinc(x / 3.0), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    fixed = np.trunc(weights * _FIXED_ONE + np.copysign(0.5, weights))
    bands = []
    for first in range(0, _SIDE, _BAND):
        start, end = int(low[first]), int(high[first : first + _BAND].max())
        band = np.zeros((end - start, _BAND))
        for column in range(_BAND):
            row = first + column
            band[low[row] - start : high[row] - start, column] = fixed[row, : high[row] - low[row]]
        bands.append((start, end, band))
    return tuple(bands)


def _hash_thumbnails(thumbnails: Floats) -> list[bytes]:
    """The eight hashes of each of n thumbnails (n x 64 x 64)."""
    import scipy.fft  # a third of a second, which a build that has no image to look at need not spend

    by_row: Any = scipy.fft.dct(thumbnails, axis=1)
    frequencies: Floats = scipy.fft.dct(by_row[:, :_LOW], axis=2)[:, :, :_LOW]
    flipped = frequencies[:, None] * _FLIPS
    ordered = np.partition(flipped.reshape(-1, 4, _LOW * _LOW), (127, 128), axis=2)
    median = (ordered[:, :, 127] + ordered[:, :, 128]) / 2
    bits = flipped > median[:, :, None, None]
    turned = np.concatenate([bits, bits.transpose(0, 1, 3, 2)], axis=1)[:, _ORDER]
    return [view.tobytes() for view in np.packbits(turned.reshape(-1, 8, _LOW * _LOW), axis=2)]
