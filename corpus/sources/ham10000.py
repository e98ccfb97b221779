"""HAM10000: 10,015 dermoscopic images of 7,470 lesions in two folders, one table, no patient ids.

The table is often shipped without a file extension, and comma- or tab-separated. ``akiec`` and ``bkl`` are groups of
diagnoses; which node they mean is for the taxonomy to say.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from corpus.sources.fields import SEXES, age, choice, facts, fitzpatrick, label, notes_of, site, terms, text
from corpus.sources.files import find_table, walk
from corpus.sources.records import SourceReading, assemble
from corpus.sources.tabular import read_table
from schemas.config import SourceSettings

_TABLES = tuple(f"HAM10000_metadata{suffix}" for suffix in ("", ".csv", ".tab", ".tsv", ".txt"))
_COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
_CERTAINTY = {
    "histo": "histopathology",
    "follow_up": "follow_up",
    "consensus": "consensus",
    "confocal": "confocal",
}
_CREDIT = (
    "HAM10000 dermatoscopic image collection, P. Tschandl, C. Rosendahl and H. Kittler (2018), "
    "doi 10.1038/sdata.2018.161; ViDIR Group, Medical University of Vienna."
)


def read(settings: SourceSettings, root: Path) -> SourceReading:
    """Read HAM10000; see :func:`corpus.sources.read_source`."""
    files = walk(root, settings.name)
    table = read_table(find_table(files, settings.name, settings.metadata, _TABLES, "the HAM10000 table"), _COLUMNS)
    name, lesion = label(table, "dx"), text(table, "lesion_id", "lesion")
    years, sex = age(table, "age"), choice(table, "sex", "sex", SEXES)
    place = site(table, ["localization"])
    certainty = choice(table, "dx_type", "label_certainty", _CERTAINTY, "unstated")
    draft = table.rows.select(
        source_image_id="image_id",
        source_case_id="image_id",
        file_name="image_id",
        raw_label=name.value,
        label_certainty=certainty.value,
        lesion_key=lesion.value,
        patient_key=pl.lit(None, pl.String),
        age_years=years.value,
        sex=sex.value,
        site=place.value,
        modality=pl.lit("dermoscopic"),
        tone_observations=fitzpatrick(table, [])[0],
        concepts=pl.lit([], pl.List(pl.String)),
        caption=pl.lit(None, pl.String),
        facts=facts({})[0],
        notes=notes_of([name.note, certainty.note, lesion.note, years.note, sex.note, place.note]),
    ).with_columns(terms(settings, pl.lit("CC-BY-NC-4.0"), pl.lit(_CREDIT)))
    return assemble(settings, files, table, draft)
