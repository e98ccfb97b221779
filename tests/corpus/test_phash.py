"""Perceptual hashes: equal to imagehash upright, close to it turned, exact in the resize beneath."""

from __future__ import annotations

import os
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from corpus import phash

SHARED = Path(os.environ.get("DERMCOT_SHARED_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))
TURNED_BITS = 6


def noise(width: int, height: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8))


def lesion(width: int, height: int, seed: int) -> Image.Image:
    """A dark, lopsided blob on mottled skin."""
    rng = np.random.default_rng(seed)
    mottle = Image.fromarray(rng.normal(0, 14, (12, 16)).astype(np.float32)).resize((width, height), 3)
    y, x = np.mgrid[0:height, 0:width]
    u, v = x / width - rng.uniform(0.4, 0.6), y / height - rng.uniform(0.4, 0.6)
    radius = 0.25 + 0.05 * np.sin(3 * np.arctan2(v, u) + rng.uniform(0, 6))
    skin = 180 + np.asarray(mottle) - 90 / (1 + np.exp((np.hypot(u, v) - radius) * 40)) + rng.normal(0, 3, u.shape)
    return Image.fromarray(np.clip(skin, 0, 255).astype(np.uint8))


def turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def reference(image: Image.Image) -> str:
    return str(imagehash.phash(image, hash_size=16))


def distances(hashes: bytes, image: Image.Image) -> list[int]:
    """Bits in which each orientation differs from imagehash on the turned image."""
    ours = [int.from_bytes(hashes[32 * k : 32 * k + 32], "big") for k in range(8)]
    return [
        (a ^ int(reference(turned(image, t)), 16)).bit_count() for a, t in zip(ours, phash.ORIENTATIONS, strict=True)
    ]


sizes = st.integers(1, 400)


@settings(max_examples=120, deadline=None)
@given(sizes, sizes, st.integers(0, 1 << 30))
def test_upright_hash_equals_imagehash_for_any_size(width: int, height: int, seed: int) -> None:
    image = noise(width, height, seed)
    hashes = phash.oriented_hashes(image)
    assert len(hashes) == 8 * phash.HASH_BYTES
    assert phash.phash_hex(hashes) == reference(image)


@settings(max_examples=80, deadline=None)
@given(sizes, sizes, st.integers(0, 1 << 30))
def test_resize_equals_pillow(width: int, height: int, seed: int) -> None:
    image = noise(width, height, seed)
    ours = phash._resized(np.asarray(image))
    assert np.array_equal(ours, np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS)))


@pytest.mark.parametrize(
    ("width", "height"), [(1500, 1100), (1100, 1500), (500, 2500), (2500, 500), (64, 64), (65, 66)]
)
def test_resize_equals_pillow_where_it_is_done_in_pieces(width: int, height: int) -> None:
    # Black and white noise overshoots most, so it also tests the clipping.
    image = noise(width, height, 5).point(lambda level: 255 * (level > 127))
    ours = phash._resized(np.asarray(image))
    assert np.array_equal(ours, np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS)))


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_flat_images_hash_as_imagehash_does(level: int) -> None:
    image = Image.new("L", (120, 90), level)
    assert phash.phash_hex(phash.oriented_hashes(image)) == reference(image)


@pytest.mark.parametrize(("width", "height"), [(600, 450), (450, 600), (300, 300), (200, 150), (350, 900)])
@pytest.mark.parametrize("seed", range(3))
def test_turned_hashes_agree_with_turned_images(width: int, height: int, seed: int) -> None:
    image = lesion(width, height, seed)
    found = distances(phash.oriented_hashes(image), image)
    assert found[0] == 0
    assert max(found) <= TURNED_BITS


def test_orientations_are_eight_and_the_last_four_mirror_the_first() -> None:
    image = noise(7, 5, 0)
    seen = [turned(image, t) for t in phash.ORIENTATIONS]
    assert len({(s.size, s.tobytes()) for s in seen}) == 8
    for plain, mirrored in zip(seen[:4], seen[4:], strict=True):
        assert mirrored.tobytes() == plain.transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()
        assert mirrored.size == plain.size


def test_the_eight_hashes_differ_and_their_distances_are_even() -> None:
    hashes = phash.oriented_hashes(lesion(600, 450, 1))
    each = [int.from_bytes(hashes[32 * k : 32 * k + 32], "big") for k in range(8)]
    assert len(set(each)) == 8
    assert all((a ^ b).bit_count() % 2 == 0 for a in each for b in each)


@pytest.mark.parametrize(("width", "height"), [(600, 450), (450, 601), (300, 300), (90, 400)])
def test_two_views_are_the_frame_and_its_central_square(width: int, height: int) -> None:
    image = lesion(width, height, 4)
    whole, centre = phash.hash_views(image)
    assert whole == phash.oriented_hashes(image)
    assert centre == phash.oriented_hashes(phash.central_square(image))


def test_a_centre_crop_by_someone_else_is_found_by_the_square_view() -> None:
    image = lesion(600, 450, 2)
    crop = image.crop((75, 0, 525, 450)).resize((224, 224), Image.Resampling.BICUBIC)
    square = int.from_bytes(phash.hash_views(image)[1][:32], "big")
    copied = int.from_bytes(phash.hash_views(crop)[0][:32], "big")
    assert (square ^ copied).bit_count() <= 24


def test_central_square_is_centred() -> None:
    image = noise(9, 4, 1)
    assert phash.central_square(image).tobytes() == image.crop((2, 0, 6, 4)).tobytes()
    tall = noise(4, 9, 1)
    assert phash.central_square(tall).tobytes() == tall.crop((0, 2, 4, 6)).tobytes()


def test_only_grey_images_are_hashed() -> None:
    with pytest.raises(ValueError, match="mode L"):
        phash.oriented_hashes(Image.new("RGB", (80, 80)))


@pytest.mark.parametrize("folder", ["isic_uda1", "pad_ufes_20", "ham10000", "republished"])
def test_real_images_hash_as_imagehash_does(folder: str) -> None:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"{SHARED / folder} is not here: real-data test")
    files = sorted(p for p in (SHARED / folder).rglob("*") if p.suffix in {".jpg", ".png"})
    for path in files[:: max(1, len(files) // 6)]:
        with Image.open(path) as image:
            grey = image.convert("L")
        for view, hashes in zip((grey, phash.central_square(grey)), phash.hash_views(grey), strict=True):
            found = distances(hashes, view)
            assert found[0] == 0, path.name
            assert max(found) <= TURNED_BITS, path.name
