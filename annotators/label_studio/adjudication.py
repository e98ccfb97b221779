"""Where raters differ, others decide: who is asked, and what they are told.

An adjudicator has neither seen the narrative nor written it. What the raters before found wrong is shown in their own
words, in an order that hangs on the words alone; what they decided or scored, how many they were and who they are is
not, so that an adjudicator weighs reasons and follows no majority.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from annotators.label_studio.arrangement import number_of
from annotators.label_studio.queue import PLAN, Planned, Seat
from annotators.label_studio.raters import Rater
from corpus.annotations import counted
from schemas.config import CertificationSettings

_DIFFER = "The raters who saw this case before you differ about it. Judge it as you would any other."
_WROTE = "What they found wrong, in their own words:"
_SILENT = "None of them wrote down what is wrong with it."


@dataclass(frozen=True)
class Disputes:
    """What adjudication needs to know of the answers so far, and of the rules.

    ``notes``: narrative that raters differ about -> what an adjudicator is told; ``seen``: (narrative, rater) for every
    answer; ``undecided``: those of them who adjudicated without an answer that counts; ``each``: adjudicators that a
    narrative needs; ``credentials``, ``simulated``: who counts.
    """

    notes: Mapping[str, str]
    seen: frozenset[tuple[str, str]]
    undecided: frozenset[tuple[str, str]]
    each: int
    credentials: tuple[str, ...]
    simulated: bool

    def may_adjudicate(self, rater: Rater) -> bool:
        """Whether the rules would count what a rater says."""
        return rater.active and rater.credential in self.credentials and (rater.kind != "simulated" or self.simulated)


def disputes_of(
    annotations: pl.DataFrame, found: pl.DataFrame, rules: CertificationSettings, *, simulated: bool
) -> Disputes:
    """From a snapshot and what it comes to (:data:`corpus.certified.OUTCOMES`); ``simulated``: whether those count."""
    views = counted(annotations, rules)
    open_ones = found.filter(pl.col("state") == "needs_adjudication")["narrative_id"].sort()
    first = views.filter((pl.col("occasion") == "first") & pl.col("critique").is_not_null())
    critiques: dict[str, list[str]] = {}
    for narrative, critique in first.select("narrative_id", "critique").iter_rows():
        critiques.setdefault(narrative, []).append(critique)
    latest = annotations.filter("is_latest").select("narrative_id", "rater", "occasion")
    judged = latest.filter(pl.col("occasion") == "adjudication").join(
        views, on=["narrative_id", "rater"], how="anti"
    )  # fmt: skip
    return Disputes(
        {name: note_of(critiques.get(name, ())) for name in open_ones},
        frozenset(latest.select("narrative_id", "rater").iter_rows()),
        frozenset(judged.select("narrative_id", "rater").iter_rows()),
        rules.adjudicators,
        rules.credentials,
        simulated,
    )


def note_of(critiques: Iterable[str]) -> str:
    """What an adjudicator is told; equal critiques are told once, and whose is whose cannot be seen."""
    told = {" ".join(text.split()) for text in critiques} - {""}
    lines = [f"• {text}" for text in sorted(told, key=lambda text: number_of("critique", text))]
    return "\n".join([_DIFFER, _WROTE, *lines] if lines else [_DIFFER, _SILENT])


def judges(
    disputes: Disputes,
    candidates: pl.DataFrame,
    seats: Collection[Seat],
    already: pl.DataFrame,
    salt: str,
    answered: Collection[tuple[str, str]] = (),
) -> Planned:
    """New adjudications of the candidates in dispute, so that each is with ``disputes.each`` raters, or with none.

    ``seats``: raters who may adjudicate; ``already``: all that was ever assigned, as
    :data:`annotators.label_studio.queue.PLAN`; ``answered``: (narrative, rater) of adjudications that are known to be
    answered. An adjudication that nobody will answer any more, or that decided nothing, goes to somebody else.
    """
    names = {seat.rater for seat in seats}
    seen: dict[str, set[str]] = {}
    for narrative, rater in (*disputes.seen, *already.select("narrative_id", "rater").iter_rows()):
        seen.setdefault(narrative, set()).add(rater)
    asked = already.filter(pl.col("occasion") == "adjudication")
    loads = dict(asked.group_by("rater").len().iter_rows())
    at_work: dict[str, int] = {}
    for pair in asked.select("narrative_id", "rater").iter_rows():
        if pair not in disputes.undecided and (pair[1] in names or pair in answered or pair in disputes.seen):
            at_work[pair[0]] = at_work.get(pair[0], 0) + 1
    places = dict(already.group_by("rater").agg(pl.col("place").max() + 1).iter_rows())
    rows, left_out = [], []
    wanted = candidates.filter(pl.col("narrative_id").is_in(list(disputes.notes))).sort("narrative_id")
    for row in wanted.iter_rows(named=True):
        narrative = row["narrative_id"]
        need = disputes.each - at_work.get(narrative, 0)
        barred = seen.get(narrative, set()) | set(row["authors"])
        may = [s.rater for s in seats if s.rater not in barred and set(row["sensitive"]) <= s.opted_in]
        if len(may) < need:
            left_out.append(narrative)
            continue
        may.sort(key=lambda rater: (loads.get(rater, 0), number_of(salt, "adjudicate", narrative, rater)))
        for rater in may[: max(0, need)]:
            place = places.get(rater, 0)
            places[rater], loads[rater] = place + 1, loads.get(rater, 0) + 1
            chance = row["inclusion_probability"]
            rows.append((rater, place, narrative, row["case_id"], "adjudication", None, chance, None))
    return Planned(pl.DataFrame(rows, schema=PLAN, orient="row"), tuple(left_out))
