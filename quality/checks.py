"""Deterministic checks on one narrative, whoever wrote it; no model and no image is needed.

Each check is a list of patterns over sentences, so it is fast, repeatable and easy to argue with, and blind to what the
patterns do not name. A finding points at its sentence, because a person has to be able to disagree with it. Statements
about a disease in general are never faulted: only what is said of this case can be beyond what its photograph shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.narrative import Narrative
from schemas.tables import LABEL_CERTAINTIES

RULES = (
    "photograph_cannot_show",
    "certainty_beyond_label",
    "second_person",
    "dose_or_prescription",
    "leaked_label_source",
)

#: The only certainties that allow a text to call its diagnosis confirmed.
CONFIRMING = ("histopathology", "confocal", "consensus")


@dataclass(frozen=True)
class CheckFinding:
    """One fault: the rule broken, the sentence that breaks it and, for a person, why."""

    rule: str
    sentence: str
    detail: str


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)


#: What is claimed -> (words that claim it, words of ``context_used`` that allow it).
_BEYOND_A_PHOTOGRAPH = {
    "palpation": (
        _words(r"palpa\w*|indurat\w*|firm|soft to (?:the )?touch|tender\w*|dimpl\w*|fluctua\w*"),
        _words(r"palpa\w*|indurat\w*|firm\w*|tender\w*"),
    ),
    "temperature": (
        _words(r"warm\w*|hot|fever\w*|febrile|temperature"),
        _words(r"warm\w*|fever\w*|temperature"),
    ),
    "pain or itch": (
        _words(r"pain\w*|itch\w*|prurit\w*|burning|sore|stinging"),
        _words(r"pain\w*|itch\w*|prurit\w*|burn\w*|hurt"),
    ),
    "history": (
        _words(
            r"history of|family history|"
            r"(?:has|have|had) (?:not )?(?:grown|changed|bled|enlarged|been (?:present|stable))|"
            r"for (?:\w+ )?(?:days|weeks|months|years)|growth|bleeding|complains?|recently|since (?:birth|childhood)"
        ),
        _words(r"history|growth|grew|change\w*|bleed\w*|duration|onset"),
    ),
    "histology": (
        _words(r"histolog\w*|histopatholog\w*|microscopic\w*|biops\w*|mitos[ei]s|atypical (?:cells|melanocytes)"),
        _words(r"histolog\w*|biops\w*|patholog\w*"),
    ),
}
_THIS_CASE = _words(
    r"(?:this|the) (?:patient|lesion|case|person|individual|eruption|rash)|here|patient(?:'s)?|he|she|his|her"
)
_IN_GENERAL = _words(r"typical(?:ly)?|usual(?:ly)?|in general|often|may|can|would|cannot")
_CONFIRMED = _words(
    r"confirm(?:ed|s)|proven|proves|definit(?:e|ely|ive|ively)|certainly|undoubtedly|without (?:any )?doubt|"
    r"diagnostic of"
)
_NOT_CONFIRMED = _words(
    r"not (?:yet )?(?:been )?(?:confirmed|proven|definite|certain)|unconfirmed|(?:needs? )?to be confirmed|unproven"
)
_SECOND_PERSON = _words(r"you|your|yours|yourself|you're|you've")
_DOSE = re.compile(
    r"\b\d+(?:[.,]\d+)?\s?(?:mg|mcg|µg|μg|ml|iu|units?|grams?)\b"
    r"|\b\d+(?:[.,]\d+)?\s?%\s\w*\s?(?:cream|ointment|gel|lotion|solution|shampoo|foam)\b"
    r"|\b(?:once|twice|thrice|three times|four times) (?:daily|a day|weekly|a week)\b"
    r"|\bprescri(?:be|bed|bes|bing|ption)\b|\b(?:bid|tid|qid)\b",
    re.IGNORECASE,
)
_LABEL_SOURCE = _words(
    r"ground[- ]truth|gold[- ]standard|data ?set|meta ?data|file ?name|labell?ed as|"
    r"(?:given|provided|known|reference|true) (?:label|diagnosis)|the label|"
    r"annotat(?:ed as|or label)|HAM ?10000|PAD-UFES(?:-20)?|Fitzpatrick ?17k|ISIC"
)
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+(?=[A-Z])")


def check_narrative(narrative: Narrative, label_certainty: str) -> list[CheckFinding]:
    """Every fault of ``narrative``, in the order of :data:`RULES` and of its text.

    ``label_certainty``: how sure the case's label is, a word of :data:`schemas.tables.LABEL_CERTAINTIES`.
    """
    return [
        *_photograph_cannot_show(narrative),
        *certainty_beyond_label(narrative, label_certainty),
        *_anywhere(narrative, "second_person", _SECOND_PERSON, "addresses the reader"),
        *_anywhere(narrative, "dose_or_prescription", _DOSE, "names a dose, a schedule or a prescription"),
        *_anywhere(narrative, "leaked_label_source", _LABEL_SOURCE, "speaks of where the label comes from"),
    ]


def sentences(narrative: Narrative) -> Iterator[str]:
    """Every sentence of the narrative, in the order of its sections; names and context lines are none."""
    for text in _texts(narrative):
        yield from _split(text)


def _split(text: str) -> list[str]:
    return _SENTENCE_END.split(text)


def _texts(narrative: Narrative) -> Iterator[str]:
    yield from (finding.text for finding in narrative.findings)
    for entry in narrative.differential:
        yield from (*entry.evidence_for, *entry.evidence_against)
    yield narrative.conclusion.rationale
    yield from narrative.limitations
    yield narrative.next_step


def _anywhere(narrative: Narrative, rule: str, pattern: re.Pattern[str], why: str) -> Iterator[CheckFinding]:
    if not pattern.search(" \n ".join(_texts(narrative))):
        return
    for sentence in sentences(narrative):
        if match := pattern.search(sentence):
            yield CheckFinding(rule, sentence, f"{match.group()!r} {why}")


def _photograph_cannot_show(narrative: Narrative) -> Iterator[CheckFinding]:
    """Claims about this case that neither the image nor the context can support."""
    context = " ; ".join(narrative.context_used)
    claims = [(finding.text, finding.origin != "typical") for finding in narrative.findings]
    for entry in narrative.differential:
        claims += [(text, False) for text in (*entry.evidence_for, *entry.evidence_against)]
    for text, of_this_case in claims:
        for sentence in _split(text):
            if not of_this_case and (not _THIS_CASE.search(sentence) or _IN_GENERAL.search(sentence)):
                continue
            for claim, (pattern, allowed) in _BEYOND_A_PHOTOGRAPH.items():
                match = pattern.search(sentence)
                if match and not allowed.search(context):
                    detail = (
                        f"{match.group()!r} claims {claim}, which no photograph shows and the context does not give"
                    )
                    yield CheckFinding("photograph_cannot_show", sentence, detail)


def certainty_beyond_label(narrative: Narrative, label_certainty: str) -> Iterator[CheckFinding]:
    """Where the conclusion claims, in its certainty or its words, more than a label of ``label_certainty`` allows."""
    end = narrative.conclusion
    if LABEL_CERTAINTIES.index(end.certainty) < LABEL_CERTAINTIES.index(label_certainty):
        detail = f"claims {end.certainty}, but the label rests on {label_certainty}"
        yield CheckFinding("certainty_beyond_label", f"Certainty: {end.certainty}", detail)
    if label_certainty in CONFIRMING:
        return
    for sentence in _split(end.rationale):
        match = _CONFIRMED.search(_NOT_CONFIRMED.sub("", sentence))
        if match:
            detail = f"{match.group()!r} is too sure for a label that rests on {label_certainty}"
            yield CheckFinding("certainty_beyond_label", sentence, detail)
