"""Inspection: every kind of input is a right row or a right refusal, and never an exception."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tarfile
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, ImageFilter, ImageOps

from corpus import inspection, phash
from corpus.inspection import Inspected, Refused, inspect_bytes, inspect_shard
from schemas.config import InspectSettings
from schemas.errors import StoreError
from schemas.tables import INSPECTIONS

SHARED = Path(os.environ.get("DERMCOT_SHARED_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))
SETTINGS = InspectSettings()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(mode: str = "RGB", width: int = 120, height: int = 90, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    blob = 120 / (1 + np.exp((np.hypot(x - width * 0.4, y - height * 0.55) - 25) / 3))
    channels = [210 - blob - 15 * k + 10 * np.sin(x / (6 + k)) + rng.normal(0, 2, x.shape) for k in range(3)]
    return Image.fromarray(np.clip(np.stack(channels, axis=2), 0, 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def accepted(data: bytes, limits: InspectSettings = SETTINGS) -> Inspected:
    found = inspect_bytes(data, limits)
    assert isinstance(found, Inspected), found
    return found


def refused(data: bytes, limits: InspectSettings = SETTINGS) -> Refused:
    found = inspect_bytes(data, limits)
    assert isinstance(found, Refused), found
    return found


def stored(found: Inspected) -> Image.Image:
    """The payload as any consumer would open it, in RGB."""
    image = Image.open(io.BytesIO(found.payload))
    assert image.format == found.stored_format.upper()
    return image.convert("RGB")


def check_consistent(found: Inspected) -> None:
    """Digests, size and hashes all speak of the pixels that the payload decodes to."""
    image = stored(found)
    assert image.size == (found.width, found.height)
    assert found.image_digest == hashlib.sha256(found.payload).hexdigest()
    pixels = f"{found.width}x{found.height}:".encode() + image.tobytes()
    assert found.pixel_digest == hashlib.sha256(pixels).hexdigest()
    grey = image.convert("L")
    assert phash.phash_hex(found.phash_whole) == str(imagehash.phash(grey, hash_size=16))
    assert phash.phash_hex(found.phash_centre) == str(imagehash.phash(phash.central_square(grey), hash_size=16))
    assert found.luma_std == pytest.approx(np.asarray(grey).std())


def sixteen_bit_png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, RGB (h x w x 3) or grey (h x w); Pillow writes only the latter."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if values.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


# ------------------------------------------------------------------------------------------------ kept as published


@pytest.mark.parametrize(
    ("mode", "name", "options"),
    [
        ("RGB", "JPEG", {"quality": 90}),
        ("RGB", "JPEG", {"quality": 80, "progressive": True}),
        ("L", "JPEG", {"quality": 90}),
        ("RGB", "PNG", {}),
        ("L", "PNG", {}),
        ("RGBA", "PNG", {}),
    ],
)
def test_ordinary_images_keep_the_publishers_bytes(mode: str, name: str, options: dict[str, Any]) -> None:
    data = encoded(picture(mode), name, **options)
    found = accepted(data)
    check_consistent(found)
    assert found.payload == data
    assert found.reencoded is None
    assert (found.source_format, found.stored_format, found.exif_orientation) == (name.lower(), name.lower(), 1)
    assert not found.low_variance


def test_camera_data_goes_and_the_colour_profile_stays() -> None:
    exif = Image.Exif()
    exif[0x010F] = "A maker"
    exif[0x8825] = {1: "N", 2: (46.0, 12.0, 0.0)}
    data = encoded(picture(), "JPEG", exif=exif, icc_profile=SRGB, comment=b"a name")
    found = accepted(data)
    check_consistent(found)
    assert found.reencoded is None
    assert b"A maker" in data
    assert b"A maker" not in found.payload
    assert b"a name" not in found.payload
    with Image.open(io.BytesIO(found.payload)) as image:
        assert image.info["icc_profile"] == SRGB
        assert not image.getexif()
    assert found.pixel_digest == accepted(encoded(picture(), "JPEG")).pixel_digest


def test_equal_pixels_in_other_containers_have_one_pixel_digest() -> None:
    containers = [encoded(picture(), name) for name in ("PNG", "BMP", "TIFF")]
    containers.append(encoded(picture(), "WEBP", lossless=True))
    containers.append(encoded(picture("RGBA"), "PNG", compress_level=1))
    assert len({accepted(data).pixel_digest for data in containers}) == 1
    assert accepted(encoded(picture(seed=1), "PNG")).pixel_digest != accepted(containers[0]).pixel_digest


def test_size_is_part_of_the_pixel_digest() -> None:
    wide, tall = (encoded(Image.new("RGB", size, (9, 9, 9)), "PNG") for size in ((200, 100), (100, 200)))
    assert accepted(wide).pixel_digest != accepted(tall).pixel_digest


def test_a_large_image_has_the_digest_of_all_its_rows() -> None:
    data = encoded(picture("L", 1100, 1001), "PNG")
    check_consistent(accepted(data))


def test_phone_jpeg_with_a_preview_is_its_first_picture() -> None:
    data = encoded(picture(), "MPO", save_all=True, append_images=[picture(width=80, height=70)], quality=90)
    found = accepted(data)
    check_consistent(found)
    assert (found.width, found.height, found.source_format, found.reencoded) == (120, 90, "jpeg", None)
    assert len(found.payload) < len(data)


# ------------------------------------------------------------------------------------------------------- re-encoded


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied(name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(), name, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    found = accepted(data)
    check_consistent(found)
    assert found.exif_orientation == orientation
    assert stored(found).tobytes() == upright.tobytes()
    if name in ("JPEG", "PNG"):
        assert found.reencoded == (None if orientation == 1 else "rotated")
    else:
        assert found.reencoded == "format"


def test_turned_pixels_keep_their_colour_profile_and_nothing_else() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "A maker"
    found = accepted(encoded(picture(), "JPEG", exif=exif, icc_profile=SRGB, dpi=(300, 300)))
    with Image.open(io.BytesIO(found.payload)) as image:
        image.load()
        assert image.info == {"icc_profile": SRGB}


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_senseless_orientation_is_upright(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    found = accepted(encoded(picture(), "JPEG", exif=exif))
    assert (found.exif_orientation, found.reencoded) == (1, None)


def test_broken_exif_does_not_cost_the_image() -> None:
    found = accepted(encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x00rubbish"))
    assert (found.exif_orientation, found.reencoded) == (1, None)


def test_cmyk_jpeg_becomes_rgb() -> None:
    data = encoded(picture("CMYK"), "JPEG", quality=95)
    found = accepted(data)
    check_consistent(found)
    assert (found.reencoded, found.stored_format) == ("cmyk", "png")
    with Image.open(io.BytesIO(data)) as image:
        assert stored(found).tobytes() == image.convert("RGB").tobytes()


def test_a_cmyk_profile_does_not_describe_rgb_pixels() -> None:
    profile = SRGB[:16] + b"CMYK" + SRGB[20:]
    found = accepted(encoded(picture("CMYK"), "JPEG", icc_profile=profile))
    assert b"iCCP" not in found.payload


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_not_clipped(channels: int) -> None:
    eight = np.asarray(picture("L" if channels == 1 else "RGB"))
    found = accepted(sixteen_bit_png(eight.astype(np.uint16) * 257))
    check_consistent(found)
    assert found.reencoded == "16_bit"
    expected = Image.fromarray(eight).convert("RGB")
    assert stored(found).tobytes() == expected.tobytes()


def test_sixteen_bit_tiff_is_scaled_too() -> None:
    eight = np.asarray(picture("L"))
    found = accepted(encoded(Image.fromarray(eight.astype(np.uint16) * 257), "TIFF"))
    assert found.reencoded == "format"
    assert np.array_equal(np.asarray(stored(found))[:, :, 0], eight)


@pytest.mark.parametrize(
    ("mode", "name", "reason"),
    [
        ("P", "PNG", "palette"),
        ("1", "PNG", "1_bit"),
        ("LA", "PNG", "alpha"),
        ("P", "GIF", "format"),
        ("RGB", "BMP", "format"),
        ("RGB", "TIFF", "format"),
        ("CMYK", "TIFF", "format"),
        ("1", "TIFF", "format"),
        ("RGB", "WEBP", "format"),
    ],
)
def test_unusual_kinds_become_png(mode: str, name: str, reason: str) -> None:
    data = encoded(picture(mode), name)
    found = accepted(data)
    check_consistent(found)
    assert (found.reencoded, found.stored_format, found.source_format) == (reason, "png", name.lower())
    with Image.open(io.BytesIO(data)) as image:
        assert stored(found).tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_shown_on_white(mode: str) -> None:
    image = picture("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda a: 0 if a < 40 else a))
    data = encoded(image.convert(mode) if mode != "P" else image.quantize(64), "PNG")
    found = accepted(data)
    check_consistent(found)
    assert found.reencoded == ("palette" if mode == "P" else "alpha")
    with Image.open(io.BytesIO(data)) as again:
        rgba = np.asarray(again.convert("RGBA")).astype(float)
    alpha = rgba[:, :, 3:] / 255
    expected = rgba[:, :, :3] * alpha + 255 * (1 - alpha)
    assert np.abs(np.asarray(stored(found)) - expected).max() <= 1


def test_a_transparent_colour_is_shown_on_white() -> None:
    image = picture()
    key = image.getpixel((5, 5))
    found = accepted(encoded(image, "PNG", transparency=key))
    check_consistent(found)
    assert found.reencoded == "alpha"
    assert stored(found).getpixel((5, 5)) == (255, 255, 255)


def test_reencoding_is_deterministic() -> None:
    data = encoded(picture("P"), "PNG")
    assert accepted(data) == accepted(data)


# ---------------------------------------------------------------------------------------------------------- refused


def test_refusals_of_what_is_no_image() -> None:
    assert refused(b"").rule == "empty_file"
    for data in (b"image_id,label\n1,mel\n", b"\0" * 4000, b"%PDF-1.7", encoded(picture(), "PPM")):
        assert refused(data).rule == "not_an_image"


def test_large_files_are_not_looked_into() -> None:
    found = refused(b"\xff\xd8\xff" + b"\0" * 2000, InspectSettings(max_megabytes=0.001))
    assert (found.rule, found.value, found.threshold) == ("file_too_large", 2003, 1000)


def bomb(name: str) -> bytes:
    """100 megapixels in few bytes."""
    data = encoded(
        Image.new("1", (10_000, 10_000)), name, **({"compression": "tiff_deflate"} if name == "TIFF" else {})
    )
    assert len(data) < 200_000
    return data


@pytest.mark.parametrize("action", ["error", "default"])
@pytest.mark.parametrize("name", ["PNG", "GIF", "TIFF"])
def test_a_bomb_is_refused_by_its_header(name: str, action: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bomb(name)

    def decoded(_: ImageFile.ImageFile) -> None:
        raise AssertionError("the bomb was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter(action, Image.DecompressionBombWarning)
        found = refused(data)
    assert found.rule == "too_many_pixels"
    assert found.threshold == 50_000_000
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_pixel_limit_is_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    accepted(encoded(picture(), "JPEG"))
    accepted(encoded(picture(), "PNG"))
    limit = InspectSettings(max_megapixels=0.0108)
    accepted(encoded(picture(), "PNG"), limit)
    assert refused(encoded(picture(width=121), "PNG"), limit).value == 121 * 90


def test_small_images_are_refused() -> None:
    found = refused(encoded(picture(width=200, height=63), "PNG"))
    assert (found.rule, found.value, found.threshold) == ("too_small", 63, 64)
    accepted(encoded(picture(width=200, height=64), "PNG"))


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG", "TIFF"])
def test_moving_images_are_refused(name: str) -> None:
    data = encoded(picture(), name, save_all=True, append_images=[picture(seed=k) for k in (1, 2)])
    found = refused(data)
    assert (found.rule, found.value) == ("animated", 3)


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_pixels_without_an_eight_bit_meaning_are_refused(mode: str) -> None:
    image = Image.fromarray(np.asarray(picture("L")).astype(np.float32 if mode == "F" else np.int32))
    data = encoded(Image.new("LAB", (100, 100)) if mode == "LAB" else image, "TIFF")
    found = refused(data)
    assert (found.rule, found.value) == ("unsupported_mode", mode)


FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
def test_truncated_files_are_corrupt(name: str, share: float) -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    data = encoded(picture(), name)
    found = refused(data[: max(16, int(len(data) * share))])
    assert found.rule == "corrupt_image"
    assert found.detail


def test_a_jpeg_without_its_end_is_corrupt() -> None:
    data = encoded(picture(), "JPEG")
    assert refused(data[:-2]).rule == "corrupt_image"
    Image.open(io.BytesIO(data[:-2] + b"\0\0")).load()  # which Pillow alone would let pass
    assert refused(data[:-2] + b"\0\0").rule == "corrupt_image"


def test_details_name_no_memory_address() -> None:
    assert inspection._message(OSError("cannot read <_io.BytesIO object at 0x7f3a2b>")) == (
        "cannot read <_io.BytesIO object>"
    )
    assert inspection._message(KeyError()) == "KeyError"


def test_running_out_of_memory_is_not_the_images_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(_: ImageFile.ImageFile) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", exhausted)
    with pytest.raises(MemoryError):
        inspect_bytes(encoded(picture(), "BMP"), SETTINGS)


SAMPLES = [encoded(picture(width=70, height=66), name) for name in FORMATS]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
    st.booleans(),
)
def test_damaged_files_never_raise(data: bytes, flips: list[tuple[int, int]], share: float, cut: bool) -> None:
    damaged = bytearray(data)
    for position, value in flips:
        damaged[(position % 200 if position % 2 else position) % len(damaged)] = value
    content = bytes(damaged[: int(len(damaged) * share)] if cut else damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = inspect_bytes(content, InspectSettings(max_megapixels=1))
    assert isinstance(found, Refused) or found.width * found.height <= 1_000_000


@given(st.sampled_from([data[:12] for data in SAMPLES] + [b""]), st.binary(max_size=300))
def test_garbage_never_raises(start: bytes, rest: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert isinstance(inspect_bytes(start + rest, SETTINGS), Refused)


# ---------------------------------------------------------------------------------------------------------- quality


def test_blur_lowers_sharpness_at_any_size() -> None:
    sharp, half = picture(width=600, height=450), picture(width=600, height=450).resize((300, 225))
    for image in (sharp, half):
        found = [
            accepted(encoded(image.filter(ImageFilter.GaussianBlur(radius)), "PNG")).sharpness for radius in (0, 2, 5)
        ]
        assert found[0] > found[1] > found[2] >= 0


def test_flat_images_are_marked() -> None:
    assert accepted(encoded(Image.new("RGB", (100, 100), (200, 160, 140)), "PNG")).luma_std == 0
    assert accepted(encoded(Image.new("RGB", (100, 100), (200, 160, 140)), "PNG")).low_variance
    assert not accepted(encoded(picture(), "PNG")).low_variance
    assert accepted(encoded(picture(), "PNG"), InspectSettings(low_variance_below=200)).low_variance


# ------------------------------------------------------------------------------------------------------------ shards


def write_files(folder: Path, contents: dict[str, bytes]) -> list[tuple[str, str, str]]:
    items = []
    for name, data in contents.items():
        (folder / name).write_bytes(data)
        items.append((hashlib.sha256(data).hexdigest(), str(folder / name), f"drawn:{name}"))
    return items


@pytest.fixture
def items(tmp_path: Path) -> list[tuple[str, str, str]]:
    folder = tmp_path / "files"
    folder.mkdir()
    contents = {f"{k}.jpg": encoded(picture(seed=k), "JPEG") for k in range(9)}
    contents["palette.png"] = encoded(picture("P"), "PNG")
    contents["cut.jpg"] = contents["3.jpg"][:-40]
    contents["empty.jpg"] = b""
    contents["notes.jpg"] = b"a text named .jpg"
    listed = write_files(folder, contents)
    (folder / "4.jpg").write_bytes(encoded(picture(seed=99), "JPEG"))
    (folder / "5.jpg").unlink()
    (folder / "a folder").mkdir()
    return [*listed, ("0" * 64, str(folder / "a folder"), "drawn:folder")]


def test_a_shard_has_a_row_or_a_refusal_for_each_file(tmp_path: Path, items: list[tuple[str, str, str]]) -> None:
    rows, refusals = inspect_shard(items, SETTINGS, tmp_path / "p-0.tar", workers=2)
    listed = {digest: name for digest, _, name in items}
    assert [listed[row["file_digest"]] for row in rows] == [
        *(f"drawn:{k}.jpg" for k in (0, 1, 2, 3, 6, 7, 8)),
        "drawn:palette.png",
    ]
    assert {listed[r["file_digest"]]: r["rule"] for r in refusals} == {
        "drawn:4.jpg": "file_changed",
        "drawn:5.jpg": "file_missing",
        "drawn:cut.jpg": "corrupt_image",
        "drawn:empty.jpg": "empty_file",
        "drawn:notes.jpg": "not_an_image",
        "drawn:folder": "file_unreadable",
    }
    assert all(set(r) == {"file_digest", "rule", "value", "threshold", "detail"} for r in refusals)
    assert str(tmp_path) not in repr(refusals)
    table = pa.Table.from_pylist(rows, schema=INSPECTIONS)
    assert table.num_rows == len(rows)
    assert all(set(row) == set(INSPECTIONS.names) for row in rows)
    content = (tmp_path / "p-0.tar").read_bytes()
    for row in rows:
        payload = content[row["pack_offset"] : row["pack_offset"] + row["stored_bytes"]]
        assert hashlib.sha256(payload).hexdigest() == row["image_digest"]
        assert row["pack"] == "p-0.tar"
    with tarfile.open(tmp_path / "p-0.tar", "r:") as tar:
        assert tar.getnames()[-1].endswith(".png")
        assert tar.getnames()[0].endswith(".jpg")


def test_the_number_of_workers_changes_nothing(tmp_path: Path, items: list[tuple[str, str, str]]) -> None:
    outcomes = []
    for workers in (1, 3, 0):
        folder = tmp_path / str(workers)
        folder.mkdir()
        outcomes.append((inspect_shard(items, SETTINGS, folder / "p.tar", workers), (folder / "p.tar").read_bytes()))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_an_empty_shard_is_an_empty_pack(tmp_path: Path) -> None:
    assert inspect_shard([], SETTINGS, tmp_path / "p.tar") == ([], [])
    with tarfile.open(tmp_path / "p.tar", "r:") as tar:
        assert tar.getnames() == []


def test_few_images_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = write_files(tmp_path, {f"{k}.png": encoded(picture(seed=k, width=64, height=64), "PNG") for k in range(20)})
    held, most, lock = 0, 0, threading.Lock()
    inspect_file, add = inspection._inspect_file, inspection.PackWriter.add

    def counted(*arguments: Any) -> Any:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return inspect_file(*arguments)

    def packed(self: Any, *arguments: Any) -> int:
        nonlocal held
        with lock:
            held -= 1
        return add(self, *arguments)

    monkeypatch.setattr(inspection, "_inspect_file", counted)
    monkeypatch.setattr(inspection.PackWriter, "add", packed)
    rows, _ = inspect_shard(items, SETTINGS, tmp_path / "p.tar", workers=2)
    assert len(rows) == 20
    assert 1 <= most <= 4


def test_a_failing_disk_is_not_the_images_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = write_files(tmp_path, {"a.png": encoded(picture(), "PNG")})

    def failing(_: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(StoreError, match="Input/output error"):
        inspect_shard(items, SETTINGS, tmp_path / "p.tar")


def test_a_file_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = write_files(tmp_path, {"a.png": encoded(picture(), "PNG")})
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("the file was read"))
    _, refusals = inspect_shard(items, InspectSettings(max_megabytes=0.001), tmp_path / "p.tar")
    assert refusals[0]["rule"] == "file_too_large"


# --------------------------------------------------------------------------------------------------------- real data


@pytest.mark.parametrize("folder", ["isic_uda1", "pad_ufes_20", "ham10000", "republished"])
def test_real_images_are_all_accepted(folder: str) -> None:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"{SHARED / folder} is not here: real-data test")
    files = sorted(p for p in (SHARED / folder).rglob("*") if p.suffix in {".jpg", ".png"})
    for path in files[:: max(1, len(files) // 4)]:
        found = accepted(path.read_bytes())
        check_consistent(found)
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            assert stored(found).tobytes() == upright.convert("RGB").tobytes(), path.name
            assert found.reencoded is None or upright.mode == "RGBA", path.name
