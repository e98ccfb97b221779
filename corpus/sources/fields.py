"""From text cells to typed columns, with a reason for every value that had to be left out.

Everything is a column expression, so an adapter says only which column means what and no cell is touched twice. A cell
that cannot be read is null with a note (``age:unreadable``), and so is one that says "not known" in one of the many
ways datasets have (``sex:unknown``): the reasons differ, and a report should be able to tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import polars as pl

from corpus.sources.tabular import Table
from schemas.config import SourceSettings
from schemas.licences import LICENCE_CLASS, spdx_licence
from schemas.tables import SOURCE_RECORDS, polars_schema

#: What datasets write for "not known", lower case.
SENTINELS = (
    "unknown", "unk", "-1", "-1.0", "n/a", "na", "nan", "none", "null",
    "age_unknown", "none_identified", "none_selected", "not reported", "unspecified",
)  # fmt: skip
SEXES = {"female": "female", "f": "female", "male": "male", "m": "male"}
_ROMAN = {"i": "1", "ii": "2", "iii": "3", "iv": "4", "v": "5", "vi": "6"}
_TEXT = pl.String()


class Field(NamedTuple):
    """A column expression and, beside it, why a value had to be left out (``age:blank``; null when it was not)."""

    value: pl.Expr
    note: pl.Expr


def text(table: Table, column: str, name: str) -> Field:
    """Text with whitespace runs as one space; sentinels are null. A column that is not there is null without a note."""
    if column not in table.rows.columns:
        return Field(pl.lit(None, _TEXT), pl.lit(None, _TEXT))
    cell = pl.col(column)
    sentinel = cell.str.to_lowercase().is_in(SENTINELS)
    note = (
        pl.when(cell.is_null())
        .then(pl.lit(f"{name}:blank"))
        .when(sentinel)
        .then(pl.lit(f"{name}:") + cell.str.to_lowercase())
    )
    return Field(pl.when(~sentinel).then(cell.str.replace_all(r"\s+", " ")), note)


def label(table: Table, column: str) -> Field:
    """The raw label exactly as given; a sentinel stays and is noted."""
    return Field(pl.col(column), text(table, column, "label").note)


def number(table: Table, column: str, name: str, low: float, high: float) -> Field:
    """A number within ``low``..``high``; anything else is null with a note, never a guess."""
    cell = text(table, column, name)
    value = cell.value.cast(pl.Float64, strict=False)
    readable = value.is_finite().fill_null(False)
    fits = readable & value.is_between(low, high)
    note = (
        pl.when(cell.value.is_null())
        .then(cell.note)
        .when(~readable)
        .then(pl.lit(f"{name}:unreadable"))
        .when(~fits)
        .then(pl.lit(f"{name}:out_of_range"))
    )
    return Field(pl.when(fits).then(value), note)


def age(table: Table, column: str) -> Field:
    """Age in years, 0 to 120."""
    return number(table, column, "age", 0, 120)


def choice(table: Table, column: str, name: str, meanings: Mapping[str, str], default: str | None = None) -> Field:
    """One of a closed set, by its lower-case spelling; a spelling not in ``meanings`` is ``default`` with a note."""
    cell = text(table, column, name)
    value = cell.value.str.to_lowercase().replace_strict(dict(meanings), default=None, return_dtype=_TEXT)
    note = pl.when(cell.value.is_null()).then(cell.note).when(value.is_null()).then(pl.lit(f"{name}:unreadable"))
    return Field(value.fill_null(pl.lit(default, _TEXT)), note)


def site(table: Table, columns: Sequence[str]) -> Field:
    """Body site in lower case, from the first of ``columns`` that says one; the note is the first column's."""
    present = [column for column in columns if column in table.rows.columns] or [columns[0]]
    fields = [text(table, column, "site") for column in present]
    value = pl.coalesce([field.value for field in fields]).str.to_lowercase()
    return Field(value, pl.when(value.is_null()).then(fields[0].note))


def fitzpatrick(table: Table, columns: Iterable[str]) -> tuple[pl.Expr, list[pl.Expr]]:
    """Tone observations, one per column that holds a Fitzpatrick type 1-6 (also 2.0, IV), and their notes."""
    observations: list[pl.Expr] = []
    notes: list[pl.Expr] = []
    for column in columns:
        if column not in table.rows.columns:
            continue
        cell = text(table, column, column)
        value = cell.value.str.to_lowercase().replace(_ROMAN).cast(pl.Float64, strict=False)
        whole = (value.is_between(1, 6) & (value == value.floor())).fill_null(False)
        step = pl.when(whole).then(value).cast(pl.Int64)
        tone = pl.struct(scale=pl.lit("fitzpatrick"), low=step, high=step, origin=pl.lit(column))
        observations.append(pl.when(whole).then(tone))
        notes.append(pl.when(cell.value.is_null()).then(cell.note).when(~whole).then(pl.lit(f"{column}:unreadable")))
    return _list(observations, "tone_observations"), notes


def facts(values: Mapping[str, Field]) -> tuple[pl.Expr, list[pl.Expr]]:
    """Reported facts, and notes for what stood there but says nothing (blank cells are not noted)."""
    pairs = [
        pl.when(field.value.is_not_null()).then(pl.struct(key=pl.lit(key), value=field.value.cast(pl.String)))
        for key, field in values.items()
    ]
    notes: list[pl.Expr] = [pl.when(~field.note.str.ends_with(":blank")).then(field.note) for field in values.values()]
    return _list(pairs, "facts"), notes


def terms(settings: SourceSettings, licence: pl.Expr, credit: pl.Expr, external: bool | None = None) -> list[pl.Expr]:
    """Columns licence, attribution, external_processing: the settings where they say something, else the dataset's.

    ``external`` None means that openly licensed images may be sent to an external service and others may not.
    """
    granted = licence if settings.licence is None else pl.lit(settings.licence)
    said = settings.external_processing if settings.external_processing is not None else external
    is_open = granted.replace_strict(
        {name: kind == "open" for name, kind in LICENCE_CLASS.items()}, default=False, return_dtype=pl.Boolean
    )
    given = pl.lit(settings.attribution) if settings.attribution else pl.format("{} Licence: {}.", credit, granted)
    return [
        granted.alias("licence"),
        given.alias("attribution"),
        (is_open if said is None else pl.lit(said)).alias("external_processing"),
    ]


def licences(settings: SourceSettings, table: Table, column: str) -> pl.Expr:
    """SPDX identifier per row: the setting, else what ``column`` says; null when that is blank or not known."""
    if settings.licence is not None:
        return pl.lit(settings.licence)
    if column not in table.rows.columns:
        return pl.lit(None, _TEXT)
    spellings = table.rows[column].drop_nulls().unique().to_list()
    meanings = {spelling: spdx_licence(spelling) for spelling in spellings}
    return pl.col(column).replace_strict(meanings, default=None, return_dtype=_TEXT)


def notes_of(notes: Iterable[pl.Expr]) -> pl.Expr:
    """One list column from note expressions, nulls left out."""
    return pl.concat_list(list(notes)).list.drop_nulls().alias("notes")


def _list(items: Sequence[pl.Expr], column: str) -> pl.Expr:
    """The list column ``column`` of SOURCE_RECORDS from its possible elements, nulls left out."""
    kind = polars_schema(SOURCE_RECORDS)[column]
    if not items:
        return pl.lit([], kind).alias(column)
    return pl.concat_list(list(items)).list.drop_nulls().cast(kind).alias(column)
