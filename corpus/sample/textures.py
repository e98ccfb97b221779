"""Noise and repeating textures that drawn skin is made of.

Noise coarse enough for a perceptual hash to see is drawn anew for every picture. Finer textures are made once per
process and then only cut out at random places, which is several times faster; that they repeat is invisible to the eye
and to a hash of 64 x 64 pixels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

Plane = npt.NDArray[np.float32]
Rng = np.random.Generator

#: Side of the tile that repeats in networks and skin lines, in pixels.
PERIOD = 256
_SHIFTS = 1024  # places, in either direction, that a cut-out of the grain may begin at


def smooth_noise(rng: Rng, width: int, height: int, cells: int) -> Plane:
    """A smooth field (height, width) of about unit variance with ``cells`` random knots across the width."""
    rows = max(2, round(cells * height / width))
    knots = Image.fromarray(rng.standard_normal((rows, cells), dtype=np.float32))
    return np.asarray(knots.resize((width, height), Image.Resampling.BICUBIC))


def grain(rng: Rng, width: int, height: int) -> Plane:
    """A cut-out (height, width) of a fine field with bumps of about five pixels, of about unit variance."""
    sheet = _grain_sheet(width + _SHIFTS, height + _SHIFTS)
    top, left = (int(v) for v in rng.integers(0, _SHIFTS, 2))
    return sheet[top : top + height, left : left + width]


@lru_cache(maxsize=8)
def _grain_sheet(width: int, height: int) -> Plane:
    return smooth_noise(np.random.default_rng(4), width, height, cells=width // 5)


def network(rng: Rng, width: int, height: int) -> Plane:
    """A cut-out (height, width) of the honeycomb of a pigment network, of zero mean and at most 1."""
    top, left = (int(v) for v in rng.integers(0, PERIOD, 2))
    return _repeated(5, 1, width + PERIOD, height + PERIOD)[top : top + height, left : left + width]


def skin_texture(rng: Rng, width: int, height: int) -> Image.Image:
    """Skin lines and sensor noise as grey levels round 128 (mode L)."""
    sheet = _skin_sheets(width + PERIOD, height + PERIOD)[int(rng.integers(3))]
    left, top = (int(v) for v in rng.integers(0, PERIOD, 2))
    return sheet.crop((left, top, left + width, top + height))


@lru_cache(maxsize=8)
def _skin_sheets(width: int, height: int) -> tuple[Image.Image, ...]:
    rng = np.random.default_rng(2)
    lines = _repeated(7, 3, width, height)
    sheets = []
    for line, speck in ((3.0, 1.4), (1.5, 2.0), (4.5, 1.0)):
        grey = 128 - line * lines + speck * rng.standard_normal((height, width))
        sheets.append(Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8)))
    return tuple(sheets)


@lru_cache(maxsize=8)
def _repeated(cell: int, seed: int, width: int, height: int) -> Plane:
    return np.tile(_honeycomb(cell, seed), (-(-height // PERIOD), -(-width // PERIOD)))[:height, :width]


@lru_cache(maxsize=2)
def _honeycomb(cell: int, seed: int) -> Plane:
    """A periodic tile, bright where the two nearest of its jittered seeds are equally far: borders of random cells."""
    count = PERIOD // cell
    step = PERIOD / count
    jitter = np.random.default_rng(seed).uniform(0.1, 0.9, (count, count, 2))
    y, x = np.mgrid[0:PERIOD, 0:PERIOD].astype(np.float64) + 0.5
    row, column = (y // step).astype(int), (x // step).astype(int)
    distances = []
    for down in (-2, -1, 0, 1, 2):
        for right in (-2, -1, 0, 1, 2):
            offset = jitter[(row + down) % count, (column + right) % count]
            seed_y, seed_x = (row + down + offset[..., 0]) * step, (column + right + offset[..., 1]) * step
            distances.append(np.hypot(y - seed_y, x - seed_x))
    nearest = np.partition(np.stack(distances), 1, axis=0)
    border = np.exp(-5 * (nearest[1] - nearest[0]) / cell)
    border -= border.mean()
    return np.asarray(border / np.abs(border).max(), np.float32)
