"""Deterministic checks on one narrative, whoever wrote it; no model and no image is needed.

Each check is a list of patterns over sentences, so it is fast, repeatable and easy to argue with, and blind to what the
patterns do not name. A finding points at its sentence, because a person has to be able to disagree with it. Statements
about a disease in general are never faulted: only what is said of this case can be beyond what its photograph shows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from quality.check_patterns import (
    BEYOND_A_PHOTOGRAPH,
    BOILERPLATE,
    CONFIRMED,
    DENIED,
    DOSE,
    IDENTIFIER,
    IN_GENERAL,
    LABEL_SOURCE,
    NOT_CONFIRMED,
    OF_THE_CASE,
    PERSON,
    REPORTING,
    SECOND_PERSON,
    STEM,
    TOKEN,
    TYPICAL,
    UNKNOWN,
)
from schemas.narrative import Narrative
from schemas.tables import LABEL_CERTAINTIES

RULES = (
    "not_entailed",
    "photograph_cannot_show",
    "not_in_context",
    "certainty_beyond_label",
    "second_person",
    "dose_or_prescription",
    "leaked_label_source",
    "leaked_hidden_fact",
    "boilerplate",
    "repeated",
)

#: The only certainties that allow a text to call its diagnosis confirmed.
CONFIRMING = ("histopathology", "confocal", "consensus")


@dataclass(frozen=True)
class CheckFinding:
    """One fault: the rule broken, the sentence that breaks it and, for a person, why."""

    rule: str
    sentence: str
    detail: str


#: Sentences recur from text to text: what the patterns find in this many is remembered.
_REMEMBERED = 1 << 13
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+(?=[A-Z])")


def check_narrative(narrative: Narrative, label_certainty: str, hidden: Collection[str] = ()) -> list[CheckFinding]:
    """Every fault of ``narrative``, in the order of :data:`RULES` and of its text.

    ``label_certainty``: how sure the case's label is, a word of :data:`schemas.tables.LABEL_CERTAINTIES`; ``hidden``:
    facts of the case that its author was not to use, such as the identifiers of lesion and patient.
    """
    found = [
        *_not_entailed(narrative),
        *_photograph_cannot_show(narrative),
        *_not_in_context(narrative),
        *certainty_beyond_label(narrative, label_certainty),
        *_leaked(narrative, hidden),
        *_repeated(narrative),
    ]
    for sentence in sentences(narrative):
        found += [CheckFinding(rule, sentence, detail) for rule, detail in _anywhere(sentence)]
    return sorted(found, key=lambda fault: RULES.index(fault.rule))


def singled_out(narrative: Narrative) -> str | None:
    """The node that the reasons alone favour, the conclusion hidden; None when they favour none before all others.

    A diagnosis is favoured by more evidence for it, less what speaks against it; a first impression counts as one, and
    what turned it speaks against it.
    """
    weights = sorted(
        ((len(e.evidence_for) - len(e.evidence_against), e.taxonomy_id) for e in narrative.weighed if e.evidence_for),
        reverse=True,
    )
    if not weights or (len(weights) > 1 and weights[0][0] == weights[1][0]):
        return None
    return weights[0][1]


def sentences(narrative: Narrative) -> Iterator[str]:
    """Every sentence of the narrative, in the order of its sections; names and context lines are none."""
    for text in _texts(narrative):
        yield from split_sentences(text)


@lru_cache(_REMEMBERED)
def split_sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text."""
    return tuple(_SENTENCE_END.split(text))


def _texts(narrative: Narrative) -> Iterator[str]:
    yield from (finding.text for finding in narrative.findings)
    for entry in narrative.weighed:
        yield from (*entry.evidence_for, *entry.evidence_against)
    yield narrative.conclusion.rationale
    yield from narrative.limitations
    if narrative.next_step is not None:
        yield narrative.next_step


def _not_entailed(narrative: Narrative) -> Iterator[CheckFinding]:
    """The conclusion must follow from the differential; read without it, the same diagnosis has to stand out."""
    end, found = narrative.conclusion, singled_out(narrative)
    if found != end.taxonomy_id:
        instead = "no diagnosis" if found is None else repr(found)
        detail = f"the differential singles out {instead}, and the conclusion is {end.taxonomy_id!r}"
        yield CheckFinding("not_entailed", f"Diagnosis: {end.diagnosis}", detail)


def _not_in_context(narrative: Narrative) -> Iterator[CheckFinding]:
    """Findings called reported that the context does not hold, or holds otherwise."""
    known = {word[:STEM] for word in TOKEN.findall(" ".join(narrative.context_used).casefold())}
    answers = {
        what.strip().casefold(): answer.strip()
        for what, colon, answer in (line.partition(":") for line in narrative.context_used)
        if colon
    }
    for finding in narrative.findings:
        if finding.origin != "reported":
            continue
        words = [word for word in TOKEN.findall(finding.text.casefold()) if word not in REPORTING]
        strange = [word for word in words if word[:STEM] not in known]
        numbers = [word for word in strange if word[0].isdigit()]
        if numbers or 2 * len(strange) > len(words):
            detail = f"{', '.join((numbers or strange)[:3])} is called reported, but the context does not give it"
            yield CheckFinding("not_in_context", finding.text, detail)
        elif contradicted := _contradicted(finding.text.casefold(), answers):
            yield CheckFinding("not_in_context", finding.text, f"the context says of {contradicted} the opposite")


def _contradicted(text: str, answers: Mapping[str, str]) -> str | None:
    """The fact whose yes or no in the context a sentence turns round."""
    for what, answer in answers.items():
        if answer in ("yes", "no") and what in text:
            denied = re.search(r"\b(?:absent|no|not|without|denied)\b", text) is not None
            if denied == (answer == "yes"):
                return what
    return None


def _leaked(narrative: Narrative, hidden: Collection[str]) -> Iterator[CheckFinding]:
    """Whatever the author was not to know, unless the context gives it."""
    if not hidden:
        return
    context = " ".join(narrative.context_used).casefold()
    secrets = [secret.casefold() for secret in hidden if len(secret) > 3 and secret.casefold() not in context]
    folded = "\n".join(_texts(narrative)).casefold()
    for secret in [secret for secret in secrets if secret in folded]:
        for sentence in sentences(narrative):
            if secret in sentence.casefold():
                yield CheckFinding("leaked_hidden_fact", sentence, f"{secret!r} was not for the author to know")


def _repeated(narrative: Narrative) -> Iterator[CheckFinding]:
    """Sentences that stand twice in one section; a rationale may take up the evidence word for word."""
    sections = (
        [finding.text for finding in narrative.findings],
        *([*entry.evidence_for, *entry.evidence_against] for entry in narrative.weighed),
        list(narrative.limitations),
    )
    for texts in sections:
        for text, times in Counter(texts).items():
            if times > 1:
                yield CheckFinding("repeated", text, f"stands {times} times in one section")


#: Patterns that are a fault in any sentence, and why.
_ANYWHERE = (
    ("second_person", SECOND_PERSON, "addresses the reader"),
    ("dose_or_prescription", DOSE, "names a dose, a schedule or a prescription"),
    ("leaked_label_source", LABEL_SOURCE, "speaks of where the label comes from"),
    ("leaked_hidden_fact", IDENTIFIER, "is the name of a file or record"),
    ("boilerplate", BOILERPLATE, "says nothing of this case"),
)


@lru_cache(_REMEMBERED)
def _anywhere(sentence: str) -> tuple[tuple[str, str], ...]:
    """The faults of a sentence that no context excuses: rule and detail."""
    lowered = sentence.lower()
    return tuple(
        (rule, f"{match.group()!r} {why}") for rule, pattern, why in _ANYWHERE if (match := pattern.search(lowered))
    )


@lru_cache(_REMEMBERED)
def _claims(sentence: str, origin: str | None) -> tuple[tuple[str, str], ...]:
    """What a sentence claims of this case that no photograph shows, with the words that do.

    ``origin`` is a finding's; None stands for evidence, rationale, limitations and plan.
    """
    if origin is None:
        of_this_case = OF_THE_CASE.search(sentence) is not None
        in_general = IN_GENERAL.search(sentence) is not None and not PERSON.search(sentence)
    else:
        of_this_case = origin != "typical" or PERSON.search(sentence) is not None or not TYPICAL.search(sentence)
        in_general = False
    if not of_this_case or in_general or UNKNOWN.search(sentence):
        return ()
    return tuple(
        (claim, match.group())
        for claim, (pattern, _) in BEYOND_A_PHOTOGRAPH.items()
        if (match := pattern.search(sentence))
    )


def _photograph_cannot_show(narrative: Narrative) -> Iterator[CheckFinding]:
    """Claims about this case that neither the image nor the context can support."""
    end = narrative.conclusion
    named = re.compile(re.escape(end.diagnosis), re.IGNORECASE)  # what a disease is called is no claim
    texts: list[tuple[str, str | None]] = [(finding.text, finding.origin) for finding in narrative.findings]
    for entry in narrative.weighed:
        texts += [(text, None) for text in (*entry.evidence_for, *entry.evidence_against)]
    rationale = [
        part for part in split_sentences(end.rationale) if end.certainty not in CONFIRMING or "confirmed by" not in part
    ]
    texts += [(named.sub("it", part), None) for part in rationale]
    texts += [(text, None) for text in (*narrative.limitations, narrative.next_step or "")]
    for text, origin in texts:
        for sentence in split_sentences(text):
            for claim, words in _claims(sentence, origin):
                if not _allowed(claim, sentence, narrative.context_used):
                    detail = f"{words!r} claims {claim}, which no photograph shows and the context does not give"
                    yield CheckFinding("photograph_cannot_show", sentence, detail)
                    break


def _allowed(claim: str, sentence: str, context: Sequence[str]) -> bool:
    """Whether a line of the context tells the fact claimed, and tells it the same way round."""
    lines = [line for line in context if BEYOND_A_PHOTOGRAPH[claim][1].search(line)]
    denied = DENIED.search(sentence) is not None
    return any(line.rstrip().casefold().endswith(": no") == denied for line in lines)


def certainty_beyond_label(narrative: Narrative, label_certainty: str) -> Iterator[CheckFinding]:
    """Where the conclusion claims, in its certainty or its words, more than a label of ``label_certainty`` allows."""
    end = narrative.conclusion
    if LABEL_CERTAINTIES.index(end.certainty) < LABEL_CERTAINTIES.index(label_certainty):
        detail = f"claims {end.certainty}, but the label rests on {label_certainty}"
        yield CheckFinding("certainty_beyond_label", f"Certainty: {end.certainty}", detail)
    if label_certainty in CONFIRMING:
        return
    for sentence in split_sentences(end.rationale):
        match = CONFIRMED.search(NOT_CONFIRMED.sub("", sentence))
        if match:
            detail = f"{match.group()!r} is too sure for a label that rests on {label_certainty}"
            yield CheckFinding("certainty_beyond_label", sentence, detail)
