"""Inspection in images per second, against bare Pillow decoding and against sixteen imagehash calls.

The three are timed alternately on the same images in one process and one thread, and the best of several rounds counts,
so that a busy machine slows all alike. Run: ``python -m tests.benchmarks.bench_inspect [--folder DIR]``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from corpus import inspection, phash
from corpus.payload import cut_metadata
from schemas.config import InspectSettings

GOAL_DECODING, GOAL_CALLS = 0.30, 5.0
SETTINGS = InspectSettings(min_side_pixels=1)


def drawn_photograph(seed: int, width: int = 600, height: int = 450) -> bytes:
    """JPEG (quality 90) of mottled skin with a lesion, hairs and sensor noise."""
    rng = np.random.default_rng(seed)
    skin = np.full((height, width, 3), rng.uniform((190, 140, 115), (230, 180, 155)))
    for cell, strength in ((64, 18.0), (16, 9.0), (4, 6.0)):
        coarse = rng.normal(0, strength, (height // cell + 2, width // cell + 2))
        grain = Image.fromarray(coarse.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
        skin += np.asarray(grain)[:, :, None]
    y, x = np.mgrid[0:height, 0:width]
    turn = np.arctan2(y - height / 2, x - width / 2)
    radius = 110 + 18 * np.sin(3 * turn + rng.uniform(0, 6)) + 9 * np.sin(7 * turn + rng.uniform(0, 6))
    inside = 1 / (1 + np.exp((np.hypot(y - height / 2, x - width / 2) - radius) / 6))
    skin += inside[:, :, None] * np.array([-90.0, -85.0, -70.0])
    photograph = Image.fromarray(np.clip(skin, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(photograph)
    for _ in range(12):
        start, end = rng.uniform(0, width, 2), rng.uniform(0, height, 2)
        pen.line([*start, *end], fill=(60, 45, 40), width=2)
    noise = rng.normal(0, 3, (height, width, 3))
    soft = np.asarray(photograph.filter(ImageFilter.GaussianBlur(0.8))) + noise
    buffer = io.BytesIO()
    Image.fromarray(np.clip(soft, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def bare_decode(data: bytes) -> Image.Image:
    """Open, load and convert: the least that any reader of pixels does."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def sixteen_calls(grey: Image.Image) -> list[str]:
    """imagehash on two views, each in eight orientations."""
    turned = [
        view if turn is None else view.transpose(turn)
        for view in (grey, phash.central_square(grey))
        for turn in phash.ORIENTATIONS
    ]
    return [str(imagehash.phash(image, hash_size=16)) for image in turned]


def seconds(work: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Best time of each piece of work over alternating rounds."""
    best = [float("inf")] * len(work)
    for _ in range(rounds):
        for index, run in enumerate(work):
            start = time.perf_counter()
            run()
            best[index] = min(best[index], time.perf_counter() - start)
    return best


def breakdown(files: list[bytes], rounds: int) -> list[tuple[str, float]]:
    """Seconds of each step of inspection over all files, timed alone."""
    images = [bare_decode(data) for data in files]
    greys = [image.convert("L") for image in images]
    squares = [(grey, phash.central_square(grey)) for grey in greys]
    pixels = [[np.asarray(view) for view in views] for views in squares]
    thumbnails = [np.stack([phash._resized(view) for view in views]) for views in pixels]
    steps: list[tuple[str, Callable[[], object]]] = [
        ("sha256 of the payload", lambda: [hashlib.sha256(data).hexdigest() for data in files]),
        ("cut metadata", lambda: [cut_metadata(data) for data in files]),
        ("decode", lambda: [bare_decode(data) for data in files]),
        ("grey", lambda: [image.convert("L") for image in images]),
        ("resize two views", lambda: [[phash._resized(view) for view in views] for views in pixels]),
        ("DCT, medians, sixteen hashes", lambda: [phash._hash_thumbnails(pair) for pair in thumbnails]),
        ("pixel digest", lambda: [inspection._pixel_digest(image) for image in images]),
        ("luma deviation", lambda: [inspection._luma_std(grey) for grey in greys]),
        ("sharpness", lambda: [inspection._sharpness(grey) for grey in greys]),
    ]
    return list(zip([name for name, _ in steps], seconds([run for _, run in steps], rounds), strict=True))


def check_equality(files: list[bytes]) -> int:
    """Largest distance of any turned hash from imagehash; an upright one that differs ends the benchmark."""
    worst = 0
    for data in files:
        found = inspection.inspect_bytes(data, SETTINGS)
        assert isinstance(found, inspection.Inspected), found
        calls = sixteen_calls(bare_decode(data).convert("L"))
        for view, hashes in enumerate((found.phash_whole, found.phash_centre)):
            assert phash.phash_hex(hashes) == calls[8 * view], "an upright hash differs from imagehash"
            for turn in range(8):
                ours = int.from_bytes(hashes[32 * turn : 32 * turn + 32], "big")
                worst = max(worst, (ours ^ int(calls[8 * view + turn], 16)).bit_count())
    return worst


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="upright JPEG or PNG files to use instead of drawn ones")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if options.folder:
        found = sorted(p for p in options.folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
        files = [path.read_bytes() for path in found[: options.images]]
    else:
        files = [drawn_photograph(seed) for seed in range(options.images)]
    n = len(files)
    greys = [bare_decode(data).convert("L") for data in files]
    print(f"{n} images, {sum(map(len, files)) / n / 1000:.0f} kB and {greys[0].size} pixels (the first), one thread")
    print(f"equal to imagehash upright; turned within {check_equality(files)} of 256 bits")
    decode, inspect, calls = seconds(
        [
            lambda: [bare_decode(data) for data in files],
            lambda: [inspection.inspect_bytes(data, SETTINGS) for data in files],
            lambda: [sixteen_calls(grey) for grey in greys],
        ],
        options.rounds,
    )
    for name, total in (("bare decoding", decode), ("inspect_bytes", inspect), ("16 imagehash calls", calls)):
        print(f"{name:<20} {n / total:8.1f} images/s  {total / n * 1e3:7.2f} ms")
    print(f"inspection / bare decoding: {decode / inspect:.2f} (goal {GOAL_DECODING:.2f})")
    print(f"inspection / sixteen calls: {calls / inspect:.1f} (goal {GOAL_CALLS:.1f}; the calls without a decode)")
    print("where the time of inspect_bytes goes:")
    steps = breakdown(files, options.rounds)
    steps.append(("rest (objects, EXIF, calls)", inspect - sum(total for _, total in steps)))
    for name, total in steps:
        print(f"  {name:<30} {total / n * 1e3:7.3f} ms  {total / inspect:6.1%}")


if __name__ == "__main__":
    main()
