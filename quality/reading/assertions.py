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
from typing import Literal

from quality.reading.mentions import Mention

Status = Literal["asserted", "denied", "weighed", "scene", "none"]


def _cue(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE)


_GAP = r"(?:[\w'’\-]+\s+){0,4}?"  # noqa: RUF001
_BE = r"(?:is|are|was|were|be|being|been|remains?|seems?|appears?|becomes?|emerges?(?:\s+as)?|would\s+be|stands\s+out\s+as)"

#: Cues before the name, in the order in which a longer one must win over one it contains.
_BEFORE: tuple[tuple[Status, re.Pattern[str]], ...] = (
    (
        "denied",
        _cue(
            r"(?:not|never|n't|cannot\s+be|hardly|scarcely)\s+(?!only\b)" + _GAP + r"(?:consistent|compatible|typical|"
            r"suggest\w*|indicat\w*|support\w*|characteristic|fit\w*|represent\w*|due\s+to|diagnos\w*|in\s+keeping|"
            r"align\w*|point\w*|match\w*|classic\w*)" + r"(?:\s+\w+){0,2}?(?:\s+(?:with|of|to|towards?|for))?|"
            r"rul(?:e|es|ed|ing)\s+out|exclud\w+|exclusion\s+of|unlike|no\s+(?:clear\s+)?(?:signs?|evidence|features?|indication)\s+"
            r"(?:of|for|to\s+suggest)|without|rather\s+than|instead\s+of|as\s+opposed\s+to|(?:argues?|speaks?)\s+against|"
            r"against|less\s+(?:likely|consistent|typical|suggestive|indicative|characteristic)(?:\s+to\s+be)?"
            r"(?:\s+(?:with|of))?|(?:un|im)likely(?:\s+to\s+be)?|differentiat\w+\s+(?:\w+\s+){0,3}?from|distinguish\w*\s+(?:\w+\s+){0,4}?from|"
            r"distinct\s+from|lacks?|lacking|absence\s+of|versus|vs\.?|other\s+than|mistaken\s+for|not\s+(?:a|an|just|simply)?|isn't|"
            r"more\s+(?:\w+\s+){0,2}?than|than|differs?\s+from|contrasts?\s+with|deviat\w+\s+from|inconsistent\s+with|"
            r"atypical\s+(?:for|of)|over(?!\s+(?:time|the|a|an|months|weeks|years|days|joints|bony|sun|pressure|\d)\b)|uncommon\s+in|rare\s+in|eliminat\w+|dismiss\w*|mimic\w*|resembl\w+|negative\s+for|discount\w*"
        ),
    ),
    (
        "weighed",
        _cue(
            r"consider(?:ed|ing|ation\s+of|s)?|could\s+(?:also\s+)?(?:\w+\s+)?(?:be|suggest|indicate|represent)|"
            r"might\s+(?:also\s+)?(?:\w+\s+)?(?:be|suggest|indicate|represent)|may\s+(?:also\s+)?(?:be|suggest|indicate|represent)|possib(?:le|ly|ility)(?:\s+of)?|"
            r"potential(?:ly)?|differentials?(?:\s+diagnos[ie]s)?|alternativ\w*|includ(?:e|es|ed|ing)|such\s+as|e\.g\.,?|for\s+example|"
            r"other\s+(?:\w+\s+){0,3}?(?:conditions?|diagnos[ie]s|possibilities|disorders?|causes|diseases|entities)(?:\s+like)?|"
            r"while|whereas|although|though|despite|conditions?\s+like|overlap\s+with|features\s+of\s+both|if|whether|"
            r"(?<!high )(?<!strong )suspicion\s+(?:of|for)|concern(?:s|ed|ing)?(?:\s+for|\s+about)?|evaluate\s+for|test(?:ing|ed|s)?\s+for|check(?:ing)?\s+for|"
            r"screen(?:ing)?\s+for|monitor\w*\s+for|to\s+(?:confirm|assess|exclude)|confirm(?:ation)?\s+(?:whether|of)|question\s+of"
        ),
    ),
    (
        "scene",
        _cue(
            r"reactivation\s+of|(?:indicated|suggested|supported|confirmed|evidenced|favou?red|demonstrated)\s+by|associated|risk\s+(?:of|for)|history\s+of|associated\s+with|secondary\s+to|secondary(?=\s+(?:\w+\s+){0,2}infect)|due\s+to|caused\s+by|cause\s+of|complicat\w+(?:\s+(?:by|of))?|"
            r"superimposed|exacerbated\s+by|triggered\s+by|related\s+to|progress(?:ion|es|ing)?\s+(?:in)?to|evolv\w+\s+into|"
            r"develop(?:ing|ment|s)?\s+(?:of|into)|(?:type|form|variant|subtype|subset|stage|part|kind|marker|precursor|complication|symptom|presence)s?\s+of|characteri[sz]ed\s+by|marked\s+by|revealing|"
            r"(?:common|seen|found|occurs?|present|typical|classic|observed|commonly\s+seen|characteristic)\s+in|known\s+as|treat(?:ment|ments|ed|ing)?\s+(?:for|of)|"
            r"predispos\w+\s+to|lead(?:s|ing)?\s+to|result(?:s|ing)?\s+(?:in|from)|accompan\w+|concomitant|coexist\w+|co-existing|concurrent|underlying|background|prevent\w*|"
            r"patients\s+with|people\s+with|individuals\s+with|under(?:\s+the)?\s+(?:umbrella|category|spectrum)\s+of|belongs?\s+to|category\s+of"
        ),
    ),
    (
        "asserted",
        _cue(
            r"diagnos(?:is|ed|tic\s+conclusion|tic\s+impression|tic\s+consideration|e|able)(?:\s+(?:this|the)\s+(?:\w+\s+){0,3}?)?(?:\s+[\w'’\-]+){0,9}?\s*(?:is|was|of|as|:|to\s+be|would\s+be|remains|leans\s+towards?|=|–|-)|"  # noqa: RUF001
            r"(?:conclusion|answer|impression|verdict|assessment|culprit)(?:\s+[\w'’\-]+){0,8}?\s*(?:is|was|of|as|:|to\s+be|remains)|"  # noqa: RUF001
            r"(?:consistent|compatible|in\s+(?:keeping|line)|in\s+accordance|concordant)\s+with|"
            r"align(?:s|ed|ing)?\s+(?:[\w\-]+\s+){0,5}?with|fit(?:s|ting)?(?:\s+(?!with\b)[\w\-]+){0,5}?\s+(?:with|of|for)|fits?|match(?:es|ing)?(?:\s+(?:that|those|the\s+\w+|a\s+\w+)\s+of)?|"
            r"suggest(?:s|ed|ing|ive)?(?:\s+(?:of|that|a\s+diagnosis\s+of))?|indicat(?:es?|ed|ing|ive)(?:\s+of)?|"
            r"point(?:s|ed|ing)?\s+(?:[\w\-]+\s+){0,4}?(?:to|towards?|at)|represent(?:s|ing)?|appear(?:s|ed)?\s+to\s+(?:be|have|show|represent|indicate|involve|suggest)|"
            r"looks?\s+(?:\w+\s+)?like|seems?\s+to\s+(?:be|have|represent|indicate|suggest)|(?:signs|features|characteristics|presentation|case|picture|diagnosis|evidence|example|hallmarks?)\s+of|"
            r"(?:you|your\s+\w+|the\s+patient|patient|individual|person|he|she|they|who|skin|area|lesions?|rash|case|this|it)\s+(?:\w+\s+){0,2}?(?:ha(?:s|ve)|shows?|display\w*|exhibit\w*|involves?|suffers?\s+from)|suffering\s+from|"
            r"characteristic\s+(?:of|for)|typical\s+(?:of|for)|diagnostic\s+(?:of|for)|pathognomonic\s+(?:of|for)|classic(?:al)?\s+(?:\w+\s+)?(?:of|for)|classic|"
            r"confirm(?:s|ed|ing)?|lean(?:s|ed|ing)?\s+(?:[\w\-]+\s+){0,4}?(?:to|towards?)|favou?r(?:s|ed|ing)?|support(?:s|ed|ing|ive)?(?:\s+of)?|conclud(?:e|es|ed|ing)(?:\s+that)?|"
            r"identif(?:y|ied|ies)\s+(?:\w+\s+){0,3}?as|classif(?:y|ied|ies)\s+(?:\w+\s+){0,3}?as|label\w*\s+as|recogni[sz]ed?\s+as|described\s+as|explained\s+by|attribut\w+\s+to|called|termed|namely|specifically|"
            r"most\s+likely|highly\s+likely|very\s+likely|likely|probabl[ey]|presum\w+|this\s+is(?:\s+an?)?|it\s+is(?:\s+an?)?|these\s+are|that\s+is|(?:lesions?|conditions?|rash|problem|issue|disease|growths?|bumps?|spots?|patch(?:es)?|plaques?|nodules?|papules?|eruption|findings?|changes)(?:\s+(?!be\b|is\b|are\b)[\w\-]+){0,5}?\s+(?:is|are)(?:\s+an?)?|is\s+(?:indeed|clearly|likely|probably|in\s+fact)|best\s+fit\s+is|"
            r"narrow\w*\s+(?:\w+\s+){0,4}?to|secures?|cements?|makes?|making|reveal\w*|demonstrat\w+|in\s+favou?r\s+of|evidence\s+for|pictures?\s+of|reflect\w*|imply|implies|implying|work(?:ing)?\s+diagnosis|result(?:s)?\s+is|"
            r"(?:highly|very|most|strongly|especially)\s+concerning\s+for|(?:high(?:ly)?|strong(?:ly)?)\s+(?:index\s+of\s+)?suspici\w+\s+(?:of|for)|prompt\w*\s+(?:\w+\s+){0,3}?of|establish\w*|label\s+is|named?|(?:conclusion|diagnosis|answer|impression)\s*[:\-–]"
        ),
    ),
)

#: Cues after the name, up to the next name or the end of the clause.
_AFTER: tuple[tuple[Status, re.Pattern[str]], ...] = (
    (
        "denied",
        re.compile(
            r"^[^,;.]{0,60}?\b(?:"
            + _BE
            + r"\s+(?:\w+\s+){0,2}?(?:less|unlikely|not|ruled\s+out|excluded|improbable|atypical|inconsistent|implausible|uncommon|rare|absent|lower|eliminated|dismissed)\b|"
            r"(?:can|could|may)\s+be\s+(?:\w+\s+)?(?:ruled\s+out|excluded|dismissed|eliminated)|less\s+(?:likely|consistent|probable|typical)|(?:does|do|did|would|is|are|can|could|has|have)(?:\s+not|n't|not\b)|"
            r"unlikely|(?:typically|usually|often|generally|commonly|classically|rarely|normally|tends?\s+to)\b|lacks?\b|would\s+(?:\w+\s+)?(?:show|present|be\s+expected|cause|have|exhibit|display|be\s+more)|"
            r"(?:presents|causes|affects|involves|features|shows|has|have|tends)\b)",
            re.IGNORECASE,
        ),
    ),
    (
        "weighed",
        re.compile(
            r"^[^,;.]{0,60}?\b(?:"
            + _BE
            + r"\s+(?:\w+\s+){0,3}?(?:possib\w+|considered|considerations?|differentials?|conceivable|plausible\s+alternative|alternatives?|less\s+common)|"
            r"(?:could|might|may|can|should|must|needs?\s+to)\s+(?:\w+\s+){0,2}?(?:be|explain|present|account|mimic|cause|show|have|resemble|look)|also\s+possible|remains?\s+in|as\s+(?:a|one)\s+(?:\w+\s+)?(?:possibility|consideration|alternative))",
            re.IGNORECASE,
        ),
    ),
    (
        "asserted",
        re.compile(
            r"^[^,;.]{0,70}?\b(?:"
            + _BE
            + r"\s+(?:[\w\-']+\s+){0,4}?(?:most|likely|best|leading|primary|top|final|probable|strongest|favou?red|prime|foremost|supported|confirmed|diagnosis|suspected|conclusion|suggested|indicated|clear|evident|consistent|fit)|"
            r"(?:best|most)\s+(?:\w+\s+)?(?:explains?|fits?|matches|accounts?)|fits?\s+(?:\w+\s+){0,2}?(?:best|well|most|perfectly|closely)|(?:best|most)\s+fits?|aligns?\s+(?:\w+\s+){0,2}?(?:best|most|well|closely|perfectly|strongly)|"
            r"as\s+(?:the|a)\s+(?:[\w\-]+\s+){0,4}?(?:diagnosis|cause|candidate|conclusion|pathology|explanation|fit|disease|condition|etiology)|matches\s+(?:\w+\s+)?(?:best|well|most|perfectly)|stands\s+out|emerges)",
            re.IGNORECASE,
        ),
    ),
)
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
_WOULD = re.compile(r"\bif\b[^.;]{0,200}?\bwould\b", re.IGNORECASE)
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
    if _CONDITION.match(sentence) or _WOULD.search(sentence):
        return "weighed", "if", 0
    for status, pattern in _AFTER:
        if match := pattern.search(_rest(sentence, mentions, nth)):
            if status == "asserted" and before == "weighed" and _CONCESSION.fullmatch(cue):
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
    if (
        status == "weighed"
        and len(ruling) > 1
        and ruling[-2][2] == "denied"
        and _EXAMPLE.fullmatch(sentence[start:end])
    ):
        return "denied", sentence[ruling[-2][0] : ruling[-2][1]], ruling[-2][0]  # "rules out tumours such as lipoma"
    if status == "asserted" and len(ruling) > 1:
        earlier = ruling[-2]
        gap = sentence[earlier[1] : start]
        near = 45 if _NOUN.search(sentence[start:end]) else 14
        if earlier[2] in ("denied", "weighed") and 0 <= start - earlier[1] <= near and not re.search(r"[,;:.]", gap):
            return earlier[2], sentence[earlier[0] : earlier[1]], earlier[0]
    return status, sentence[start:end], start


def _cues_before(sentence: str) -> list[tuple[int, int, Status]]:
    """Every cue, by where it ends; one that lies inside another is not told apart from it."""
    found: list[tuple[int, int, Status]] = []
    for status, pattern in _BEFORE:
        found += [(match.start(), match.end(), status) for match in pattern.finditer(sentence)]
    order = {status: nth for nth, (status, _) in enumerate(_BEFORE)}
    kept: list[tuple[int, int, Status]] = []
    for cue in sorted(found, key=lambda cue: cue[1] - cue[0], reverse=True):
        if not any(cue[0] >= other[0] and cue[1] <= other[1] and order[cue[2]] >= order[other[2]] for other in kept):
            kept.append(cue)
    return sorted(kept, key=lambda cue: (cue[1], -cue[0]))
