"""One decode per image serves everything that is ever asked of its pixels.

Decoding dominates the cost of reading images, so integrity, orientation, digests, hashes and quality are all taken from
one decode, and the payload is stored as its publisher compressed it, metadata cut out. Only images that a trainer's
decoder could show differently (turned, CMYK, 16-bit, translucent ...) are re-encoded, losslessly, as PNG. Files come
from strangers: whatever a decoder does with one, the outcome is a row or a refusal, never an exception.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from corpus.packs import PackWriter
from corpus.payload import JPEG_SIGNATURE, PNG_SIGNATURE, PayloadError, cut_metadata
from corpus.phash import hash_views
from schemas.config import InspectSettings
from schemas.errors import StoreError

#: Signature at the start of the file -> its reader. Opened directly, because ``Image.open`` tries every format Pillow
#: knows and warns or raises by a process-wide pixel limit; ours is checked per image. A JPEG with further pictures
#: behind the first (MPO, as phones write) is read as the JPEG it begins with.
_READERS: tuple[tuple[re.Pattern[bytes], str, type[ImageFile]], ...] = (
    (re.compile(re.escape(JPEG_SIGNATURE)), "jpeg", JpegImagePlugin.JpegImageFile),
    (re.compile(re.escape(PNG_SIGNATURE)), "png", PngImagePlugin.PngImageFile),
    (re.compile(rb"GIF8[79]a"), "gif", GifImagePlugin.GifImageFile),
    (re.compile(rb"BM"), "bmp", BmpImagePlugin.BmpImageFile),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "tiff", TiffImagePlugin.TiffImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp", WebPImagePlugin.WebPImageFile),
)
_EXTENSIONS = {"jpeg": "jpg", "png": "png"}

_ORIENTATION_TAG = 0x0112
#: What makes an image upright, by its EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_CONVERTIBLE = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
_SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})

_PNG_COMPRESSION = 4  # half the time of level 6 for 3 % more bytes, on dermoscopy
_DIGEST_PIXELS = 1 << 20  # pixels unpacked to RGB bytes at a time
_SHARPNESS_SIDE = 256


@dataclass(frozen=True)
class Inspected:
    """What one decode told. Fields as in :data:`schemas.tables.INSPECTIONS`; ``payload``: the bytes to store."""

    payload: bytes
    image_digest: str
    pixel_digest: str
    width: int
    height: int
    source_format: str
    stored_format: str
    exif_orientation: int
    reencoded: str | None
    phash_whole: bytes
    phash_centre: bytes
    sharpness: float
    luma_std: float
    low_variance: bool

    @property
    def extension(self) -> str:
        """File name extension of the payload."""
        return _EXTENSIONS[self.stored_format]

    def row(self, file_digest: str, pack: str, pack_offset: int) -> dict[str, Any]:
        """The row of :data:`schemas.tables.INSPECTIONS`."""
        fields = {name: value for name, value in vars(self).items() if name != "payload"}
        stored = {"stored_bytes": len(self.payload), "pack": pack, "pack_offset": pack_offset}
        return {"file_digest": file_digest, **fields, **stored}


@dataclass(frozen=True)
class Refused:
    """Why a file is no usable image: the rule it broke, the value seen, the threshold, and a sentence for a person."""

    rule: str
    value: int | str | None = None
    threshold: int | None = None
    detail: str | None = None


def inspect_bytes(data: bytes, settings: InspectSettings) -> Inspected | Refused:
    """Decode a file once and take everything the pipeline needs; a file that cannot be used is :class:`Refused`.

    Rules: ``empty_file``, ``file_too_large``, ``not_an_image``, ``too_many_pixels`` (by the header, before anything is
    decoded), ``too_small``, ``animated``, ``unsupported_mode``, ``corrupt_image``.
    """
    if not data:
        return Refused("empty_file", 0, None, "the file has no bytes")
    if refused := _refuse_size(len(data), settings):
        return refused
    reader = next(((name, reader) for signature, name, reader in _READERS if signature.match(data)), None)
    if reader is None:
        return Refused("not_an_image", None, None, "the file begins as neither JPEG, PNG, GIF, BMP, TIFF nor WebP")
    source_format, image_file = reader
    try:
        with image_file(io.BytesIO(data), "") as image:
            return _refuse_header(image, settings) or _inspect_image(image, source_format, data, settings)
    except MemoryError:
        raise
    except PayloadError as error:
        return Refused("corrupt_image", None, None, str(error))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Refused("too_many_pixels", None, _max_pixels(settings), "the header asks for a decompression bomb")
    except Exception as error:
        return Refused("corrupt_image", None, None, _message(error))


def inspect_shard(
    items: Iterable[tuple[str, str, str]], settings: InspectSettings, pack_path: Path, workers: int = 1
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inspect files in parallel and pack their payloads into a new file ``pack_path``, in the order of ``items``.

    ``items``: (file_digest, absolute path, record id), one per digest; the record id only names the file to people.
    ``workers``: threads, 0 for one per core; at most twice as many images are held at a time. Returns rows of
    :data:`schemas.tables.INSPECTIONS` and refusals (file_digest, rule, value, threshold, detail).
    """
    rows: list[dict[str, Any]] = []
    refusals: list[dict[str, Any]] = []
    with pack_path.open("wb") as file, PackWriter(file) as pack:
        for file_digest, outcome in _inspect_in_order(items, settings, workers or os.cpu_count() or 1):
            if isinstance(outcome, Refused):
                refusals.append({"file_digest": file_digest, **vars(outcome)})
            else:
                offset = pack.add(outcome.image_digest, outcome.extension, outcome.payload)
                rows.append(outcome.row(file_digest, pack_path.name, offset))
    return rows, refusals


def _inspect_in_order(
    items: Iterable[tuple[str, str, str]], settings: InspectSettings, workers: int
) -> Iterator[tuple[str, Inspected | Refused]]:
    pending: deque[tuple[str, Future[Inspected | Refused]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for file_digest, path, record_id in items:
            if len(pending) >= 2 * workers:
                digest, future = pending.popleft()
                yield digest, future.result()
            pending.append((file_digest, pool.submit(_inspect_file, file_digest, path, record_id, settings)))
        while pending:
            digest, future = pending.popleft()
            yield digest, future.result()


def _inspect_file(file_digest: str, path: str, record_id: str, settings: InspectSettings) -> Inspected | Refused:
    try:
        if refused := _refuse_size(os.path.getsize(path), settings):
            return refused
        data = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Refused("file_missing", None, None, f"the file of {record_id} is no longer there")
    except (PermissionError, IsADirectoryError) as error:
        return Refused("file_unreadable", None, None, f"the file of {record_id} cannot be read: {error.strerror}")
    except OSError as error:  # the disk, not the record: a refusal would be kept for good
        raise StoreError(f"Reading {path} failed ({error.strerror}); check the disk and run again.") from error
    if hashlib.sha256(data).hexdigest() != file_digest:
        return Refused("file_changed", None, None, f"the file of {record_id} changed after it was listed")
    return inspect_bytes(data, settings)


def _refuse_size(size: int, settings: InspectSettings) -> Refused | None:
    limit = int(settings.max_megabytes * 1e6)
    return Refused("file_too_large", size, limit, "bytes of the file") if size > limit else None


def _refuse_header(image: ImageFile, settings: InspectSettings) -> Refused | None:
    """The refusal of an image by its header alone; nothing is decoded."""
    width, height = image.size
    if width * height > _max_pixels(settings):
        return Refused("too_many_pixels", width * height, _max_pixels(settings), f"{width} x {height} pixels")
    if min(width, height) < settings.min_side_pixels:
        smallest = min(width, height)
        return Refused("too_small", smallest, settings.min_side_pixels, f"{width} x {height} pixels")
    if getattr(image, "is_animated", False):
        return Refused("animated", getattr(image, "n_frames", None), 1, "frames or pages in the file")
    if image.mode not in _CONVERTIBLE | _SIXTEEN_BIT:
        return Refused("unsupported_mode", image.mode, None, "pixels of this kind have no defined 8-bit colour")
    return None


def _inspect_image(image: ImageFile, source_format: str, data: bytes, settings: InspectSettings) -> Inspected:
    cut = cut_metadata(data) if source_format in _EXTENSIONS else None
    # Pillow turns TIFF upright while decoding and forgets the tag, so it is read before; PNG may carry it at the end.
    tagged = _orientation(image) if source_format == "tiff" else 1
    image.load()
    orientation = _orientation(image)
    flat, reencoded = _flatten(image, source_format, sixteen_bit=source_format == "png" and data[24] == 16)
    if orientation != 1:
        flat, reencoded = flat.transpose(_UPRIGHT[orientation]), reencoded or "rotated"
    if cut is not None and reencoded is None:
        payload, stored_format = cut.data, cut.format
    else:
        payload, stored_format = _png(flat, image.info.get("icc_profile")), "png"
    grey = flat.convert("L")
    whole, centre = hash_views(grey)
    luma_std = _luma_std(grey)
    return Inspected(
        payload=payload,
        image_digest=hashlib.sha256(payload).hexdigest(),
        pixel_digest=_pixel_digest(flat),
        width=flat.width,
        height=flat.height,
        source_format=source_format,
        stored_format=stored_format,
        exif_orientation=max(tagged, orientation),
        reencoded=reencoded,
        phash_whole=whole,
        phash_centre=centre,
        sharpness=_sharpness(grey),
        luma_std=luma_std,
        low_variance=luma_std < settings.low_variance_below,
    )


def _flatten(image: Image.Image, source_format: str, sixteen_bit: bool) -> tuple[Image.Image, str | None]:
    """The picture in mode RGB or L with 8 bits a channel on white, and why its payload must be re-encoded, if so."""
    reason = "format" if source_format not in _EXTENSIONS else None
    mode = image.mode
    if mode in _SIXTEEN_BIT:
        # The high byte, as Pillow takes of 16-bit colour; its own conversion of 16-bit grey clips at 255.
        eight_bit = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return eight_bit, reason or "16_bit"
    special = {"CMYK": "cmyk", "P": "palette", "PA": "palette", "1": "1_bit", "LA": "alpha"}
    reason = reason or ("16_bit" if sixteen_bit else special.get(mode))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
            return Image.alpha_composite(white, rgba).convert("RGB"), reason or "alpha"
        return rgba.convert("RGB"), reason
    return image if mode in ("L", "RGB") else image.convert("RGB"), reason


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1-8; 1 when absent, senseless or in EXIF data that cannot be parsed."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except MemoryError:
        raise
    except Exception:
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _png(image: Image.Image, icc_profile: bytes | None) -> bytes:
    """Deterministic PNG of the RGB pixels, with nothing else but an RGB colour profile."""
    rgb = image.convert("RGB")
    keeps_profile = isinstance(icc_profile, bytes) and icc_profile[16:20] == b"RGB "
    buffer = io.BytesIO()
    rgb.save(buffer, "PNG", compress_level=_PNG_COMPRESSION, icc_profile=icc_profile if keeps_profile else None)
    return buffer.getvalue()


def _pixel_digest(image: Image.Image) -> str:
    """sha256 of ``WIDTHxHEIGHT:`` and the RGB bytes, in bands so that large images are not copied whole."""
    width, height = image.size
    digest = hashlib.sha256(f"{width}x{height}:".encode())
    rows = max(1, _DIGEST_PIXELS // width)
    for top in range(0, height, rows):
        band = image if rows >= height else image.crop((0, top, width, min(top + rows, height)))
        digest.update((band if band.mode == "RGB" else band.convert("RGB")).tobytes())
    return digest.hexdigest()


def _luma_std(grey: Image.Image) -> float:
    """Standard deviation of the grey values (0-255)."""
    counts = np.array(grey.histogram(), dtype=np.int64)
    levels = np.arange(256)
    return math.sqrt(_variance(int(counts.sum()), int(counts @ levels), int(counts @ levels**2)))


def _sharpness(grey: Image.Image) -> float:
    """Variance of the 4-neighbour Laplacian of the central square, resampled (box filter) to 256 x 256.

    The fixed scale makes images of different sizes comparable; upsampled small images count as unsharp.
    """
    width, height = grey.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = grey.resize((_SHARPNESS_SIDE,) * 2, Image.Resampling.BOX, box=(left, top, left + side, top + side))
    p = np.asarray(square).astype(np.int16)
    laplacian = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4 * p[1:-1, 1:-1]
    values = laplacian.astype(np.float64).ravel()  # integers, so that their sums are exact
    return _variance(values.size, int(values.sum()), int(np.square(values).sum()))


def _variance(n: int, total: int, squares: int) -> float:
    """Population variance from exact integer sums, the same on every machine."""
    return (squares * n - total * total) / (n * n)


def _max_pixels(settings: InspectSettings) -> int:
    return int(settings.max_megapixels * 1e6)


def _message(error: Exception) -> str:
    """The decoder's words, without the memory addresses that would differ from run to run."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", str(error)).strip()
    return text or type(error).__name__
