"""PAD-UFES-20: 2,298 smartphone photographs with symptoms reported by the patients.

A lesion id is unique only with its patient, so the lesion key is ``patient/lesion``. ``biopsed`` tells how sure the
label is and is not passed on as a fact: every cancer was biopsied, so it would give the answer away. Ancestry and
housing columns are left out; they say nothing about the picture.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from corpus.sources.fields import SEXES, age, choice, facts, fitzpatrick, label, notes_of, number, site, terms, text
from corpus.sources.files import find_table, walk
from corpus.sources.records import SourceReading, assemble
from corpus.sources.tabular import read_table
from schemas.config import SourceSettings

_SYMPTOMS = ("itch", "grew", "hurt", "changed", "bleed", "elevation")
_HISTORY = ("skin_cancer_history", "cancer_history", "smoke", "drink", "pesticide")
_COLUMNS = (
    *("patient_id", "lesion_id", "age", "gender", "fitspatrick", "region", "diagnostic", "img_id", "biopsed"),
    *_SYMPTOMS,
)
_ANSWERS = {"true": "True", "false": "False"}
_CERTAINTY = {"true": "histopathology", "false": "clinical"}
_CREDIT = (
    "PAD-UFES-20 smartphone skin lesion dataset, A. G. C. Pacheco and others (2020), doi 10.17632/zr7vgbcyr2.1; "
    "Federal University of Espírito Santo."
)


def read(settings: SourceSettings, root: Path) -> SourceReading:
    """Read PAD-UFES-20; see :func:`corpus.sources.read_source`."""
    files = walk(root, settings.name)
    table = read_table(find_table(files, settings.name, settings.metadata, ["metadata.csv"], "the PAD table"), _COLUMNS)
    name, years = label(table, "diagnostic"), age(table, "age")
    patient, lesion = text(table, "patient_id", "patient"), text(table, "lesion_id", "lesion")
    sex, place = choice(table, "gender", "sex", SEXES), site(table, ["region"])
    certainty = choice(table, "biopsed", "label_certainty", _CERTAINTY, "unstated")
    tone, tone_notes = fitzpatrick(table, ["fitspatrick"])
    answers = {key: choice(table, key, key, _ANSWERS) for key in (*_SYMPTOMS, *_HISTORY)}
    sizes = {f"diameter_{n}_mm": number(table, f"diameter_{n}", f"diameter_{n}", 0.1, 1000) for n in (1, 2)}
    reported, fact_notes = facts({**answers, **sizes})
    fields = (name, years, patient, lesion, sex, place, certainty)
    draft = table.rows.select(
        source_image_id="img_id",
        source_case_id="img_id",
        file_name="img_id",
        raw_label=name.value,
        label_certainty=certainty.value,
        lesion_key=patient.value + pl.lit("/") + lesion.value,
        patient_key=patient.value,
        age_years=years.value,
        sex=sex.value,
        site=place.value,
        modality=pl.lit("clinical"),
        tone_observations=tone,
        concepts=pl.lit([], pl.List(pl.String)),
        caption=pl.lit(None, pl.String),
        facts=reported,
        notes=notes_of([*(field.note for field in fields), *tone_notes, *fact_notes]),
    ).with_columns(terms(settings, pl.lit("CC-BY-4.0"), pl.lit(_CREDIT)))
    return assemble(settings, files, table, draft)
