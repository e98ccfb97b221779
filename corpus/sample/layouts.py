"""The published layouts the sample is written in: folders, table columns, and how each dataset names an image.

Three datasets rather than one, because most of what can go wrong lies between them: other id schemes, other label
vocabularies, other file formats, the same photograph in two of them. Column orders and spellings are the publishers'.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

HAM, PAD, F17K = "ham10000", "pad_ufes_20", "fitzpatrick17k"
SOURCES = (HAM, PAD, F17K)

#: Folder of each source below the sample, and its metadata table below that.
FOLDER = {HAM: "HAM10000", PAD: "PAD-UFES-20", F17K: "fitzpatrick17k"}
TABLE = {HAM: "HAM10000_metadata.csv", PAD: "metadata.csv", F17K: "fitzpatrick17k.csv"}
COLUMNS: dict[str, tuple[str, ...]] = {
    HAM: ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"),
    PAD: (
        "patient_id", "lesion_id", "smoke", "drink", "background_father", "background_mother", "age", "pesticide",
        "gender", "skin_cancer_history", "cancer_history", "has_piped_water", "has_sewage_system", "fitspatrick",
        "region", "diameter_1", "diameter_2", "diagnostic", "itch", "grew", "hurt", "changed", "bleed", "elevation",
        "img_id", "biopsed",
    ),
    F17K: (
        "md5hash", "fitzpatrick_scale", "fitzpatrick_centaur", "label", "nine_partition_label",
        "three_partition_label", "qc", "url", "url_alphanum",
    ),
}  # fmt: skip
ID_COLUMN = {HAM: "image_id", PAD: "img_id", F17K: "md5hash"}
LABEL_COLUMN = {HAM: "dx", PAD: "diagnostic", F17K: "label"}

#: Where an image lies that is named so as to climb out of its source folder.
OUTSIDE = "outside"
TRUTH_COLUMNS = (
    "kind", "source", "file_path", "source_image_id", "original_source", "original_source_image_id", "expected_rule",
    "expected_stage",
)  # fmt: skip
MANIFEST_COLUMNS = ("dataset", "name", "file_digest", "pixel_digest", "phash_whole", "phash_centre")
TRUTH_FILE, MANIFEST_FILE, MARKER_FILE, UNFINISHED_FILE = (
    "truth.csv", "benchmark_manifest.csv", "sample.json", "sample.unfinished",
)  # fmt: skip

_INFLAMMATORY = ("inflammatory", "non-neoplastic")
#: Labels of Fitzpatrick17k that are drawn: the twenty most frequent, and two without a knowledge card of their own
#: (vitiligo) or shared with the other datasets (nevocytic nevus, dermatofibroma); with their two partitions.
F17K_PARTITIONS: dict[str, tuple[str, str]] = {
    "psoriasis": _INFLAMMATORY,
    "melanoma": ("malignant melanoma", "malignant"),
    "squamous cell carcinoma": ("malignant epidermal", "malignant"),
    "lichen planus": _INFLAMMATORY,
    "basal cell carcinoma": ("malignant epidermal", "malignant"),
    "allergic contact dermatitis": _INFLAMMATORY,
    "lupus erythematosus": _INFLAMMATORY,
    "nevocytic nevus": ("benign melanocyte", "benign"),
    "neutrophilic dermatoses": _INFLAMMATORY,
    "sarcoidosis": _INFLAMMATORY,
    "photodermatoses": _INFLAMMATORY,
    "folliculitis": _INFLAMMATORY,
    "scabies": _INFLAMMATORY,
    "acne vulgaris": _INFLAMMATORY,
    "scleroderma": _INFLAMMATORY,
    "pityriasis rubra pilaris": _INFLAMMATORY,
    "vitiligo": _INFLAMMATORY,
    "nematode infection": _INFLAMMATORY,
    "erythema multiforme": _INFLAMMATORY,
    "granuloma annulare": _INFLAMMATORY,
    "eczema": _INFLAMMATORY,
    "drug eruption": _INFLAMMATORY,
    "dermatofibroma": ("benign dermal", "benign"),
}


def image_path(source: str, identifier: str, serial: int) -> str:
    """Where the image ``identifier`` lies below its source's folder; ``serial`` spreads images over the parts."""
    if source == HAM:
        return f"HAM10000_images_part_{1 + serial % 2}/{identifier}.jpg"
    if source == PAD:
        return f"imgs_part_{1 + serial % 3}/{identifier}"
    return f"data/finalfitz17k/{identifier}.jpg"


def make_folders(folder: Path) -> None:
    """Create the folders that images are written into."""
    for source, serials in ((HAM, 2), (PAD, 3), (F17K, 1)):
        for serial in range(serials):
            (folder / FOLDER[source] / image_path(source, "x", serial)).parent.mkdir(parents=True, exist_ok=True)
    (folder / OUTSIDE).mkdir(exist_ok=True)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write a table as a whole: readers see the old file or the new one."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def write_whole(path: Path, text: str) -> None:
    """Replace a text file by rename."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8", newline="")
    os.replace(temporary, path)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a table as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
