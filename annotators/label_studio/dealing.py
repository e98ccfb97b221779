"""What raters are asked next: dealt from what there is to score and what they differ about, and written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from annotators.label_studio.adjudication import judges
from annotators.label_studio.ledger import ASSIGNMENTS, SHARED, Ledger
from annotators.label_studio.queue import PLAN, Seat, plan
from annotators.label_studio.raters import SENSITIVE, Rater
from annotators.label_studio.tasks import image_name, opaque_key, pause_note
from schemas.config import AnnotateSettings
from schemas.errors import UserError
from schemas.tables import OCCASIONS

if TYPE_CHECKING:
    from annotators.label_studio.study import Material

_AS_BEFORE = ("image_digest", "image", "pre_edit", "label")


def deal(
    ledger: Ledger,
    settings: AnnotateSettings,
    raters: Mapping[str, Rater],
    secret: bytes,
    material: Material,
    answered: Mapping[str, Mapping[int | None, set[str]]],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write down new assignments; returns the narratives for which too few raters, and too few adjudicators, may be
    asked."""
    before = ledger.assignments()
    active = {name: rater for name, rater in raters.items() if rater.active}
    done = {key for told in answered.values() for keys in told.values() for key in keys}
    void = {
        (narrative, rater)
        for key, narrative, rater in before.select("key", "narrative_id", "rater").iter_rows()
        if rater not in active and rater != SHARED and key not in done
    }
    seats = [Seat(name, frozenset(rater.sensitive)) for name, rater in active.items()]
    per_case = min(settings.raters_per_case, len(seats))
    if settings.shared_project:
        agreed = frozenset(k for k in SENSITIVE if all(k in rater.sensitive for rater in active.values()))
        seats, per_case = [Seat(SHARED, agreed)], 1
        settings = settings.model_copy(update={"repeat_share": 0.0})
    elif settings.raters_per_case > len(seats):
        raise UserError(
            f"annotate.raters_per_case is {settings.raters_per_case}, but only {len(seats)} raters are active: "
            "add raters, or lower it"
        )
    already = before.select(list(PLAN))
    planned = plan(material.candidates, material.extras, seats, already, settings, per_case, frozenset(void))
    new, disputes = planned.assignments, material.disputes
    undecided: tuple[str, ...] = ()
    if disputes is not None:
        able = [Seat(name, frozenset(r.sensitive)) for name, r in active.items() if disputes.may_adjudicate(r)]
        given = before.filter(pl.col("key").is_in(sorted(done))).select("narrative_id", "rater")
        everything = pl.concat([already, new])
        judging = judges(disputes, material.candidates, able, everything, settings.salt, set(given.iter_rows()))
        new, undecided = pl.concat([new, judging.assignments]), judging.left_out
    ledger.assign(_assigned(new, before, secret, material, settings.daily_cap))
    return planned.left_out, undecided


def _assigned(
    new: pl.DataFrame, before: pl.DataFrame, secret: bytes, material: Material, cap: int | None
) -> pl.DataFrame:
    """New rows of a plan as :data:`ASSIGNMENTS`: a narrative that was shown ``before`` is shown as it was then, whether
    or not the latest build still has it."""
    known = {row["narrative_id"]: {name: row[name] for name in _AS_BEFORE}
             for row in before.filter(pl.col("planted").is_null()).iter_rows(named=True)}  # fmt: skip
    endings = material.endings() if new.height else {}
    notes = {} if material.disputes is None else material.disputes.notes
    practice = pl.concat([frame.select("rater", "occasion") for frame in (before, new)])
    practised = Counter(practice.filter(pl.col("occasion") == "practice")["rater"])
    rows = []
    for row in new.iter_rows(named=True):
        narrative, planted, case = row["narrative_id"], row["planted"], row["case_id"]
        shown = narrative if planted is None else f"{narrative}+{planted}"
        told = known.get(narrative) if planted is None else None
        if told is None:
            digest = material.images[case]
            told = {"image_digest": digest, "image": image_name(secret, digest, endings[digest]),
                    "pre_edit": material.texts[narrative, planted], "label": material.labels[case]}  # fmt: skip
        number = row["place"] + 1 - practised[row["rater"]]
        rows.append({**row, **told, "key": opaque_key(secret, shown, row["rater"], OCCASIONS.index(row["occasion"])),
                     "note": notes[narrative] if row["occasion"] == "adjudication" else pause_note(number, cap),
                     })  # fmt: skip
    return pl.DataFrame(rows, schema=ASSIGNMENTS)
