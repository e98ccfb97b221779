"""Who is asked to score what, and in which order: pure functions of the candidates, the raters and a salt.

A rater's list begins with practice, then goes through the rater's own cases in an order of which every beginning is
spread over the strata; known cases and cases seen before are strewn in where nobody can tell them from the rest. What
was once assigned stays: a grown queue or a new rater only adds to it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import polars as pl

from schemas.config import AnnotateSettings

#: What is to be scored. ``overall``: the evaluator's mean score; ``spread``: of that score over the candidates of the
#: case; ``sensitive``: kinds of :data:`annotators.label_studio.raters.SENSITIVE` that the case is of.
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
    }
)
#: What is strewn in: ``occasion`` gold or practice; ``planted``: the fault put in, null for none.
EXTRAS = pl.Schema(
    {
        "narrative_id": pl.String(),
        "case_id": pl.String(),
        "occasion": pl.String(),
        "planted": pl.String(),
        "sensitive": pl.List(pl.String()),
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


@dataclass(frozen=True)
class _Item:
    narrative_id: str
    case_id: str
    occasion: str
    planted: str | None = None
    probability: float | None = None


@dataclass
class _List:
    """What one rater has and is to get."""

    seen: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    next_place: int = 0
    earlier: list[_Item] = field(default_factory=list)
    repeated: set[str] = field(default_factory=set)
    firsts: list[_Item] = field(default_factory=list)


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

    ``already``: all that was ever assigned, as :data:`PLAN`. ``void``: (narrative, rater) among it that will not be
    answered any more, so that somebody else is asked; the same rater is not asked again.
    """
    per_case = settings.raters_per_case if per_case is None else per_case
    places = sorted(seats, key=lambda seat: seat.rater)
    lists = {seat.rater: _List() for seat in places}
    holders = _read_already(already, lists, void)
    left_out = []
    salt = settings.salt
    for row in ordered(candidates, settings).iter_rows(named=True):
        narrative = row["narrative_id"]
        need = per_case - len(holders.get(narrative, ()))
        if need <= 0:
            continue
        wanted = set(row["sensitive"])
        may = [s.rater for s in places if narrative not in lists[s.rater].seen and wanted <= s.opted_in]
        if len(may) < need:
            left_out.append(narrative)
            continue
        may.sort(key=lambda rater: (lists[rater].counts["first"], _number(salt, "deal", narrative, rater)))
        for rater in may[:need]:
            item = _Item(narrative, row["case_id"], "first", None, row["inclusion_probability"])
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
        )
        for seat in places
        for place, i in enumerate(_arranged(lists[seat.rater], _open_to(pool, seat), seat.rater, settings))
    ]
    return Planned(pl.DataFrame(rows, schema=PLAN, orient="row"), tuple(left_out))


def ordered(candidates: pl.DataFrame, settings: AnnotateSettings) -> pl.DataFrame:
    """The candidates in the order in which they are dealt; the order in which they come does not matter.

    ``stratified``: every beginning of the list has the strata in proportion; ``uncertain``: those whose score is nearest
    to the threshold first; ``disagreeing``: those first whose siblings were scored most differently.
    """
    digest = [_number(settings.salt, "order", name) for name in candidates["narrative_id"]]
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
    already: pl.DataFrame, lists: Mapping[str, _List], void: frozenset[tuple[str, str]]
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
            mine.earlier.append(_Item(narrative, row["case_id"], "first", None, row["inclusion_probability"]))
        elif row["occasion"] == "repeat":
            mine.repeated.add(narrative)
    return holders


def _open_to(pool: Iterable[Mapping[str, object]], seat: Seat) -> list[_Item]:
    return [
        _Item(str(r["narrative_id"]), str(r["case_id"]), str(r["occasion"]), r["planted"])  # type: ignore[arg-type]
        for r in pool
        if set(r["sensitive"]) <= seat.opted_in  # type: ignore[call-overload]
    ]


def _arranged(mine: _List, pool: list[_Item], rater: str, settings: AnnotateSettings) -> list[_Item]:
    """The rater's new items in the order in which they are shown."""
    count = len(mine.firsts)
    if not count:
        return []
    salt = settings.salt
    chosen: list[tuple[float, _Item]] = [(float(at), item) for at, item in enumerate(mine.firsts)]
    for name, share, known in (
        ("gold", settings.gold_share, [i for i in pool if i.occasion == "gold" and i.planted is None]),
        ("planted", settings.planted_share, [i for i in pool if i.occasion == "gold" and i.planted is not None]),
    ):
        number = round(share * mine.counts["first"]) - mine.counts[name]
        taken = _draw(known, number, mine.seen, (salt, name, rater))
        step = count / max(1, len(taken))
        chosen += [
            ((at + _number(salt, "slot", rater, item.narrative_id)) * step - 0.5, item) for at, item in enumerate(taken)
        ]
    chosen += _repeats(mine, rater, settings)
    practice = [] if mine.next_place else _draw(
        [i for i in pool if i.occasion == "practice"], settings.practice, mine.seen, (salt, "practice")
    )  # fmt: skip
    chosen.sort(key=lambda entry: (entry[0], _number(salt, "tie", rater, entry[1].occasion, entry[1].narrative_id)))
    return [*practice, *_apart([item for _, item in chosen])]


def _draw(known: list[_Item], number: int, seen: set[str], salt: tuple[str, ...]) -> list[_Item]:
    """At most ``number`` of those not seen, one of each narrative; they are then seen."""
    taken: list[_Item] = []
    for item in sorted(known, key=lambda i: (_number(*salt, i.narrative_id, i.planted or ""), i.planted or "")):
        if len(taken) < number and item.narrative_id not in seen:
            taken.append(item)
            seen.add(item.narrative_id)
    return taken


def _repeats(mine: _List, rater: str, settings: AnnotateSettings) -> list[tuple[float, _Item]]:
    """Items to see again with where they go: well after the first time, a third of the list where it is long enough."""
    count = len(mine.firsts)
    gap = max(2, count // 3)
    places = {item.narrative_id: -gap for item in mine.earlier}
    places |= {item.narrative_id: at for at, item in enumerate(mine.firsts) if at <= count - 1 - gap}
    number = round(settings.repeat_share * mine.counts["first"]) - mine.counts["repeat"]
    known = [
        i for i in (*mine.earlier, *mine.firsts) if i.narrative_id in places and i.narrative_id not in mine.repeated
    ]
    known.sort(key=lambda item: _number(settings.salt, "repeat", rater, item.narrative_id))
    found = []
    for item in known[: max(0, number)]:
        low = max(0.0, places[item.narrative_id] + gap + 0.5)
        at = low + _number(settings.salt, "again", rater, item.narrative_id) * (count - low)
        found.append((at, _Item(item.narrative_id, item.case_id, "repeat", None, item.probability)))
    return found


def _apart(items: list[_Item]) -> list[_Item]:
    """Move cases out of their own neighbourhood where that is possible; what is repeated keeps its place."""
    again = {item.narrative_id for item in items if item.occasion == "repeat"}
    shown = list(items)

    def clash(at: int) -> bool:
        beside = [shown[n].case_id for n in (at - 1, at + 1) if 0 <= n < len(shown)]
        return shown[at].case_id in beside

    for at in range(1, len(shown)):
        if shown[at].case_id != shown[at - 1].case_id or shown[at].narrative_id in again:
            continue
        for other in (*range(at + 1, len(shown)), *range(at - 1)):
            if shown[other].narrative_id in again:
                continue
            shown[at], shown[other] = shown[other], shown[at]
            if not clash(at) and not clash(other):
                break
            shown[at], shown[other] = shown[other], shown[at]
    return shown


def _number(*parts: str) -> float:
    """A number in [0, 1) that hangs on the parts alone."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8]) / 2**64
