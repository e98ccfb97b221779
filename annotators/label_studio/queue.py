"""Who is asked to score what, and in which order: pure functions of the candidates, the raters and a salt.

A rater's list begins with practice, then goes through the rater's own cases in an order of which every beginning is
spread over the strata; known cases and cases seen before are strewn in where nobody can tell them from the rest. What
was once assigned stays: a grown queue or a new rater only adds to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from annotators.label_studio.arrangement import Item, RaterList, arranged, number_of
from schemas.config import AnnotateSettings

#: What is to be scored. ``overall``: the evaluator's mean score; ``spread``: of that score over the candidates of the
#: case; ``sensitive``: kinds of :data:`annotators.label_studio.raters.SENSITIVE` that the case is of; ``authors``:
#: raters who wrote it, as a correction, none for any other narrative.
CANDIDATES = pl.Schema(
    {
        "narrative_id": pl.String(),
        "case_id": pl.String(),
        "diagnosis": pl.String(),
        "source": pl.String(),
        "tone": pl.String(),
        "overall": pl.Float64(),
        "spread": pl.Float64(),
        "inclusion_probability": pl.Float64(),
        "sensitive": pl.List(pl.String()),
        "authors": pl.List(pl.String()),
    }
)
#: What is strewn in: ``occasion`` gold or practice; ``planted``: the fault put in, null for none; ``feedback``: what
#: the rater is told after the decision, null for nothing.
EXTRAS = pl.Schema(
    {
        "narrative_id": pl.String(),
        "case_id": pl.String(),
        "occasion": pl.String(),
        "planted": pl.String(),
        "sensitive": pl.List(pl.String()),
        "feedback": pl.String(),
    }
)
#: One place in one rater's list. Places count from 0 and are never given twice.
PLAN = pl.Schema(
    {
        "rater": pl.String(),
        "place": pl.Int64(),
        "narrative_id": pl.String(),
        "case_id": pl.String(),
        "occasion": pl.String(),
        "planted": pl.String(),
        "inclusion_probability": pl.Float64(),
        "feedback": pl.String(),
    }
)


@dataclass(frozen=True)
class Seat:
    """A rater to be given work, by pseudonym, and the kinds of sensitive cases that the rater agreed to see."""

    rater: str
    opted_in: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Planned:
    """``assignments``: new rows of :data:`PLAN`; ``left_out``: narratives for which too few raters may be asked."""

    assignments: pl.DataFrame
    left_out: tuple[str, ...]


def plan(
    candidates: pl.DataFrame,
    extras: pl.DataFrame,
    seats: Iterable[Seat],
    already: pl.DataFrame,
    settings: AnnotateSettings,
    per_case: int | None = None,
    void: frozenset[tuple[str, str]] = frozenset(),
) -> Planned:
    """New assignments, so that every candidate is with exactly ``per_case`` raters (by default as the settings say).

    A correction never goes to its authors, and to one rater less, since they stand for one; but one has to read it.
    ``already``: all that was ever assigned, as :data:`PLAN`. ``void``: (narrative, rater) among it that will not be
    answered any more, so that somebody else is asked; the same rater is not asked again.
    """
    per_case = settings.raters_per_case if per_case is None else per_case
    places = sorted(seats, key=lambda seat: seat.rater)
    lists = {seat.rater: RaterList() for seat in places}
    holders = _read_already(already, lists, void)
    left_out = []
    salt = settings.salt
    for row in ordered(candidates, settings).iter_rows(named=True):
        narrative = row["narrative_id"]
        authors, wanted = set(row["authors"]), set(row["sensitive"])
        need = max(1, per_case - bool(authors)) - len(holders.get(narrative, set()) - authors)
        if need <= 0:
            continue
        barred = authors | {rater for rater, mine in lists.items() if narrative in mine.seen}
        may = [seat.rater for seat in places if seat.rater not in barred and wanted <= seat.opted_in]
        if len(may) < need:
            left_out.append(narrative)
            continue
        may.sort(key=lambda rater: (lists[rater].counts["first"], number_of(salt, "deal", narrative, rater)))
        for rater in may[:need]:
            item = Item(narrative, row["case_id"], "first", None, row["inclusion_probability"])
            lists[rater].firsts.append(item)
            lists[rater].seen.add(narrative)
            lists[rater].counts["first"] += 1
    pool = [row for row in extras.iter_rows(named=True) if row["narrative_id"] not in set(candidates["narrative_id"])]
    rows = [
        (
            seat.rater,
            lists[seat.rater].next_place + place,
            i.narrative_id,
            i.case_id,
            i.occasion,
            i.planted,
            i.probability,
            i.feedback,
        )
        for seat in places
        for place, i in enumerate(arranged(lists[seat.rater], _open_to(pool, seat), seat.rater, settings))
    ]
    return Planned(pl.DataFrame(rows, schema=PLAN, orient="row"), tuple(left_out))


def ordered(candidates: pl.DataFrame, settings: AnnotateSettings) -> pl.DataFrame:
    """The candidates in the order in which they are dealt; the order in which they come does not matter.

    ``stratified``: every beginning of the list has the strata in proportion; ``uncertain``: those whose score is
    nearest to the threshold first; ``disagreeing``: those first whose siblings were scored most differently.
    """
    digest = [number_of(settings.salt, "order", name) for name in candidates["narrative_id"]]
    told = candidates.with_columns(pl.Series("_digest", digest, dtype=pl.Float64)).sort("_digest", "narrative_id")
    if settings.order == "uncertain":
        by = (pl.col("overall") - settings.uncertain_at).abs()
        return told.sort(by, maintain_order=True, nulls_last=True).drop("_digest")
    if settings.order == "disagreeing":
        return told.sort("spread", descending=True, maintain_order=True, nulls_last=True).drop("_digest")
    strata = ["diagnosis", "source", "tone"]
    rank = (pl.int_range(pl.len()).over(strata) + 0.5) / pl.len().over(strata)
    return told.sort(rank, maintain_order=True).drop("_digest")


def _read_already(
    already: pl.DataFrame, lists: Mapping[str, RaterList], void: frozenset[tuple[str, str]]
) -> dict[str, set[str]]:
    """Fill the lists with what they have; returns narrative -> raters who were asked and count."""
    holders: dict[str, set[str]] = {}
    for row in already.sort("rater", "place").iter_rows(named=True):
        narrative, rater = row["narrative_id"], row["rater"]
        if row["occasion"] == "first" and (narrative, rater) not in void:
            holders.setdefault(narrative, set()).add(rater)
        if (mine := lists.get(rater)) is None:
            continue
        mine.seen.add(narrative)
        mine.next_place = max(mine.next_place, row["place"] + 1)
        mine.counts["planted" if row["planted"] is not None and row["occasion"] == "gold" else row["occasion"]] += 1
        if row["occasion"] == "first":
            mine.earlier.append(Item(narrative, row["case_id"], "first", None, row["inclusion_probability"]))
        elif row["occasion"] == "repeat":
            mine.repeated.add(narrative)
    return holders


def _open_to(pool: Iterable[Mapping[str, object]], seat: Seat) -> list[Item]:
    return [
        Item(str(r["narrative_id"]), str(r["case_id"]), str(r["occasion"]), r["planted"], None, r["feedback"])  # type: ignore[arg-type]
        for r in pool
        if set(r["sensitive"]) <= seat.opted_in  # type: ignore[call-overload]
    ]
