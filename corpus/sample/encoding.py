"""Encodes drawn pictures as their datasets publish them: JPEG, or PNG for PAD-UFES-20.

The PNG writer is our own because half of Pillow's time goes into trying every row filter on every row; one fixed filter
gives files of the same size in half the time, which counts when tens of thousands are drawn for a benchmark.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from corpus.sample.layouts import PAD

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2  # the row filter that stores the difference from the row above


def encode(picture: Image.Image, source: str, quality: int = 90) -> bytes:
    """A picture (RGB or YCbCr) as a file of ``source``; ``quality`` is JPEG's and does not matter for PNG."""
    return png(picture.convert("RGB")) if source == PAD else jpeg(picture, quality)


def jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    """A picture as a JPEG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def png(picture: Image.Image) -> bytes:
    """An RGB picture as a PNG file of 8 bits a channel."""
    rows = np.asarray(picture).reshape(picture.height, -1)
    filtered = np.empty((picture.height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", *picture.size, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 1)), (b"IEND", b""))
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def oversized_png(width: int, height: int) -> bytes:
    """A small PNG file of a very large, blank picture."""
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()
