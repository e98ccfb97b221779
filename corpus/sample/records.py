"""Invents the metadata row of each drawn image: labels, ids, ages, sites, tones, blanks and sentinels.

Frequencies follow the published tables but are flattened, so that a few hundred rows hold every diagnosis. Groups of
images (a lesion photographed again, a patient seen twice) are made in row order and depend only on earlier rows: a
larger sample begins with exactly the rows of a smaller one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from corpus.sample.layouts import F17K, F17K_PARTITIONS, HAM, ID_COLUMN, PAD, SOURCES, image_path

Rng = np.random.Generator
Row = dict[str, str]

_HAM_DX = {"nv": 0.42, "mel": 0.16, "bkl": 0.14, "bcc": 0.12, "akiec": 0.07, "vasc": 0.05, "df": 0.04}
_PAD_DX = {"BCC": 0.3, "ACK": 0.22, "NEV": 0.18, "SEK": 0.13, "SCC": 0.1, "MEL": 0.07}
_F17K_DX = dict.fromkeys(F17K_PARTITIONS, 1.0) | {"psoriasis": 3.0, "squamous cell carcinoma": 2.5, "melanoma": 2.0}
_DIAGNOSES = {HAM: _HAM_DX, PAD: _PAD_DX, F17K: _F17K_DX}
# The first rows of a source follow these, so that even a small sample has every label and an original for every plant.
_OPENING = {
    HAM: ("nv", "mel", "bcc", "nv", "mel", "nv", "bkl", "bcc", "nv", "akiec", "nv", "mel", "vasc", "nv", "df"),
    PAD: ("BCC", "MEL", "SCC", "BCC", "NEV", "BCC", "ACK", "MEL", "SEK"),
    F17K: tuple(F17K_PARTITIONS),
}
_SIZES = {HAM: ((600, 450),), PAD: ((800, 600), (600, 450), (600, 800)), F17K: ((800, 600), (600, 450))}
_HAM_SITES = ("back", "lower extremity", "trunk", "upper extremity", "abdomen", "face", "chest", "foot", "unknown",
              "neck", "scalp", "hand", "ear", "genital", "acral")  # fmt: skip
_PAD_REGIONS = ("FACE", "FOREARM", "CHEST", "BACK", "ARM", "NOSE", "HAND", "NECK", "THIGH", "EAR", "ABDOMEN", "LIP",
                "SCALP", "FOOT")  # fmt: skip
_ANCESTRIES = ("POMERANIA", "GERMANY", "ITALY", "UNK", "BRAZIL", "BRASIL", "PORTUGAL")
_MEDIAN_AGE = {"nv": 40, "NEV": 35, "vasc": 50, "df": 50}
_PATIENT_BLOCK = ("smoke", "drink", "background_father", "background_mother", "pesticide", "gender",
                  "skin_cancer_history", "cancer_history", "has_piped_water", "has_sewage_system", "fitspatrick",
                  "diameter_1", "diameter_2")  # fmt: skip


@dataclass
class Record:
    """One image of the sample: what is drawn, and its row of metadata.

    ``row`` of Fitzpatrick17k lacks its md5hash, and ``file_path`` (relative to the source's folder) is empty, until the
    file is drawn. ``shared``: another record has the same lesion or patient. ``spent``: an original that a planted
    defect already uses.
    """

    index: int
    source: str
    label: str
    tone: int
    size: tuple[int, int]
    row: Row
    file_path: str = ""
    shared: bool = False
    spent: bool = False

    @property
    def image_id(self) -> str:
        """The dataset's own id of the image."""
        return self.row.get(ID_COLUMN[self.source], "")


@dataclass
class Ledger:
    """What earlier rows decided: rows so far (all, plain ones) and the last lesion or patient of each source."""

    serials: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))
    plain: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))
    last: dict[str, Record | None] = field(default_factory=lambda: dict.fromkeys(SOURCES))
    photos_of_last: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))
    patients: int = 0
    lesions: int = 0

    def close(self, record: Record) -> None:
        """Let no later row share ``record``'s lesion or patient."""
        if self.last[record.source] is record:
            self.last[record.source] = None


def plain_record(index: int, source: str, ledger: Ledger, size: tuple[int, int] | None, rng: Rng) -> Record:
    """The next image of a source; sometimes another photograph of the lesion or patient before it."""
    number, opening, before = ledger.plain[source], _OPENING[source], ledger.last[source]
    ledger.plain[source] += 1
    label = opening[number] if number < len(opening) else _weighted(rng, _DIAGNOSES[source])
    again = number >= len(opening) and source != F17K and ledger.photos_of_last[source] < 4 and rng.random() < 0.3
    tone = 1 + number % 6 if number < 12 else int(rng.choice(6, p=(0.16, 0.2, 0.2, 0.17, 0.15, 0.12))) + 1
    if before is not None and again:
        before.shared = True
        if source == HAM or rng.random() < 0.6:
            label = before.label
        record = new_record(index, source, label, before.tone, ledger, size, rng, like=before)
        ledger.photos_of_last[source] += 1
    else:
        record = new_record(index, source, label, tone, ledger, size, rng)
        ledger.photos_of_last[source] = 1
    ledger.last[source] = record
    return record


def new_record(
    index: int,
    source: str,
    label: str,
    tone: int,
    ledger: Ledger,
    size: tuple[int, int] | None,
    rng: Rng,
    like: Record | None = None,
    *,
    doubtful: bool = False,
) -> Record:
    """A row with the next id of its source. ``like``: same patient, and same lesion where the label is the same.

    ``doubtful``: the row states the least certain origin its dataset knows for that label.
    """
    serial = ledger.serials[source]
    ledger.serials[source] += 1
    choices = _SIZES[source]
    chosen = choices[serial % len(choices)] if serial < 12 else choices[int(rng.integers(len(choices)))]
    if source == HAM:
        row = _ham_row(serial, label, like, doubtful, rng)
    elif source == PAD:
        row = _pad_row(serial, label, tone, ledger, like, doubtful, rng)
    else:
        row = _f17k_row(index, label, tone, rng)
    path = "" if source == F17K else image_path(source, row[ID_COLUMN[source]], serial)
    return Record(index, source, label, tone, size or chosen, row, path, shared=like is not None)


def _weighted(rng: Rng, weights: dict[str, float]) -> str:
    total = sum(weights.values())
    return str(rng.choice(list(weights), p=[weight / total for weight in weights.values()]))


def _age(label: str, rng: Rng) -> int:
    return int(np.clip(rng.normal(_MEDIAN_AGE.get(label, 64), 13), 5, 90))


def _ham_row(serial: int, label: str, like: Record | None, doubtful: bool, rng: Rng) -> Row:
    row = {
        "lesion_id": f"HAM_{serial:07d}",
        "image_id": f"ISIC_{24306 + serial:07d}",
        "dx": label,
        "dx_type": _dx_type(label, serial, doubtful, rng),
        "age": "" if rng.random() < 0.02 else f"{round(_age(label, rng) / 5) * 5}.0",
        "sex": "unknown" if rng.random() < 0.02 else str(rng.choice(["male", "female"])),
        "localization": str(rng.choice(_HAM_SITES)),
    }
    if like is not None:
        row |= {key: like.row[key] for key in ("lesion_id", "dx", "dx_type", "age", "sex", "localization")}
    return row


def _dx_type(label: str, serial: int, doubtful: bool, rng: Rng) -> str:
    if label in ("mel", "bcc", "akiec"):
        return "histo"
    weaker = {"nv": ("follow_up", "consensus"), "bkl": ("consensus", "confocal")}.get(label, ("consensus",))
    if not doubtful and (serial < len(_OPENING[HAM]) or rng.random() < 0.5):
        return "histo"
    return str(rng.choice(weaker))


def _pad_row(serial: int, label: str, tone: int, ledger: Ledger, like: Record | None, doubtful: bool, rng: Rng) -> Row:
    if like is None:
        ledger.patients += 1
        patient = f"PAT_{ledger.patients + 7}"
    else:
        patient = like.row["patient_id"]
    if like is not None and like.label == label:
        lesion = like.row["lesion_id"]
    else:
        ledger.lesions += 1  # every ninth id is one that an earlier patient's lesion already has
        lesion = str(ledger.lesions + 20 - (6 if ledger.lesions % 9 == 0 else 0))
    certain = label in ("BCC", "SCC", "MEL")
    share = {"ACK": 0.25, "NEV": 0.3}.get(label, 0.1)
    biopsied = certain or (not doubtful and (serial < len(_OPENING[PAD]) or rng.random() < share))
    answer = ("True", "False")
    row = {
        "patient_id": patient,
        "lesion_id": lesion,
        "age": str(_age(label, rng)),
        "region": str(rng.choice(_PAD_REGIONS)),
        "diagnostic": label,
        **{key: str(rng.choice((*answer, "UNK"), p=(0.44, 0.46, 0.1))) for key in ("itch", "grew", "changed")},
        **{key: str(rng.choice(answer)) for key in ("hurt", "bleed", "elevation")},
        "img_id": f"{patient}_{lesion}_{serial + 10000}.png",
        "biopsed": str(biopsied),
    }
    block = {key: str(rng.choice(answer)) for key in _PATIENT_BLOCK}
    block |= {f"background_{who}": str(rng.choice(_ANCESTRIES)) for who in ("father", "mother")}
    block |= {"gender": str(rng.choice(["FEMALE", "MALE"])), "fitspatrick": f"{tone}.0"}
    block |= {f"diameter_{n}": f"{int(rng.integers(3, 25))}.0" for n in (1, 2)}
    if like is not None and like.row["gender"]:
        block |= {key: like.row[key] for key in _PATIENT_BLOCK if not key.startswith("diameter")}
    blank = not biopsied and rng.random() < 0.8
    if like is not None:
        row["age"] = like.row["age"]
        if like.label == label:
            row |= {key: like.row[key] for key in ("region", "biopsed")}
    return row | (dict.fromkeys(_PATIENT_BLOCK, "") if blank else block)


def _f17k_row(index: int, label: str, tone: int, rng: Rng) -> Row:
    nine, three = F17K_PARTITIONS.get(label, ("inflammatory", "non-neoplastic"))
    other = min(6, max(1, tone + int(rng.integers(-1, 2))))
    url = "" if rng.random() < 0.03 else f"https://atlas.example/photographs/{label.replace(' ', '-')}-{index}.jpg"
    return {
        "fitzpatrick_scale": "-1" if rng.random() < 0.04 else str(tone),
        "fitzpatrick_centaur": "-1" if rng.random() < 0.06 else str(other),
        "label": label,
        "nine_partition_label": nine,
        "three_partition_label": three,
        "qc": str(rng.choice(["", "1 Diagnostic", "2 Characteristic"], p=(0.96, 0.03, 0.01))),
        "url": url,
        "url_alphanum": "".join(c for c in url if c.isalnum()) + ".jpg" if url else "",
    }
