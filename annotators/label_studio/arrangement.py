"""One rater's list: what is strewn in among the rater's own cases, and in which order all of it is shown."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from itertools import zip_longest

from schemas.config import AnnotateSettings


@dataclass(frozen=True)
class Item:
    """One narrative to show on one occasion."""

    narrative_id: str
    case_id: str
    occasion: str
    planted: str | None = None
    probability: float | None = None
    feedback: str | None = None


@dataclass
class RaterList:
    """What one rater has and is to get."""

    seen: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    next_place: int = 0
    earlier: list[Item] = field(default_factory=list)
    repeated: set[str] = field(default_factory=set)
    firsts: list[Item] = field(default_factory=list)


def arranged(mine: RaterList, pool: list[Item], rater: str, settings: AnnotateSettings) -> list[Item]:
    """The rater's new items in the order in which they are shown."""
    count = len(mine.firsts)
    if not count:
        return []
    salt = settings.salt
    chosen: list[tuple[float, Item]] = [(float(at), item) for at, item in enumerate(mine.firsts)]
    for name, share, known in (
        ("gold", settings.gold_share, [i for i in pool if i.occasion == "gold" and i.planted is None]),
        ("planted", settings.planted_share, [i for i in pool if i.occasion == "gold" and i.planted is not None]),
    ):
        number = round(share * mine.counts["first"]) - mine.counts[name]
        taken = _draw(known, number, mine.seen, (salt, name, rater))
        step = count / max(1, len(taken))
        chosen += [
            ((at + number_of(salt, "slot", rater, item.narrative_id)) * step - 0.5, item)
            for at, item in enumerate(taken)
        ]
    chosen += _repeats(mine, rater, settings)
    begun = mine.counts.total() - mine.counts["adjudication"] > count
    practice = [] if begun else _draw(
        [i for i in pool if i.occasion == "practice"], settings.practice, mine.seen, (salt, "practice")
    )  # fmt: skip
    chosen.sort(key=lambda entry: (entry[0], number_of(salt, "tie", rater, entry[1].occasion, entry[1].narrative_id)))
    return [*_in_turn(practice), *_apart([item for _, item in chosen])]


def _in_turn(practice: list[Item]) -> list[Item]:
    """Those as they were written and those with a fault in turn, as long as there are both."""
    sound, faulty = ([item for item in practice if (item.planted is not None) == planted] for planted in (False, True))
    pairs = zip_longest(sound, faulty)
    return [item for pair in pairs for item in pair if item is not None]


def _draw(known: list[Item], number: int, seen: set[str], salt: tuple[str, ...]) -> list[Item]:
    """At most ``number`` of those not seen, one of each narrative; they are then seen."""
    taken: list[Item] = []
    for item in sorted(known, key=lambda i: (number_of(*salt, i.narrative_id, i.planted or ""), i.planted or "")):
        if len(taken) < number and item.narrative_id not in seen:
            taken.append(item)
            seen.add(item.narrative_id)
    return taken


def _repeats(mine: RaterList, rater: str, settings: AnnotateSettings) -> list[tuple[float, Item]]:
    """Items to see again with where they go: well after the first time, a third of the list where it is long enough."""
    count = len(mine.firsts)
    gap = max(2, count // 3)
    places = {item.narrative_id: -gap for item in mine.earlier}
    places |= {item.narrative_id: at for at, item in enumerate(mine.firsts) if at <= count - 1 - gap}
    number = round(settings.repeat_share * mine.counts["first"]) - mine.counts["repeat"]
    known = [
        i for i in (*mine.earlier, *mine.firsts) if i.narrative_id in places and i.narrative_id not in mine.repeated
    ]
    known.sort(key=lambda item: number_of(settings.salt, "repeat", rater, item.narrative_id))
    found = []
    for item in known[: max(0, number)]:
        low = max(0.0, places[item.narrative_id] + gap + 0.5)
        at = low + number_of(settings.salt, "again", rater, item.narrative_id) * (count - low)
        found.append((at, Item(item.narrative_id, item.case_id, "repeat", None, item.probability)))
    return found


def _apart(items: list[Item]) -> list[Item]:
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


def number_of(*parts: str) -> float:
    """A number in [0, 1) that hangs on the parts alone."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8]) / 2**64
