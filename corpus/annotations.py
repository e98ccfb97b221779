"""A snapshot of raters' answers: read once, checked, and cut down to the answers that count.

What raters said is data of others and grows between builds, so a build names one snapshot and is keyed by its content.
Only the latest state of an answer counts, given on a first occasion or to adjudicate, by a rater of a credential that
the rules name, who could judge the case. Everything else (repeats, gold, practice, residents ...) is there to measure
raters by, and certifies nothing.
"""

from __future__ import annotations

import io
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from corpus.digests import digest_bytes
from corpus.filesystem import Folder
from schemas.config import CertificationSettings
from schemas.errors import UserError
from schemas.narrative import NarrativeParseError, narrative_from_json, parse_sections, render_sections
from schemas.stage import rejection
from schemas.tables import ANNOTATIONS, DIMENSIONS, OCCASIONS, RATER_KINDS, empty_frame, polars_schema

#: Flags that take a case out of every split, the gravest first.
REMOVING_FLAGS = ("identifiable_person", "wrong_label", "bad_image")
COUNTING_OCCASIONS = ("first", "adjudication")

#: A case that a rater flagged, and the reason the split ledger gives.
REMOVALS = pl.Schema({"case_id": pl.String(), "reason": pl.String(), "simulated": pl.Boolean()})
#: A corrected text, once for each text it corrects, with everybody who wrote it. ``completion``: its sections;
#: ``given``: the context that its author was shown; ``shown_digest``: of the text that its author was shown.
CORRECTIONS = pl.Schema(
    {
        "case_id": pl.String(),
        "parent_narrative_id": pl.String(),
        "completion": pl.String(),
        "text_digest": pl.String(),
        "shown_digest": pl.String(),
        "given": pl.List(pl.String()),
        "revised": pl.Boolean(),
        "authors": pl.List(pl.String()),
        "simulated": pl.Boolean(),
    }
)
_STAGE = "annotations"


def read_snapshot(path: str | None) -> pl.DataFrame:
    """The rows of a snapshot as :data:`schemas.tables.ANNOTATIONS`; none where there is no path.

    Raises :class:`UserError` for a file that is not such a table, or holds words or a scale that nobody can give.
    """
    if path is None:
        return empty_frame(ANNOTATIONS)
    parent, _, name = path.replace("\\", "/").rpartition("/")
    advice = "name a snapshot of annotations in certification.annotations"
    try:
        table = pq.read_table(io.BytesIO(Folder(parent or "/").read(name)))
    except FileNotFoundError:
        raise UserError(f"there is no file {path}: {advice}") from None
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]}): {advice}") from None
    lacks = [field.name for field in ANNOTATIONS if field.name not in table.column_names]
    if lacks:
        raise UserError(f"{path} has no column {lacks[0]}: {advice}")
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    wanted = polars_schema(ANNOTATIONS)
    try:
        frame = frame.select(list(wanted)).cast(dict(wanted))  # type: ignore[arg-type]
    except pl.exceptions.PolarsError as error:
        raise UserError(f"a column of {path} has another type ({str(error).splitlines()[0]}): {advice}") from None
    _check(frame, path)
    return frame


def _check(frame: pl.DataFrame, path: str) -> None:
    required = [field.name for field in ANNOTATIONS if not field.nullable]
    for name in required:
        if frame[name].null_count():
            raise UserError(f"{path} lacks {name} in {frame[name].null_count()} rows: pull the annotations anew")
    for name, known in (("occasion", OCCASIONS), ("rater_kind", RATER_KINDS)):
        strange = sorted(set(frame[name]) - set(known))
        if strange:
            raise UserError(f"{path} holds the {name} {strange[0]!r}; known are {', '.join(known)}")
    if not ((frame["scale_low"] == 0) & (frame["scale_high"] == 5)).all():
        raise UserError(f"{path} holds scores of another scale than 0 to 5, which are never rescaled: pull them anew")
    outside = pl.any_horizontal(~pl.col(name).is_between(0, 5) for name in DIMENSIONS)
    if frame.filter(outside.fill_null(False)).height:
        raise UserError(f"{path} holds a score that is not between 0 and 5: pull the annotations anew")


def qualified(annotations: pl.DataFrame, rules: CertificationSettings) -> pl.DataFrame:
    """The latest answers on counting occasions by raters whose credential the rules name, whatever they say.

    One row per narrative and rater: the latest; a rater's first answer stands before the same rater's adjudication,
    since nobody adjudicates what is in dispute with themselves.
    """
    rows = annotations.filter(
        pl.col("is_latest"),
        pl.col("occasion").is_in(COUNTING_OCCASIONS),
        pl.col("credential").is_in(rules.credentials),
        pl.col("planted").is_null(),
    )
    order = ["narrative_id", "rater", pl.col("occasion") != "first", "updated_at", "revision", "annotation_id"]
    down = [False, False, False, True, True, True]
    return rows.sort(order, descending=down).unique(["narrative_id", "rater"], keep="first", maintain_order=True)


def counted(annotations: pl.DataFrame, rules: CertificationSettings) -> pl.DataFrame:
    """Of the :func:`qualified` answers those with a decision and all scores: what certification counts."""
    scored = pl.all_horizontal(pl.col(name).is_not_null() for name in DIMENSIONS)
    return qualified(annotations, rules).filter(scored & (pl.col("decision") != "cannot_judge"))


def plain_flag(word: str) -> str:
    """A flag as the rules know it: ``Bad image`` and ``bad-image`` are ``bad_image``."""
    return "_".join("".join(sign if sign.isalnum() else " " for sign in word.casefold()).split())


def removals(annotations: pl.DataFrame, rules: CertificationSettings) -> pl.DataFrame:
    """:data:`REMOVALS` by case: what qualified raters flagged, whether or not they could judge; the gravest flag."""
    found: dict[str, tuple[int, bool]] = {}
    for case_id, flags, kind in qualified(annotations, rules).select("case_id", "flags", "rater_kind").iter_rows():
        places = [REMOVING_FLAGS.index(flag) for flag in map(plain_flag, flags) if flag in REMOVING_FLAGS]
        if places:
            before = found.get(case_id, (len(REMOVING_FLAGS), False))
            found[case_id] = (min(*places, before[0]), before[1] or kind == "simulated")
    rows = [(case, f"flagged_{REMOVING_FLAGS[at]}", simulated) for case, (at, simulated) in sorted(found.items())]
    return pl.DataFrame(rows, schema=REMOVALS, orient="row")


def planted_ids(annotations: pl.DataFrame) -> list[str]:
    """Narratives into which a fault was put to measure raters, by any row ever written about them.

    What was only practised on is none of them: raters were told of the fault, and answers to the text with it never
    count (:func:`qualified`).
    """
    return _measuring(annotations)["narrative_id"].unique().sort().to_list()


def planted_answers(annotations: pl.DataFrame) -> pl.DataFrame:
    """The latest answers to planted faults that raters were not told of; practice is left out."""
    return _measuring(annotations).filter("is_latest")


def _measuring(annotations: pl.DataFrame) -> pl.DataFrame:
    return annotations.filter(pl.col("planted").is_not_null() & (pl.col("occasion") != "practice"))


def corrections(
    annotations: pl.DataFrame, rules: CertificationSettings
) -> tuple[pl.DataFrame, list[dict[str, str | None]]]:
    """:data:`CORRECTIONS` of the counted answers that revise, and rejections of those that hold no narrative.

    Rejected by narrative: ``unreadable_correction``, ``unchanged_correction``.
    """
    rejected: list[dict[str, str | None]] = []
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    revising = counted(annotations, rules).filter((pl.col("decision") == "revise") & pl.col("corrected").is_not_null())
    columns = ["narrative_id", "case_id", "rater", "rater_kind", "corrected", "pre_edit"]
    for parent, case_id, rater, kind, corrected, shown in revising.select(columns).iter_rows():
        try:
            narrative, before = narrative_from_json(corrected), narrative_from_json(shown)
            completion = render_sections(narrative)
            if parse_sections(completion) != narrative:
                raise NarrativeParseError(1, "a narrative that can be written down", "one that reads otherwise")
        except (NarrativeParseError, ValueError) as error:
            why = str(error).splitlines()[0]
            rejected.append(rejection("narrative", parent, _STAGE, "unreadable_correction", detail=why))
            continue
        if narrative == before:
            rejected.append(rejection("narrative", parent, _STAGE, "unchanged_correction"))
            continue
        digest = digest_bytes(completion.encode())
        row = found.setdefault(
            (case_id, parent, digest),
            {
                "case_id": case_id,
                "parent_narrative_id": parent,
                "completion": completion,
                "text_digest": digest,
                "shown_digest": digest_bytes(shown.encode()),
                "given": list(before.context_used),
                "revised": narrative.first_impression is not None,
                "authors": [],
                "simulated": False,
            },
        )
        row["authors"] = sorted({*row["authors"], rater})
        row["simulated"] = row["simulated"] or kind == "simulated"
    return pl.DataFrame([found[key] for key in sorted(found)], schema=CORRECTIONS), rejected
