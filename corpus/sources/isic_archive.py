"""ISIC Archive downloads and the ISIC challenges of 2019 and 2020: licence, modality and label certainty per image.

Columns that lean on the diagnosis (malignancy, melanocytic, tumour thickness, nevus type, biopsy) are never passed on
as facts. An image whose licence is not stated is rejected rather than given a likely one. Challenge names ending in
``_downsampled`` stay as they are, because the files are called so; the archive's id goes into the notes.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from corpus.sources.fields import SEXES, age, choice, facts, fitzpatrick, licences, notes_of, number, site, terms, text
from corpus.sources.files import walk
from corpus.sources.isic_layouts import Form, load
from corpus.sources.records import SourceReading, assemble
from corpus.sources.tabular import Table
from schemas.config import SourceSettings

_SITES = (
    *("anatom_site_general", "anatom_site"),
    *("anatom_site_5", "anatom_site_4", "anatom_site_3", "anatom_site_2", "anatom_site_1"),
)
_CERTAINTY = {
    "histopathology": "histopathology",
    "confocal microscopy with consensus dermoscopy": "confocal",
    "serial imaging showing no change": "follow_up",
    "single image expert consensus": "consensus",
    "single contributor clinical assessment": "clinical",
}
_MODALITY = {
    "dermoscopic": "dermoscopic",
    "clinical": "clinical",
    "histopathology": "histology",
    "tbp": "other",
    "rcm": "other",
}
_CHALLENGE_CREDIT = {
    "challenge_2019": (
        "ISIC 2019 challenge: BCN_20000 (Hospital Clínic de Barcelona, M. Combalia and others 2019), HAM10000 (ViDIR "
        "Group, Medical University of Vienna, P. Tschandl and others 2018) and MSK (N. Codella and others 2017)."
    ),
    "challenge_2020": "SIIM-ISIC 2020 challenge, V. Rotemberg and others (2021), doi 10.34970/2020-ds01.",
}


def read(settings: SourceSettings, root: Path) -> SourceReading:
    """Read any of the ISIC forms; see :func:`corpus.sources.read_source`."""
    files = walk(root, settings.name)
    form, table = load(files, settings.name, settings.metadata)
    return assemble(settings, files, table, _draft(settings, form, table))


def _draft(settings: SourceSettings, form: Form, table: Table) -> pl.DataFrame:
    years, sex = age(table, "age_approx"), choice(table, "sex", "sex", SEXES)
    lesion, patient = text(table, "lesion_id", "lesion"), text(table, "patient_id", "patient")
    place = site(table, _SITES)
    certainty = choice(table, "diagnosis_confirm_type", "label_certainty", _CERTAINTY, "unstated")
    tone, tone_notes = fitzpatrick(table, ["fitzpatrick_skin_type"])
    modality, modality_notes = _modality(form, table)
    reported, fact_notes = facts(
        {
            "clin_size_long_diam_mm": number(table, "clin_size_long_diam_mm", "clin_size_long_diam_mm", 0.1, 1000),
            **{name: text(table, name, name) for name in ("family_hx_mm", "personal_hx_mm", "anatom_site_special")},
        }
    )
    licence, credit = _terms(settings, form, table)
    image = pl.col("isic_id")
    archive_id = pl.when(image.str.ends_with("_downsampled")).then(
        pl.lit("archive_id:") + image.str.strip_suffix("_downsampled")
    )
    said = [
        pl.col("label_note"),
        archive_id,
        *(field.note for field in (years, sex, lesion, patient, place, certainty)),
    ]
    two_tables = form == "challenge_2019"
    own_note = pl.col("metadata_note") if two_tables else pl.lit(None, pl.String)
    own_rule = pl.col("metadata_rule") if two_tables else pl.lit(None, pl.String)
    given = pl.col("copyright_license") if "copyright_license" in table.rows.columns else pl.lit(None, pl.String)
    return table.rows.select(
        *terms(settings, licence, credit),
        source_image_id=image,
        source_case_id=image,
        file_name=image,
        raw_label="label",
        label_certainty=certainty.value,
        lesion_key=lesion.value,
        patient_key=patient.value,
        age_years=years.value,
        sex=sex.value,
        site=place.value,
        modality=modality,
        tone_observations=tone,
        concepts=pl.lit([], pl.List(pl.String)),
        caption=pl.lit(None, pl.String),
        facts=reported,
        notes=notes_of([*said, own_note, *modality_notes, *tone_notes, *fact_notes]),
        rule=pl.coalesce(own_rule, pl.when(licence.is_null()).then(pl.lit("unknown_licence"))),
        rule_value=given,
        rule_detail=pl.when(licence.is_null()).then(
            pl.lit(f"set sources[{settings.name}].licence if you know under which licence the images are")
        ),
    )


def _modality(form: Form, table: Table) -> tuple[pl.Expr, list[pl.Expr]]:
    if form in _CHALLENGE_CREDIT:
        return pl.lit("dermoscopic"), []
    kind = text(table, "image_type", "image_type")
    family = kind.value.str.to_lowercase().str.extract(r"^([a-z]+)")
    value = family.replace_strict(_MODALITY, default=None, return_dtype=pl.String)
    note = (
        pl.when(kind.value.is_null())
        .then(kind.note)
        .when(value.is_null())
        .then(pl.lit("image_type:unreadable"))
        .when(value == "other")
        .then(pl.lit("image_type:") + family)
    )
    return value.fill_null("unknown"), [note]


def _terms(settings: SourceSettings, form: Form, table: Table) -> tuple[pl.Expr, pl.Expr]:
    """Licence (null when nothing says it) and credit of every image."""
    if form in _CHALLENGE_CREDIT:
        return pl.lit(settings.licence or "CC-BY-NC-4.0"), pl.lit(_CHALLENGE_CREDIT[form])
    licence = licences(settings, table, "copyright_license")
    named = text(table, "attribution", "attribution").value
    if form == "json":
        stated = pl.col("copyright_license") if "copyright_license" in table.rows.columns else pl.lit(None, pl.String)
        licence = pl.when(stated.is_null()).then(pl.coalesce(licence, "folder_licence")).otherwise(licence)
        named = pl.coalesce(named, "folder_credit")
    return licence, pl.format("{}, ISIC Archive.", named.fill_null("Contributor not named"))
