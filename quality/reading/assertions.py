"""What a sentence says of each disease it names: that this is it, that it is not, or only that it may be thought of.

A name is ruled by the nearest cue, before it ("consistent with", "rather than") or after it ("is less likely", "fits
best"). What only sets the scene (a cause, a risk, a complication) asserts nothing. English cues kept as data; a
sentence without any cue says nothing, because a disease that is merely described ("psoriasis is a chronic disease")
must never be taken for a conclusion.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from quality.reading.cues import AFTER, BEFORE, Status
from quality.reading.mentions import Mention

_CLAUSE = re.compile(
    r"[;:]|,\s*(?:but|however|while|whereas|although|though|yet|so|which|and\s+(?:this|it|the))\b|\b(?:but|however|whereas|yet)\b",
    re.IGNORECASE,
)
_OR = re.compile(r"(?:^|[\s,*\"'”)])(?:and/or|or)(?:\s+[\w\-]+){0,3}\s+$|^\s*/\s*$", re.IGNORECASE)
_AND = re.compile(
    r"(?:^|[\s,)])(?:and|as\s+well\s+as|along\s+with|together\s+with|plus)(?:\s+\w+){0,2}\s+$", re.IGNORECASE
)


_BRACKETS = re.compile(r"[\"'”’]?\s*\([^()]{0,100}\)")  # noqa: RUF001
#: A sentence that begins so speaks of what would be, not of what is.
_CONDITION = re.compile(r"(?:(?:conversely|however|otherwise|on the other hand|and|but)[,\s]+)?if\b", re.IGNORECASE)
#: "HPV-induced wart", "wart-like lesion": the name only qualifies another.
_PART_OF_A_WORD = re.compile(
    r"(?:[-\u2010-\u2015](?:associated|like|type|prone)|[-\u2010-\u2015 ](?:induced|related))\b", re.IGNORECASE
)
_WOULD = re.compile(r"\bif\b[^.;]{0,200}?\bwould\b", re.IGNORECASE)
#: "vesicles would suggest herpes": what is not there speaks for nothing.
_SUPPOSED = re.compile(
    r"\b(?:would|could|might)\s+(?:\w+\s+)?(?:suggest|support|indicate|point|favou?r|lean|align|fit|match|represent)",
    re.IGNORECASE,
)
_CONCESSION = re.compile(r"while|whereas|although|though|despite|if|whether", re.IGNORECASE)
_EXAMPLE = re.compile(r"such\s+as|e\.g\.,?|includ(?:e|es|ing)|for\s+example|conditions?\s+like", re.IGNORECASE)
#: Cues so common that they only reach a name a few words on.
_COPULA = re.compile(
    r"(?:this|it|these|that)\s+(?:is|are)(?:\s+an?)?|makes?|making|(?:you|it|this|case|skin|area|they)\s+ha(?:s|ve)|called|classic|named?",
    re.IGNORECASE,
)
_SHORT = re.compile(r"\W*(?:[\w\-']+\W+){0,4}")
#: Cues that are only a noun: what is said of the noun is said of the name.
_NOUN = re.compile(
    r"(?:diagnosis|presentation|case|signs|features|characteristics|picture|evidence|example|hallmarks?) of",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Statement:
    """A disease named in a sentence, what is said of it, and the cue (``at`` where it begins) that says so.

    ``joined``: how it hangs on the statement before it: "or", "and" or nothing.
    """

    mention: Mention
    status: Status
    cue: str
    at: int
    joined: str


def statements(sentence: str, mentions: Sequence[Mention]) -> list[Statement]:
    """What ``sentence`` says of each of ``mentions``, in their order."""
    cues = _cues_before(sentence) if mentions else []
    found: list[Statement] = []
    for nth, mention in enumerate(mentions):
        joined = ""
        if found:
            between = sentence[found[-1].mention.end : mention.start]
            joined = "or" if _OR.search(between) and len(between) < 60 else "and" if _AND.search(between) else ""
        status, cue, at = _ruled(sentence, mentions, nth, cues)
        if joined and found and at == found[-1].at and status != found[-1].status and not cue.startswith("after"):
            status = found[-1].status
        found.append(Statement(mention, status, cue, at, joined))
    for nth in range(len(found) - 2, -1, -1):  # "X or Y is less likely" says it of both
        after = found[nth + 1]
        if after.joined and after.cue.startswith("after") and not found[nth].cue.startswith("after"):
            found[nth] = Statement(found[nth].mention, after.status, after.cue, after.at, found[nth].joined)
    return found


def _ruled(
    sentence: str, mentions: Sequence[Mention], nth: int, cues: list[tuple[int, int, Status]]
) -> tuple[Status, str, int]:
    mention = mentions[nth]
    before, cue, at = _ruled_before(sentence, mention, cues)
    if match := _PART_OF_A_WORD.match(sentence, mention.end):
        return "scene", match.group(), mention.end
    if _CONDITION.match(sentence) or _WOULD.search(sentence):
        return "weighed", "if", 0
    for status, pattern in AFTER:
        if match := pattern.search(_rest(sentence, mentions, nth)):
            conceded = before == "weighed" and _CONCESSION.fullmatch(cue)
            argued_against = before == "denied" and match.group().lstrip().startswith("as ")
            if status == "asserted" and (conceded or argued_against):
                return before, cue, at
            return status, f"after: {match.group().strip()[-40:]}", mention.end
    return before, cue, at


def _rest(sentence: str, mentions: Sequence[Mention], nth: int) -> str:
    """What follows a name, up to the next one; what stands in brackets straight after it is passed over."""
    begin = mentions[nth].end
    if match := _BRACKETS.match(sentence, begin):
        begin = match.end()
    stop = next((m.start for m in mentions[nth + 1 :] if m.start >= begin), len(sentence))
    return sentence[begin:stop]


def _ruled_before(sentence: str, mention: Mention, cues: list[tuple[int, int, Status]]) -> tuple[Status, str, int]:
    ruling = [cue for cue in cues if cue[1] <= mention.start]
    if not ruling:
        return "none", "", -1
    start, end, status = ruling[-1]
    clauses = [match.end() for match in _CLAUSE.finditer(sentence, end, mention.start)]
    if clauses and status in ("denied", "weighed", "scene"):
        return "none", "", -1
    if (
        status == "asserted"
        and _COPULA.fullmatch(sentence[start:end])
        and not _SHORT.fullmatch(sentence[end : mention.start])
    ):
        return "none", "", -1
    if status == "weighed" and len(ruling) > 1 and _EXAMPLE.fullmatch(sentence[start:end]):
        earlier = ruling[-2]  # "rules out tumours such as lipoma", "associated with diseases such as sarcoidosis"
        if earlier[2] in ("denied", "scene"):
            return earlier[2], sentence[earlier[0] : earlier[1]], earlier[0]
    if status == "asserted" and _SUPPOSED.search(sentence[max(0, start - 25) : end]):
        return "weighed", sentence[start:end], start
    if status == "asserted" and len(ruling) > 1:
        earlier = ruling[-2]
        gap = sentence[earlier[1] : start]
        near = 45 if _NOUN.search(sentence[start:end]) else 14
        if earlier[2] in ("denied", "weighed") and start - earlier[1] <= near and not re.search(r"[,;:.]", gap):
            return earlier[2], sentence[earlier[0] : earlier[1]], earlier[0]
    return status, sentence[start:end], start


def _cues_before(sentence: str) -> list[tuple[int, int, Status]]:
    """Every cue, by where it ends; one that lies inside another is not told apart from it."""
    found: list[tuple[int, int, Status]] = []
    for status, pattern in BEFORE:
        found += [(match.start(), match.end(), status) for match in pattern.finditer(sentence)]
    order = {status: nth for nth, (status, _) in enumerate(BEFORE)}
    kept: list[tuple[int, int, Status]] = []
    for cue in sorted(found, key=lambda cue: cue[1] - cue[0], reverse=True):
        if not any(cue[0] >= other[0] and cue[1] <= other[1] and order[cue[2]] >= order[other[2]] for other in kept):
            kept.append(cue)
    return sorted(kept, key=lambda cue: (cue[1], -cue[0]))
