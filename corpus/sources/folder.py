"""Any images with a table that says what they are, by a column mapping in the configuration.

Nothing is known about such a dataset but what its owner wrote down, so terms must be stated, images are not sent to
external services unless the settings say so, and the table gives paths: a path is taken literally before any other
file of a similar name.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from corpus.sources.fields import (
    SEXES,
    Field,
    age,
    choice,
    facts,
    fitzpatrick,
    label,
    licences,
    notes_of,
    site,
    terms,
    text,
)
from corpus.sources.files import SourceFiles, find_table, only_one, walk
from corpus.sources.records import SourceReading, assemble
from corpus.sources.tabular import Table, read_table
from schemas.config import ColumnMapping, SourceSettings
from schemas.errors import SourceError
from schemas.tables import LABEL_CERTAINTIES, MODALITIES

_CERTAINTY = {
    **{name: name for name in LABEL_CERTAINTIES},
    **{"follow-up": "follow_up", "follow up": "follow_up", "self-report": "self_report", "self report": "self_report"},
    **{"histo": "histopathology", "biopsy": "histopathology", "pathology": "histopathology"},
}
_MODALITY = {
    **{name: name for name in MODALITIES},
    **{"dermoscopy": "dermoscopic", "dermatoscopic": "dermoscopic", "dermatoscopy": "dermoscopic"},
    **{"macroscopic": "clinical", "photograph": "clinical", "histopathology": "histology"},
}
_TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".jsonl")


def read(settings: SourceSettings, root: Path) -> SourceReading:
    """Read a folder by its column mapping; see :func:`corpus.sources.read_source`."""
    columns = settings.columns or ColumnMapping()
    if settings.licence is None and columns.licence is None:
        raise SourceError(
            f"nothing says under which licence the images of source {settings.name!r} are: set "
            f"sources[{settings.name}].licence, or columns.licence if the table has a column for it"
        )
    files = walk(root, settings.name)
    table = read_table(_table_path(files, settings), _mapped(columns))
    return assemble(settings, files, table, _draft(settings, table, columns), are_paths=True)


def _draft(settings: SourceSettings, table: Table, columns: ColumnMapping) -> pl.DataFrame:
    absent = ""  # no column has a blank name
    name, years = label(table, columns.label), age(table, columns.age or absent)
    lesion, patient = text(table, columns.lesion or absent, "lesion"), text(table, columns.patient or absent, "patient")
    sex, place = choice(table, columns.sex or absent, "sex", SEXES), site(table, [columns.site or absent])
    certainty = choice(table, columns.label_certainty or absent, "label_certainty", _CERTAINTY, "unstated")
    modality = choice(table, columns.modality or absent, "modality", _MODALITY, "unknown")
    tone, tone_notes = fitzpatrick(table, [columns.fitzpatrick] if columns.fitzpatrick else [])
    reported, fact_notes = facts({key: text(table, key, key) for key in columns.facts})
    caption, case = text(table, columns.caption or absent, "caption"), text(table, columns.case or absent, "case")
    image = pl.col(columns.image).str.replace_all("\\", "/", literal=True).str.replace(r"^(?:\./)+", "")
    credit = text(table, columns.attribution or absent, "attribution").value.fill_null(f"Source {settings.name}.")
    licence = licences(settings, table, columns.licence or absent)
    fields: tuple[Field, ...] = (name, years, lesion, patient, sex, place, certainty, modality, caption, case)
    return table.rows.select(
        *terms(settings, licence, credit, external=False),
        source_image_id=image,
        source_case_id=pl.coalesce(case.value, image),
        file_name=columns.image,
        raw_label=name.value,
        label_certainty=certainty.value,
        lesion_key=lesion.value,
        patient_key=patient.value,
        age_years=years.value,
        sex=sex.value,
        site=place.value,
        modality=modality.value,
        tone_observations=tone,
        concepts=pl.lit([], pl.List(pl.String)),
        caption=caption.value,
        facts=reported,
        notes=notes_of([*(field.note for field in fields), *tone_notes, *fact_notes]),
        rule=pl.when(licence.is_null()).then(pl.lit("unknown_licence")),
        rule_value=columns.licence or pl.lit(None, pl.String),
    )


def _table_path(files: SourceFiles, settings: SourceSettings) -> Path:
    if settings.metadata is not None:
        return find_table(files, settings.name, settings.metadata, (), "the description of the images")
    tables = [path for path in files.others if "/" not in path and path.lower().endswith(_TABLE_SUFFIXES)]
    preferred = [path for path in tables if path.lower().startswith("metadata.")]
    if not tables:
        raise SourceError(
            f"{files.root} holds no table (.csv, .tsv or .jsonl): put one there or name it in "
            f"sources[{settings.name}].metadata"
        )
    return only_one(files, settings.name, preferred or tables)


def _mapped(columns: ColumnMapping) -> list[str]:
    """The columns that the mapping needs, image and label first."""
    single = [value for key, value in columns.model_dump().items() if key != "facts" and value is not None]
    return [*single, *columns.facts]
