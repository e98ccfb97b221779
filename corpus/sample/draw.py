"""Draws the sample into a folder: plan every row, draw the photographs, make the planted copies, write the tables.

Each image comes from its own seed, so bytes depend neither on the number of images nor on the number of processes, and
a larger sample contains a smaller one. Bytes do depend on the libraries that draw and encode; the tables name only
digests of what was drawn. A marker file written last says that a sample is complete; without it, it is drawn anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from corpus.child_process import die_with
from corpus.sample import layouts
from corpus.sample.encoding import encode
from corpus.sample.layouts import F17K, FOLDER, HAM, PAD
from corpus.sample.lesions import View, draw_photograph
from corpus.sample.plants import (
    COPIES,
    EXPECTED,
    RECIPES,
    Plant,
    make_copy,
    plant,
    spoil,
    view_hashes,
)
from corpus.sample.records import Ledger, Record, new_record, plain_record
from schemas.errors import StoreError, UserError

#: Raised whenever the same parameters give other files.
FORMAT = 1
Progress = Callable[[int, int], None]

_VIEW: dict[str, View] = {HAM: "dermoscopic", PAD: "clinical", F17K: "atlas"}
_PATTERN = [{"H": HAM, "P": PAD, "F": F17K}[c] for c in "HPFHHPFHPHFPHHPFHPFHHPFHPFHPHF"]
# What a seed is for; each image has one stream for its row, one for its picture, one for its copy.
_ROW, _PICTURE, _COPY, _ADDED = range(4)
_FIRST_PLANT, _PLANT_EVERY = 16, 24
_RECENT = 400  # plain rows that may still become an original
_FIRST_ADDED = 9_000_000  # ISIC number of the first image that add_images adds

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class SampleSummary:
    """What a sample holds: rows in all and per source, planted defects per kind; ``drawn`` False if it was there."""

    folder: Path
    n_images: int
    per_source: dict[str, int]
    planted: dict[str, int]
    drawn: bool


def draw_sample(
    folder: Path,
    n_images: int = 300,
    seed: int = 7,
    workers: int = 1,
    size: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> SampleSummary:
    """Draw ``n_images`` rows, planted ones among them, into ``folder``, and their truth beside them.

    ``size`` (width, height in pixels) makes all photographs that large; by default HAM10000 has 600 x 450, the others
    600 x 450 to 800 x 600. ``workers``: processes. ``progress(done, total)`` is called in this process. A folder that
    holds the same sample is left as it is, whatever :func:`add_images` added to it; another or unfinished sample is
    replaced. From 90 images on, every kind of defect occurs. Raises :class:`schemas.errors.UserError` when ``n_images``
    or ``size`` is too small, and :class:`schemas.errors.StoreError` when ``folder`` holds anything but a sample.
    """
    if n_images < 1 or (size is not None and min(size) < 128):
        raise UserError("A drawn sample needs at least 1 image of at least 128 pixels a side: ask for more.")
    wanted = {"format": FORMAT, "n_images": n_images, "seed": seed, "size": None if size is None else list(size)}
    marker = folder / layouts.MARKER_FILE
    found = _marker(marker)
    if found is not None and all(found.get(key) == value for key, value in wanted.items()):
        return SampleSummary(folder, n_images, found["per_source"], found["planted"], drawn=False)
    records, plants = plan_sample(n_images, seed, size)
    try:
        _clear(folder)
        manifest = _draw_files(folder, records, plants, seed, workers, progress)
        _write_tables(folder, records, plants, manifest)
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"the sample cannot be drawn into {folder} ({reason}): mend that, or name another") from error
    summary = SampleSummary(
        folder,
        n_images,
        dict(sorted(Counter(record.source for record in records).items())),
        dict(sorted(Counter(made.recipe.kind for made in plants).items())),
        drawn=True,
    )
    counts = {"per_source": summary.per_source, "planted": summary.planted}
    layouts.write_whole(marker, json.dumps(wanted | counts, indent=1) + "\n")
    (folder / layouts.UNFINISHED_FILE).unlink()
    return summary


def add_images(folder: Path, n_more: int, seed: int = 7, workers: int = 1) -> list[str]:
    """Append ``n_more`` plain images to the HAM10000 part of a drawn sample and return their image ids.

    What was there keeps its bytes and rows; calling again adds further images. Raises :class:`StoreError` when
    ``folder`` holds no complete sample.
    """
    if _marker(folder / layouts.MARKER_FILE) is None:
        raise StoreError(f"{folder} holds no complete drawn sample: draw one there before adding images to it.")
    table = folder / FOLDER[HAM] / layouts.TABLE[HAM]
    rows = layouts.read_csv(table)
    before = sum(row["image_id"] >= f"ISIC_{_FIRST_ADDED:07d}" for row in rows)
    records = []
    for serial in range(before, before + n_more):
        rng = np.random.default_rng([seed, _ADDED, serial])
        ledger = Ledger()
        ledger.serials[HAM] = _FIRST_ADDED - 24306 + serial
        label = str(rng.choice(["nv", "mel", "bkl", "bcc", "akiec"]))
        records.append(new_record(serial, HAM, label, 1 + int(rng.integers(6)), ledger, None, rng))
    work = partial(_draw_record, folder, [seed, _ADDED, _PICTURE])
    for _ in _run(work, [(record, "") for record in records], workers):
        pass
    layouts.write_csv(table, layouts.COLUMNS[HAM], [*rows, *(record.row for record in records)])
    return [record.image_id for record in records]


def plan_sample(n_images: int, seed: int, size: tuple[int, int] | None = None) -> tuple[list[Record], list[Plant]]:
    """Every row of a sample in order, and what is planted; touches no file. Row k does not depend on ``n_images``."""
    ledger, records, plants = Ledger(), [], []
    recent: deque[Record] = deque(maxlen=_RECENT)
    waiting: list[int] = []
    started = plain = 0
    for index in range(n_images):
        rng = np.random.default_rng([seed, _ROW, index])
        early = started < len(RECIPES) and index >= _FIRST_PLANT and index % 2 == 0
        if early or (started >= len(RECIPES) and index % _PLANT_EVERY == 0):
            waiting.append(started % len(RECIPES))
            started += 1
        row = None
        for number in list(waiting):
            made = plant(RECIPES[number], index, list(recent), ledger, size, rng)
            if made is None:
                continue
            waiting.remove(number)
            plants.append(made)
            if made.recipe.kind != "benchmark_image":
                row = made.record
                break
        if row is None:
            row = plain_record(index, _PATTERN[plain % len(_PATTERN)], ledger, size, rng)
            plain += 1
            recent.append(row)
        records.append(row)
    return records, plants


def _marker(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _clear(folder: Path) -> None:
    """Make the folder an unfinished, empty sample, or refuse because something else lies there."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in folder.iterdir()}
    if names and not names & {layouts.MARKER_FILE, layouts.UNFINISHED_FILE}:
        raise StoreError(f"{folder} is not empty and holds no drawn sample: name an empty or new folder for it.")
    (folder / layouts.UNFINISHED_FILE).touch()
    for name in (layouts.MARKER_FILE, layouts.TRUTH_FILE, layouts.MANIFEST_FILE):
        (folder / name).unlink(missing_ok=True)
    for name in (*FOLDER.values(), layouts.OUTSIDE):
        shutil.rmtree(folder / name, ignore_errors=True)
    layouts.make_folders(folder)


def _draw_files(
    folder: Path, records: Sequence[Record], plants: Sequence[Plant], seed: int, workers: int, progress: Progress | None
) -> list[dict[str, str]]:
    """Write every image file, complete the records with what was drawn, and return the benchmark manifest's rows."""
    kinds = {made.record.index: made.recipe.kind for made in plants if made.recipe.kind != "benchmark_image"}
    copies = [made for made in plants if made.recipe.kind in COPIES]
    benchmarks = [made for made in plants if made.recipe.kind == "benchmark_image"]
    repeated = [made for made in plants if made.recipe.kind == "duplicate_id"]
    none_drawn = {made.record.index for made in (*copies, *repeated)}
    drawn = [(record, kinds.get(record.index, "")) for record in records if record.index not in none_drawn]
    total, done = len(drawn) + len(copies) + len(benchmarks), 0

    def run(work: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[Job, Result]]:
        nonlocal done
        for job, result in zip(jobs, _run(work, jobs, workers), strict=True):
            done += 1
            if progress is not None:
                progress(done, total)
            yield job, result

    for (record, _), named in run(partial(_draw_record, folder, [seed, _PICTURE]), drawn):
        _complete(record, named)
    for made, named in run(partial(_draw_copy, folder, [seed, _COPY]), copies):
        _complete(made.record, named)
    return [row for _, row in run(partial(_manifest_row, folder, [seed, _COPY]), benchmarks)]


def _run(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterable[Result]:
    if workers <= 1 or len(jobs) < 2 * workers:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=die_with, initargs=(os.getpid(),)) as pool:
        yield from pool.map(work, jobs, chunksize=max(1, min(32, len(jobs) // (4 * workers))))


def _draw_record(folder: Path, stream: list[int], job: tuple[Record, str]) -> tuple[str, str]:
    """Draw one record's photograph and write its file; returns the image id and the file's path below its source."""
    record, kind = job
    rng = np.random.default_rng([*stream, record.index])
    picture = draw_photograph(record.label, _VIEW[record.source], record.tone, record.size, rng)
    whole = encode(picture, record.source, int(rng.integers(86, 94)))
    return _write(folder, record, whole, spoil(kind, whole, picture, record.index))


def _draw_copy(folder: Path, stream: list[int], made: Plant) -> tuple[str, str]:
    assert made.original is not None
    original = (folder / FOLDER[made.original.source] / made.original.file_path).read_bytes()
    kind = "recompressed" if made.recipe.kind == "conflicting_label" else made.recipe.kind
    data = make_copy(kind, original, made.record.source, np.random.default_rng([*stream, made.record.index]))
    return _write(folder, made.record, data, data)


def _write(folder: Path, record: Record, whole: bytes, data: bytes | None) -> tuple[str, str]:
    name, path = record.image_id, record.file_path
    if record.source == F17K:
        name = hashlib.md5(whole, usedforsecurity=False).hexdigest()
        path = layouts.image_path(F17K, name, 0)
    if data is not None:
        (folder / FOLDER[record.source] / path).write_bytes(data)
    return name, path


def _complete(record: Record, named: tuple[str, str]) -> None:
    record.row[layouts.ID_COLUMN[record.source]], record.file_path = named


def _manifest_row(folder: Path, stream: list[int], made: Plant) -> dict[str, str]:
    """How the evaluation set names a benchmark image: by name, by digest, or by the hashes of a re-processed copy."""
    record, row = made.record, dict.fromkeys(layouts.MANIFEST_COLUMNS, "")
    data = (folder / FOLDER[record.source] / record.file_path).read_bytes()
    if made.recipe.manifest == "name":
        return row | {"dataset": record.source, "name": record.image_id}
    if made.recipe.manifest == "digest":
        return row | {"dataset": "evaluation", "file_digest": hashlib.sha256(data).hexdigest()}
    rng = np.random.default_rng([*stream, record.index])
    kind = ("rescaled", "recompressed", "centre_cropped")[record.index % 3]
    whole, centre = view_hashes(Image.open(io.BytesIO(make_copy(kind, data, HAM, rng))))
    hashes = {"phash_whole": np.packbits(whole).tobytes().hex(), "phash_centre": np.packbits(centre).tobytes().hex()}
    if kind == "centre_cropped":
        hashes["phash_centre"] = ""
    return row | {"dataset": "evaluation"} | hashes


def _write_tables(
    folder: Path, records: Sequence[Record], plants: Sequence[Plant], manifest: list[dict[str, str]]
) -> None:
    for made in plants:
        if made.recipe.kind == "duplicate_id" and made.original is not None:
            _complete(made.record, (made.original.image_id, made.original.file_path))
    for source, name in layouts.TABLE.items():
        rows = [record.row for record in records if record.source == source]
        layouts.write_csv(folder / FOLDER[source] / name, layouts.COLUMNS[source], rows)
    truth = [row for made in plants for row in _truth(made)]
    layouts.write_csv(folder / layouts.TRUTH_FILE, layouts.TRUTH_COLUMNS, truth)
    elsewhere = [  # images of the evaluation set that are not in the sample: nothing may match them
        {"dataset": HAM, "name": "ISIC_9999999"},
        {"dataset": "evaluation", "file_digest": hashlib.sha256(b"a photograph drawn nowhere").hexdigest()},
        {"dataset": "evaluation", "phash_whole": hashlib.sha256(b"a hash of nothing drawn").hexdigest()},
    ]
    layouts.write_csv(folder / layouts.MANIFEST_FILE, layouts.MANIFEST_COLUMNS, [*manifest, *elsewhere])


def _truth(made: Plant) -> list[dict[str, str]]:
    """Truth rows of one planted defect; of a label conflict two, for both images are to be rejected."""
    rule, stage = EXPECTED[made.recipe.kind]

    def row(record: Record, other: Record | None) -> dict[str, str]:
        return {
            "kind": made.recipe.kind,
            "source": record.source,
            "file_path": record.file_path,
            "source_image_id": record.image_id,
            "original_source": other.source if other is not None else "",
            "original_source_image_id": other.image_id if other is not None else "",
            "expected_rule": rule,
            "expected_stage": stage,
        }

    rows = [row(made.record, made.original)]
    if made.recipe.kind == "conflicting_label" and made.original is not None:
        rows.append(row(made.original, made.record))
    return rows
