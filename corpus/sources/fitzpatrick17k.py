"""Fitzpatrick17k: 16,577 atlas photographs with 114 labels and two skin-tone votes per image, but no patient ids.

Labels come from the atlases' captions and were not verified, hence ``atlas``. The images belong to the atlases: nothing
of them may be passed on, so the default licence class is no-redistribution. Partition labels and URLs are left out of
the facts because they spell out the diagnosis. ``md5hash`` names the original file; a re-encoded copy no longer has it,
so it serves as an id and is not verified.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from corpus.sources.fields import facts, fitzpatrick, label, notes_of, terms, text
from corpus.sources.files import find_table, walk
from corpus.sources.records import SourceReading, assemble
from corpus.sources.tabular import read_table
from schemas.config import SourceSettings

_TABLES = ["fitzpatrick17k.csv"]
_TONES = ("fitzpatrick_scale", "fitzpatrick_centaur")
_COLUMNS = ("md5hash", *_TONES, "label", "qc")
_CREDIT = (
    "Fitzpatrick17k annotations, M. Groh and others (2021), on photographs of the atlases DermaAmin and "
    "Atlas Dermatologico, which keep their rights in the images."
)


def read(settings: SourceSettings, root: Path) -> SourceReading:
    """Read Fitzpatrick17k; see :func:`corpus.sources.read_source`."""
    files = walk(root, settings.name)
    table = read_table(find_table(files, settings.name, settings.metadata, _TABLES, "its table"), _COLUMNS)
    name = label(table, "label")
    tone, tone_notes = fitzpatrick(table, _TONES)
    grade = pl.col("qc").str.slice(0, 1)
    nothing = pl.lit(None, pl.String)
    draft = table.rows.select(
        source_image_id="md5hash",
        source_case_id="md5hash",
        file_name="md5hash",
        raw_label=name.value,
        label_certainty=pl.lit("atlas"),
        lesion_key=nothing,
        patient_key=nothing,
        age_years=pl.lit(None, pl.Float64),
        sex=nothing,
        site=nothing,
        modality=pl.lit("clinical"),
        tone_observations=tone,
        concepts=pl.lit([], pl.List(pl.String)),
        caption=nothing,
        facts=facts({})[0],
        notes=notes_of([name.note, *tone_notes, text(table, "url", "url").note]),
        rule=pl.when(grade == "3")
        .then(pl.lit("qc_wrongly_labelled"))
        .when(grade.is_in(["4", "5"]))
        .then(pl.lit("qc_quarantined")),
        rule_value="qc",
    ).with_columns(terms(settings, pl.lit("LicenseRef-No-Redistribution"), pl.lit(_CREDIT), external=False))
    return assemble(settings, files, table, draft)
