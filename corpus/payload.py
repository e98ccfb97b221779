"""Cuts the metadata out of JPEG and PNG files without touching the compressed pixels.

Re-encoding would lose quality (JPEG) or grow the corpus (PNG), yet camera data, positions and embedded previews must
not be published. So the file is walked segment by segment and only what shapes the decoded picture or its colours is
copied. The walk doubles as the integrity check that decoders skip: a broken structure or a missing end is an error.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

JPEG_SIGNATURE = b"\xff\xd8\xff"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_EOI, _SOS, _COM = 0xD9, 0xDA, 0xFE
_JPEG_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD})  # DHT, DAC, DQT, DNL, DRI
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_METADATA = frozenset({*range(0xE0, 0xF0), _COM})
_JPEG_SEGMENTS = _JPEG_TABLES | _JPEG_FRAMES | _JPEG_METADATA | {_SOS}
#: A marker, after any number of fill bytes.
_MARKER = re.compile(rb"\xff+([\x01-\xfe])")
#: The first marker after entropy-coded data, in which 0xFF is stuffed with 0x00 or begins a restart marker.
_MARKER_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")

_PNG_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_PNG_RENDERING = frozenset({b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"cICP", b"mDCV", b"cLLI"})


class PayloadError(ValueError):
    """The bytes are not a whole, well-formed JPEG or PNG file; ``str()`` says in what way."""


@dataclass(frozen=True)
class CutPayload:
    """A file without its metadata. ``format``: jpeg | png. ``removed``: names of what was cut, in file order."""

    data: bytes
    format: str
    removed: tuple[str, ...]


def cut_metadata(data: bytes) -> CutPayload:
    """The same JPEG or PNG with metadata, previews and trailing bytes removed; it decodes to the same pixels.

    JPEG keeps JFIF (without its thumbnail), ICC profile and Adobe segments; PNG keeps critical chunks, transparency and
    colour description. Raises :class:`PayloadError` for anything else or malformed.
    """
    if data.startswith(JPEG_SIGNATURE):
        kept, removed = _walk_jpeg(data)
        name = "jpeg"
    elif data.startswith(PNG_SIGNATURE):
        kept, removed = _walk_png(data)
        name = "png"
    else:
        raise PayloadError("the file begins neither as JPEG nor as PNG")
    return CutPayload(b"".join(kept) if removed else data, name, tuple(removed))


def _walk_jpeg(data: bytes) -> tuple[list[bytes], list[str]]:
    kept, removed = [data[:2]], []
    at, framed, scanned = 2, False, False
    while True:
        code, at = _next_marker(data, at)
        if code == _EOI:
            break
        if code not in _JPEG_SEGMENTS:
            raise PayloadError(f"the JPEG has an unexpected marker 0x{code:02X} at byte {at - 2}")
        start, end = at - 2, _segment_end(data, at, code)
        if code in _JPEG_METADATA:
            keep, cut = _application_segment(code, data[at + 2 : end])
            removed += cut
        else:
            if code in _JPEG_FRAMES and framed:
                raise PayloadError("the JPEG describes more than one frame")
            framed = framed or code in _JPEG_FRAMES
            if code == _SOS:
                end, scanned = _scan_end(data, end, framed), True
            keep = data[start:end]
        kept.append(keep)
        at = end
    if not scanned:
        raise PayloadError("the JPEG ends before any image data")
    kept.append(b"\xff\xd9")
    if at < len(data):
        removed.append("after EOI")
    return kept, removed


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    """The code of the marker at ``at`` and the position after it."""
    found = _MARKER.match(data, at)
    if found is None:
        if len(data) - at < 2:
            raise PayloadError("the JPEG ends without an end-of-image marker")
        raise PayloadError(f"the JPEG has no marker at byte {at} where one must be")
    return found[1][0], found.end()


def _segment_end(data: bytes, at: int, code: int) -> int:
    length = int.from_bytes(data[at : at + 2], "big")
    if length < 2 or at + length > len(data):
        raise PayloadError(f"the JPEG segment 0x{code:02X} at byte {at - 2} is truncated")
    return at + length


def _scan_end(data: bytes, at: int, framed: bool) -> int:
    """Position of the marker that ends the entropy-coded data beginning at ``at``."""
    if not framed:
        raise PayloadError("the JPEG has image data before its frame header")
    following = _MARKER_AFTER_SCAN.search(data, at)
    if following is None:
        raise PayloadError("the JPEG ends inside its image data")
    return following.start()


def _application_segment(code: int, body: bytes) -> tuple[bytes, list[str]]:
    """What to keep of an APPn or COM segment, and the names of what was cut."""
    if code == _COM:
        return b"", ["COM"]
    number = code - 0xE0
    if number == 0 and body.startswith(b"JFIF\0"):
        if len(body) > 14:
            return b"\xff\xe0\x00\x10" + body[:12] + b"\0\0", ["JFIF thumbnail"]
    elif not ((number == 2 and body.startswith(b"ICC_PROFILE\0")) or (number == 14 and body.startswith(b"Adobe"))):
        return b"", [f"APP{number}"]
    return b"\xff" + bytes([code]) + (len(body) + 2).to_bytes(2, "big") + body, []


def _walk_png(data: bytes) -> tuple[list[bytes], list[str]]:
    kept, removed = [data[:8]], []
    at, previous, pixels = 8, b"", False
    while previous != b"IEND":
        kind, end = _png_chunk(data, at)
        if (kind == b"IHDR") != (at == 8) or (kind == b"IHDR" and end - at != 25):
            raise PayloadError("the PNG does not begin with exactly one image header")
        if kind == b"IDAT":
            if pixels and previous != b"IDAT":
                raise PayloadError("the PNG has other chunks between its image data")
            pixels = True
        if kind in _PNG_CRITICAL or kind in _PNG_RENDERING:
            kept.append(data[at:end])
        elif kind[:1].isupper():
            raise PayloadError(f"the PNG needs the unknown chunk {kind.decode('ascii')} to be shown")
        else:
            removed.append(kind.decode("ascii"))
        at, previous = end, kind
    if not pixels:
        raise PayloadError("the PNG ends before any image data")
    if at < len(data):
        removed.append("after IEND")
    return kept, removed


def _png_chunk(data: bytes, at: int) -> tuple[bytes, int]:
    """Type and end of the chunk at ``at``, its checksum verified."""
    length = int.from_bytes(data[at : at + 4], "big")
    kind, end = data[at + 4 : at + 8], at + 12 + length
    if end > len(data):
        raise PayloadError("the PNG ends before its end chunk")
    if not kind.isalpha():
        raise PayloadError(f"the PNG has no chunk at byte {at} where one must be")
    if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
        raise PayloadError(f"the PNG chunk {kind.decode('ascii')} at byte {at} fails its checksum")
    return kind, end
