"""Metadata cutting: what goes, what stays, the same pixels, and no surprise on broken files."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from corpus.payload import PNG_SIGNATURE, PayloadError, cut_metadata

SHARED = Path(os.environ.get("DERMCOT_SHARED_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>where it was taken</x:xmpmeta>"


def picture(mode: str = "RGB", width: int = 61, height: int = 47) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    channels = [128 + 100 * np.sin(x / (5 + k)) * np.cos(y / (7 + k)) for k in range(3)]
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8)).convert(mode)


def exif_with_position() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0110] = "A camera"
    exif[0x8825] = {1: "N", 2: (46.0, 12.0, 0.0), 3: "E", 4: (6.0, 9.0, 0.0)}
    return exif


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, "JPEG", quality=90, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def with_segment(data: bytes, code: int, body: bytes) -> bytes:
    """The JPEG with one more segment right after its start."""
    return data[:2] + bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body + data[2:]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """The PNG with one more chunk right after its header."""
    return data[:33] + chunk(kind, body) + data[33:]


def png(mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, "PNG", **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def pixels(data: bytes) -> tuple[str, tuple[int, int], bytes]:
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
        image.load()
        return image.mode, image.size, image.tobytes()


JPEGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 2},
    "subsampled": {"subsampling": 2, "optimize": True},
    "grey": {"mode": "L"},
    "grey progressive": {"mode": "L", "progressive": True},
    "cmyk": {"mode": "CMYK"},
}


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS.keys())
def test_jpeg_loses_metadata_and_no_pixel(options: dict[str, object]) -> None:
    data = jpeg(exif=exif_with_position(), comment=b"the patient's name", xmp=XMP, icc_profile=SRGB, **options)
    data += b"a preview"
    cut = cut_metadata(data)
    assert cut.format == "jpeg"
    assert set(cut.removed) == {"APP1", "COM", "after EOI"}
    assert cut.removed.count("APP1") == 2
    for secret in (b"A camera", b"patient", b"where it was taken", b"a preview", b"Exif"):
        assert secret in data
        assert secret not in cut.data
    assert pixels(cut.data) == pixels(data)
    with Image.open(io.BytesIO(cut.data)) as image:
        assert image.info["icc_profile"] == SRGB
        assert not image.getexif()


def test_jpeg_keeps_its_colour_transform_marker() -> None:
    data = jpeg("CMYK")
    assert b"Adobe" in cut_metadata(data).data
    assert cut_metadata(data).data == data


@pytest.mark.parametrize(
    ("code", "body", "name"),
    [
        (0xE0, b"JFXX\0\x10thumbnail", "APP0"),
        (0xE2, b"MPF\0II*\0", "APP2"),
        (0xED, b"Photoshop 3.0\0", "APP13"),
        (0xEE, b"not that company", "APP14"),
        (0xEF, b"anything", "APP15"),
        (0xFE, b"", "COM"),
    ],
)
def test_jpeg_segments_of_other_uses_go(code: int, body: bytes, name: str) -> None:
    plain = jpeg()
    cut = cut_metadata(with_segment(plain, code, body))
    assert cut.removed == (name,)
    assert cut.data == plain


def test_jpeg_metadata_between_scans_goes() -> None:
    plain = jpeg(progressive=True)
    second_scan = plain.index(b"\xff\xda", plain.index(b"\xff\xda") + 2)
    dirty = plain[:second_scan] + b"\xff\xfe\x00\x06name" + plain[second_scan:]
    assert cut_metadata(dirty).data == plain


def test_jfif_thumbnail_goes() -> None:
    plain = jpeg()
    assert plain[2:4] == b"\xff\xe0"
    assert plain[4:6] == b"\x00\x10"
    body = plain[6:18] + bytes([2, 1]) + b"\x01\x02\x03\x04\x05\x06"
    dirty = plain[:2] + b"\xff\xe0" + struct.pack(">H", len(body) + 2) + body + plain[20:]
    cut = cut_metadata(dirty)
    assert cut.removed == ("JFIF thumbnail",)
    assert cut.data == plain


def test_phone_preview_behind_the_picture_goes() -> None:
    buffer = io.BytesIO()
    picture().save(buffer, "MPO", save_all=True, append_images=[picture(width=20, height=15)], quality=90)
    cut = cut_metadata(buffer.getvalue())
    assert "after EOI" in cut.removed
    with Image.open(io.BytesIO(buffer.getvalue())) as both, Image.open(io.BytesIO(cut.data)) as alone:
        assert both.format == "MPO"
        assert alone.format == "JPEG"
        assert both.tobytes() == alone.tobytes()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA", "I;16"])
def test_png_loses_metadata_and_no_pixel(mode: str) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "the patient's name")
    text.add_itxt("Comment", "where it was taken", zip=True)
    source = png(pnginfo=text, exif=exif_with_position(), dpi=(300, 300)) if mode == "RGB" else png(mode, pnginfo=text)
    data = with_chunk(with_chunk(source, b"tIME", b"\x07\xe8\x01\x01\0\0\0"), b"prVt", b"private") + b"appended"
    cut = cut_metadata(data)
    expected = {"tEXt", "iTXt", "tIME", "prVt", "after IEND"} | ({"eXIf", "pHYs"} if mode == "RGB" else set())
    assert set(cut.removed) == expected
    assert pixels(cut.data) == pixels(data)
    assert b"patient" not in cut.data
    assert b"appended" not in cut.data


def test_png_keeps_what_changes_its_look() -> None:
    data = with_chunk(png("P", transparency=3, icc_profile=SRGB), b"gAMA", struct.pack(">I", 45455))
    cut = cut_metadata(data)
    assert cut.removed == ()
    assert cut.data is data
    assert all(kind in cut.data for kind in (b"tRNS", b"gAMA", b"iCCP", b"PLTE"))


@pytest.mark.parametrize("data", [jpeg(exif=exif_with_position()), png(dpi=(72, 72))], ids=["jpeg", "png"])
def test_cutting_twice_changes_nothing_more(data: bytes) -> None:
    once = cut_metadata(data)
    assert once.removed
    assert cut_metadata(once.data).data == once.data
    assert cut_metadata(once.data).removed == ()


@pytest.mark.parametrize(
    "data", [jpeg(), jpeg(progressive=True), png(), png("P", transparency=1)], ids=["jpeg", "progressive", "png", "P"]
)
def test_every_truncation_is_an_error(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(PayloadError):
            cut_metadata(data[:length])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "neither"),
        (b"a text", "neither"),
        (b"\xff\xd8\xff\xd9", "before any image data"),
        (jpeg()[:-2] + b"\xff\xd8\xff\xd9", "unexpected marker"),
        (jpeg()[:10], "segment 0xE0 at byte 2 is truncated"),
        (jpeg()[:20] + b"rubbish" + jpeg()[20:], "no marker"),
        (png()[:60] + bytes([png()[60] ^ 1]) + png()[61:], "checksum"),
        (with_chunk(png(), b"ABCD", b""), "unknown chunk ABCD"),
        (with_chunk(png(), b"AB D", b""), "no chunk"),
        (with_chunk(png(), b"IHDR", png()[16:29]), "header"),
        (PNG_SIGNATURE + chunk(b"IEND", b""), "header"),
        (png()[:33] + chunk(b"IEND", b""), "before any image data"),
        (png()[:-12] + chunk(b"tEXt", b"a\0b") + chunk(b"IDAT", b"") + chunk(b"IEND", b""), "between its image data"),
    ],
)
def test_malformed_files_are_named(data: bytes, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        cut_metadata(data)


@given(st.sampled_from([b"", b"\xff\xd8\xff", PNG_SIGNATURE]), st.binary(max_size=200))
def test_garbage_never_surprises(start: bytes, rest: bytes) -> None:
    with pytest.raises(PayloadError):
        cut_metadata(start + rest)


WHOLE = [jpeg(exif=exif_with_position()), jpeg(progressive=True), jpeg(restart_marker_blocks=1), png("P", dpi=(72, 72))]


@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), max_size=4))
def test_flipped_bytes_raise_or_keep_the_pixels(data: bytes, flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for position, value in flips:
        damaged[position % len(damaged)] = value
    try:
        cut = cut_metadata(bytes(damaged))
    except PayloadError:
        return
    try:
        before = pixels(bytes(damaged))
    except Exception:
        return  # no decoder reads it, so there is nothing to keep
    assert pixels(cut.data) == before


@pytest.mark.parametrize("folder", ["isic_uda1", "pad_ufes_20", "ham10000", "republished"])
def test_real_images_keep_every_pixel(folder: str) -> None:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"{SHARED / folder} is not here: real-data test")
    files = sorted(p for p in (SHARED / folder).rglob("*") if p.suffix in {".jpg", ".png"})
    assert files
    for path in files[:60]:
        data = path.read_bytes()
        cut = cut_metadata(data)
        assert len(cut.data) + (len(data) - len(cut.data)) * bool(cut.removed) == len(data)
        assert pixels(cut.data) == pixels(data), path.name
        assert b"Exif\0\0" not in cut.data[:4096]
