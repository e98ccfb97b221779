"""Rules on what a text says of the case and to whom: beyond a photograph, leaks, address, refusals, certainty."""

from __future__ import annotations

import re
from collections.abc import Iterator

from quality.auditing.content_patterns import (
    ADVICE,
    BOILERPLATE,
    CAPTION,
    CLAIM_STEMS,
    CLAIMS,
    DENIED_CLAIMS,
    HEDGED,
    LEAK,
    MORPHOLOGY,
    NOT_A_LEAK,
    NOT_A_REFUSAL,
    NOT_CLAIMED,
    NOT_DENIED,
    NOT_SKIN,
    NOT_SURE,
    QUESTION,
    REFUSAL,
    SURE,
    UNCERTAIN,
)
from quality.auditing.findings import Finding, finding
from quality.auditing.narrative_text import NarrativeText
from quality.check_patterns import DOSE, IDENTIFIER, SECOND_PERSON
from quality.reading.assertions import Statement
from quality.reading.segments import Sentence

CERTAINTIES = ("certain", "hedged", "very_uncertain")
_LEAST_MORPHOLOGY = 3
_LEAST_NAME = 6
#: What a doctor may prescribe is no prescription.
_PRESCRIBED_BY_OTHERS = re.compile(
    r"\b(?:they|who|doctor|dermatologist|provider|physician|can|may|might|could|would|involves?|includes?|requir\w+|over)\b[^.]{0,80}\bprescri",
    re.IGNORECASE,
)
#: After the name of what is concluded, what it is like or what it brings is no hedge on it.
_AFTERTHOUGHT = re.compile(
    r",\s+(?:which|characteri[sz]ed|causing|caused|leading|with|and\s+(?:may|might|could|can))\b.*", re.DOTALL
)


def content_findings(text: NarrativeText) -> Iterator[Finding]:
    """What the content rules say of ``text``, in the order of its sentences."""
    yield from _seen(text)
    for sentence, _ in text.told:
        if not sentence.is_heading:
            yield from _addressed(sentence)
            yield from _leaked(sentence, text.image_name)
            if (match := DOSE.search(sentence.text.lower())) and not _PRESCRIBED_BY_OTHERS.search(sentence.text):
                yield finding("dose_or_prescription", sentence, repr(match.group()))
            if match := BOILERPLATE.search(sentence.text):
                yield finding("boilerplate", sentence, repr(match.group()))
            if not sentence.lead and (match := SURE.search(sentence.text)) and not NOT_SURE.search(sentence.text):
                yield finding("overconfident", sentence, repr(match.group()))
    yield from _beyond_photograph(text)
    if certainty(text) == "very_uncertain":
        hit = next((s for s, _ in reversed(text.told) if UNCERTAIN.search(s.text) or _refuses(s)), None)
        if hit is not None:
            yield finding("very_uncertain", hit, "cannot tell, or takes its conclusion back")


def certainty(text: NarrativeText) -> str:
    """How sure the text is of what it concludes, a word of :data:`CERTAINTIES`."""
    end = text.last
    ordered = UNCERTAIN.search(end.text) or (text.conclusion is None and any(_refuses(s) for s, _ in text.told))
    if ordered or text.conclusion is None:
        return "very_uncertain"
    return "hedged" if HEDGED.search(_AFTERTHOUGHT.sub("", end.text)) else "certain"


def _seen(text: NarrativeText) -> Iterator[Finding]:
    """What stands between the text and a picture of skin."""
    sentences = [sentence for sentence, _ in text.told]
    for sentence in sentences:
        if _refuses(sentence):
            yield finding("refusal", sentence, "declines to answer")
            break
    for sentence in sentences:
        if match := NOT_SKIN.search(sentence.text):
            yield finding("not_skin", sentence, repr(match.group()))
            break
    stems = {match.group().casefold()[:4] for sentence in sentences for match in MORPHOLOGY.finditer(sentence.text)}
    if len(stems) < _LEAST_MORPHOLOGY:
        yield finding("empty_observation", sentences[0], f"{len(stems)} words of what can be seen in the whole text")
    told = [sentence for sentence in sentences if CAPTION.search(sentence.text)]
    if told:
        match = CAPTION.search(told[0].text)
        assert match is not None
        yield finding("caption_talk", told[0], f"{match.group()!r}; {len(told)} sentence{'s' * (len(told) > 1)}")


def _refuses(sentence: Sentence) -> bool:
    return REFUSAL.search(sentence.text) is not None and NOT_A_REFUSAL.search(sentence.text) is None


def _addressed(sentence: Sentence) -> Iterator[Finding]:
    spoken = QUESTION.sub(" ", sentence.text)
    if match := SECOND_PERSON.search(spoken.lower()):
        yield finding("second_person", sentence, repr(match.group()))
    elif match := ADVICE.search(spoken):
        yield finding("patient_advice", sentence, repr(match.group()))


def _leaked(sentence: Sentence, image_name: str | None) -> Iterator[Finding]:
    stem = (image_name or "").rsplit(".", 1)[0]
    if (
        len(stem) >= _LEAST_NAME
        and any(mark.isdigit() for mark in stem)
        and stem.casefold() in sentence.text.casefold()
    ):
        yield finding("leaked_hidden_fact", sentence, f"{stem!r} is the name of its picture")
    elif match := IDENTIFIER.search(sentence.text.lower()):
        yield finding("leaked_hidden_fact", sentence, f"{match.group()!r} is the name of a file or record")
    elif (match := LEAK.search(sentence.text)) and not NOT_A_LEAK.search(sentence.text):
        yield finding("leaked_hidden_fact", sentence, f"{match.group()!r} speaks of where the answer comes from")


_CLAUSE = re.compile(r"(?<=[;:,])\s+|\s+(?=(?:but|while|although|though|however|which|whereas)\b)")


def _beyond_photograph(text: NarrativeText) -> Iterator[Finding]:
    """Claims about this case that no photograph shows; what is general, supposed or missed in a text claims nothing."""
    for sentence, statements in text.told:
        in_list = bool(sentence.lead) and any(s.mention.end <= len(sentence.lead) + 3 for s in statements)
        if in_list or sentence.is_heading or not CLAIM_STEMS.search(sentence.text.casefold()):
            continue
        for claim in CLAIMS:
            if words := _claimed(claim, sentence.text, statements):
                yield finding(f"beyond_photograph.{claim}", sentence, f"{words!r} is nothing that a photograph shows")


def _claimed(claim: str, sentence: str, statements: list[Statement]) -> str | None:
    """The words by which a sentence claims it of this case, or that there is none."""
    for pattern, excuse in ((CLAIMS[claim], NOT_CLAIMED), (DENIED_CLAIMS.get(claim), NOT_DENIED)):
        match = pattern.search(sentence) if pattern is not None else None
        if match is None or _is_no_claim(sentence, match, excuse):
            continue
        is_denial = excuse is NOT_DENIED
        begin = match.end() - 1 if is_denial else match.start()
        if any(s.mention.start < match.end() and begin < s.mention.end for s in statements):
            continue  # what a disease is called
        ahead = [s for s in statements if s.mention.end <= match.start()]
        of_disease = not is_denial or match.group().casefold().startswith(("lack", "without"))
        if of_disease and any(s.status in ("none", "denied", "weighed") for s in ahead):
            continue  # what a disease is like
        return match.group()
    return None


def _is_no_claim(sentence: str, match: re.Match[str], excuse: re.Pattern[str]) -> bool:
    """Whether the clauses around a claim take it back."""
    begin = max((m.end() for m in _CLAUSE.finditer(sentence, 0, match.start())), default=0)
    stop = next((m.start() for m in _CLAUSE.finditer(sentence, match.end())), len(sentence))
    around = sentence[begin : match.start()] + " " + sentence[match.end() : stop]
    return excuse.search(around) is not None or sentence.endswith("?")
