"""Plants duplicates and defects among the drawn images, and writes down which rule ought to catch each.

Every recipe occurs once among the first rows and then at regular places, so that small samples hold all of them and
large ones stay mostly clean. A planted copy is made worse than its original (a less certain label, fewer pixels or a
later id) so that the original is the survivor, and its hash distance is measured when it is made: a copy that the
documented definition of a near duplicate cannot find would be an untrue truth.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpus.sample.encoding import encode, jpeg, oversized_png
from corpus.sample.layouts import F17K, HAM, ID_COLUMN, LABEL_COLUMN, OUTSIDE, PAD
from corpus.sample.records import Ledger, Record, new_record

#: The same disease in the three vocabularies.
_SAME = (
    {HAM: "nv", PAD: "NEV", F17K: "nevocytic nevus"},
    {HAM: "mel", PAD: "MEL", F17K: "melanoma"},
    {HAM: "bcc", PAD: "BCC", F17K: "basal cell carcinoma"},
    {PAD: "SCC", F17K: "squamous cell carcinoma"},
    {HAM: "df", F17K: "dermatofibroma"},
)
_NO_LABEL = {HAM: "zzz", PAD: "QQQ", F17K: "unlisted eruption of the sample"}
#: Copies are made until one lies this near its original, in bits of 256: well within the search's 24.
NEAR = 16
COPIES = ("exact_copy", "rescaled", "recompressed", "centre_cropped", "rotated", "mirrored", "conflicting_label")


@dataclass(frozen=True)
class Recipe:
    """A defect of ``kind`` planted in ``source``. ``origin``: the source of the original, for copies.

    ``manifest``: for benchmark images, by what the evaluation set names them: name | digest | phash.
    """

    kind: str
    source: str
    origin: str | None = None
    manifest: str = ""


RECIPES = (
    Recipe("exact_copy", HAM, HAM),
    Recipe("recompressed", F17K, HAM),
    Recipe("rescaled", F17K, PAD),
    Recipe("corrupt_file", HAM),
    Recipe("mirrored", F17K, HAM),
    Recipe("centre_cropped", F17K, PAD),
    Recipe("zero_bytes", PAD),
    Recipe("rotated", HAM, HAM),
    Recipe("benchmark_image", F17K, manifest="digest"),
    Recipe("not_an_image", F17K),
    Recipe("conflicting_label", F17K, HAM),
    Recipe("unknown_label", HAM),
    Recipe("missing_file", PAD),
    Recipe("exact_copy", F17K, HAM),
    Recipe("benchmark_image", HAM, manifest="name"),
    Recipe("duplicate_id", HAM),
    Recipe("path_climbs_out", HAM),
    Recipe("rescaled", F17K, F17K),
    Recipe("exact_copy", PAD, HAM),
    Recipe("benchmark_image", PAD, manifest="phash"),
    Recipe("unknown_label", F17K),
    Recipe("rotated", F17K, PAD),
    Recipe("recompressed", HAM, HAM),
    Recipe("corrupt_file", F17K),
    Recipe("rescaled", HAM, PAD),
    Recipe("qc_wrongly_labelled", F17K),
    Recipe("centre_cropped", F17K, F17K),
    Recipe("mirrored", PAD, PAD),
    Recipe("too_many_pixels", PAD),
    Recipe("conflicting_label", HAM, HAM),
    Recipe("unknown_label", PAD),
    Recipe("qc_quarantined", F17K),
    Recipe("missing_file", HAM),
    Recipe("benchmark_image", HAM, manifest="phash"),
    Recipe("duplicate_id", PAD),
    Recipe("too_small", HAM),
)

#: Kind -> (rule, stage) that a correct pipeline rejects it with.
EXPECTED = {
    "exact_copy": ("exact_duplicate", "deduplicate"),
    **{kind: ("near_duplicate", "deduplicate") for kind in COPIES[1:-1]},
    "conflicting_label": ("label_conflict", "deduplicate"),
    "corrupt_file": ("corrupt_image", "inspect"),
    "not_an_image": ("not_an_image", "inspect"),
    "too_many_pixels": ("too_many_pixels", "inspect"),
    "too_small": ("too_small", "inspect"),
    "zero_bytes": ("empty_file", "ingest"),
    "missing_file": ("image_missing", "ingest"),
    "duplicate_id": ("duplicate_id", "ingest"),
    "path_climbs_out": ("path_outside_source", "ingest"),
    "qc_wrongly_labelled": ("qc_wrongly_labelled", "ingest"),
    "qc_quarantined": ("qc_quarantined", "ingest"),
    "unknown_label": ("unknown_label", "map_labels"),
    "benchmark_image": ("benchmark_image", "decontaminate"),
}


@dataclass
class Plant:
    """One planted defect: ``record`` has it; ``original`` is what it was made from, if anything."""

    recipe: Recipe
    record: Record
    original: Record | None = None


def plant(
    recipe: Recipe, index: int, candidates: Sequence[Record], ledger: Ledger, size: tuple[int, int] | None,
    rng: np.random.Generator,
) -> Plant | None:  # fmt: skip
    """Plan one defect as row ``index``, or None when no earlier record can serve as its original.

    ``candidates``: earlier plain records, oldest first. A benchmark image is an earlier record, not a new row.
    """
    if recipe.kind in COPIES:
        return _copy(recipe, index, candidates, ledger, size, rng)
    if recipe.kind in ("benchmark_image", "duplicate_id"):
        original = _first(candidates, lambda r: r.source == recipe.source and not r.shared)
        if original is None:
            return None
        original.spent = True
        ledger.close(original)
        if recipe.kind == "benchmark_image":
            return Plant(recipe, original)
        age = "35.0" if original.row["age"] != "35.0" else "40.0"
        return Plant(recipe, replace(original, index=index, row=original.row | {"age": age}), original)
    return Plant(recipe, _defective(recipe, index, ledger, size, rng))


def _first(candidates: Sequence[Record], wanted: Callable[[Record], bool]) -> Record | None:
    return next((record for record in candidates if not record.spent and wanted(record)), None)


def _copy(
    recipe: Recipe, index: int, candidates: Sequence[Record], ledger: Ledger, size: tuple[int, int] | None,
    rng: np.random.Generator,
) -> Plant | None:  # fmt: skip
    def serves(record: Record) -> bool:
        certain = record.row.get("dx_type") == "histo" or record.row.get("biopsed") == "True" or record.source == F17K
        roomy = recipe.origin == HAM or size is not None or record.size != (600, 450)
        return record.source == recipe.origin and certain and roomy and _label(recipe, record) is not None

    original = _first(candidates, serves)
    if original is None:
        return None
    original.spent = True
    label = _label(recipe, original)
    assert label is not None
    like = original if recipe.source == recipe.origin == PAD else None
    if like is not None:
        ledger.close(original)
    record = new_record(index, recipe.source, label, original.tone, ledger, size, rng, like, doubtful=True)
    record.shared = True
    return Plant(recipe, record, original)


def _label(recipe: Recipe, original: Record) -> str | None:
    """The label of a copy of ``original``: the same disease, or another one where the recipe wants a conflict."""
    if recipe.kind == "conflicting_label":
        if recipe.source == HAM:
            return {"nv": "mel", "mel": "bcc", "bcc": "nv"}.get(original.label)
        return "psoriasis"
    if recipe.source == recipe.origin:
        return original.label
    return next((same.get(recipe.source) for same in _SAME if same.get(original.source) == original.label), None)


def _defective(
    recipe: Recipe, index: int, ledger: Ledger, size: tuple[int, int] | None, rng: np.random.Generator
) -> Record:
    label = {HAM: "nv", PAD: "SEK", F17K: "eczema"}[recipe.source]
    record = new_record(index, recipe.source, label, 1 + index % 6, ledger, size, rng)
    if recipe.kind == "unknown_label":
        record.row[LABEL_COLUMN[recipe.source]] = _NO_LABEL[recipe.source]
    elif recipe.kind == "path_climbs_out":
        name = record.image_id
        record.row[ID_COLUMN[recipe.source]] = f"../../{OUTSIDE}/{name}"
        record.file_path = f"../{OUTSIDE}/{name}.jpg"
    elif recipe.kind == "qc_wrongly_labelled":
        record.row["qc"] = "3 Wrongly labelled"
    elif recipe.kind == "qc_quarantined":
        record.row["qc"] = "5 Potentially"
    return record


def spoil(kind: str, data: bytes, picture: Image.Image, index: int) -> bytes | None:
    """The bytes of a defective file, from the file it would have been; None for a file that is not there."""
    if kind == "corrupt_file":
        return data[: len(data) * 2 // 5]
    if kind == "zero_bytes":
        return b""
    if kind == "not_an_image":
        return f"<html><body>Error 404: photograph {index} has moved.</body></html>\n".encode()
    if kind == "missing_file":
        return None
    if kind == "too_many_pixels":
        return oversized_png(9000, 6000)
    if kind == "too_small":
        return jpeg(picture.resize((48, 36)))
    return data


def make_copy(kind: str, original: bytes, source: str, rng: np.random.Generator) -> bytes:
    """The planted copy of an encoded image, as a file of ``source``; raises ValueError when none comes near enough."""
    picture = Image.open(io.BytesIO(original)).convert("RGB")
    if kind == "exact_copy":
        return encode(picture, PAD) if source == PAD else original
    for attempt in range(4):
        low, high = (15, 45) if kind == "recompressed" else (45, 75)
        data = encode(_changed(kind, picture, rng), source, int(rng.integers(low, high)) + 8 * attempt)
        if view_distance(picture, Image.open(io.BytesIO(data)).convert("RGB")) <= NEAR:
            return data
    raise ValueError(f"no {kind} copy of a drawn photograph came within {NEAR} bits of it")


def _changed(kind: str, picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    if kind == "centre_cropped":
        return central_square(picture)
    if kind == "rotated":
        turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
        picture = picture.transpose(turns[int(rng.integers(3))])
    if kind == "mirrored":
        flips = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM)
        picture = picture.transpose(flips[int(rng.integers(2))])
    if kind == "rescaled" or picture.width * picture.height >= 800 * 600:
        picture = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4), Image.Resampling.BICUBIC)
    return picture


def central_square(picture: Image.Image) -> Image.Image:
    """The largest centred square."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def view_hashes(picture: Image.Image, *, turned: bool = False) -> list[npt.NDArray[np.bool_]]:
    """256-bit hashes (boolean, 16 x 16) of whole frame and central square; ``turned``: each in eight orientations."""
    import imagehash

    views = [picture.convert("L")]
    views.append(central_square(views[0]))
    if turned:
        views = [view if turn is None else view.transpose(turn) for view in views for turn in (None, *Image.Transpose)]
    return [imagehash.phash(view, hash_size=16).hash for view in views]


def view_distance(one: Image.Image, other: Image.Image) -> int:
    """Least number of differing bits over both views of both pictures and eight orientations of one."""
    upright = view_hashes(one)
    return min(int((a != b).sum()) for b in view_hashes(other, turned=True) for a in upright)
