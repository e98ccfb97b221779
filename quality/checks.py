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


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)


#: What is claimed -> (words that claim it, words of a line of ``context_used`` that allow it).
_BEYOND_A_PHOTOGRAPH = {
    "palpation": (
        _words(
            r"palpa\w*|indurat\w*|infiltrated|firm(?:ness|er)?|rubbery|gritty|(?:to|on|"
            r"under) (?:the )?(?:touch|pressure)|"
            r"feels?|felt|dimpl\w*|elicited|stroked|fluctua\w*|freely movable|freely mobile|fixed to|"
            r"blanch\w*|diascopy|lymph nodes?|"
            r"(?:nikolsky|darier|auspitz) sign|consistency"
        ),
        _words(r"palpa\w*|indurat\w*|firm\w*|consistency|sign|nodes?"),
    ),
    "temperature": (
        _words(r"warm\w*|hot|heat|cool|fever\w*|febrile|temperature|chills|hyperthermi\w*|degrees"),
        _words(r"warm\w*|fever\w*|temperature|heat"),
    ),
    "pain": (
        _words(
            r"pain\w*|(?:non-?)?tender\w*|burning|sore(?:ness)?|stinging|hurts?|aches?|aching|sensitive|asymptomatic"
        ),
        _words(r"pain\w*|tender\w*|burn\w*|hurt\w*|sore\w*|sympto\w*"),
    ),
    "itch": (_words(r"itch\w*|prurit\w*|asymptomatic"), _words(r"itch\w*|prurit\w*|sympto\w*")),
    "bleeding": (_words(r"bleed\w*|bled"), _words(r"bleed\w*|bled")),
    "growth or change": (
        _words(
            r"growth|growing|grew|grown|enlarg\w*|doubled|(?:has|have|had) (?:\w+ )?(?:changed|spread)|evolv\w*|"
            r"rapidly progressive"
        ),
        _words(r"growth|grew|grow\w*|change\w*|evol\w*|enlarg\w*"),
    ),
    "duration or onset": (
        _words(
            r"(?:for|over|during) (?:the (?:past|last) )?(?:an? |\w+ )?(?:days?|weeks?|months?|years?)|"
            r"\w+ (?:days?|weeks?|"
            r"months?|years?) ago|onset|recent(?:ly)?|since|long-standing|(?:appeared|started|began|"
            r"arose|noticed) \w+|"
            r"(?:has|have|had) (?:not |recently |slowly |rapidly )?(?:appeared|been (?:present|stable|there))"
        ),
        _words(r"duration|onset|since|history"),
    ),
    "family or past illness": (
        _words(
            r"history of|family|mother|father|brother|sister|siblings?|known to have|"
            r"known \w+ allerg\w*|allerg\w* to|"
            r"diabet\w*|immunosuppress\w*|transplant\w*|HIV|smoker|smok(?:es|ed)|sunburns?|"
            r"atopic background|travel\w*|"
            r"holiday|works? (?:outdoors|as)|pregnan\w*"
        ),
        _words(r"history|family|known|allerg\w*|disease|smok\w*|travel\w*|occupation|pregnan\w*"),
    ),
    "treatment": (
        _words(
            r"(?:was|been|were) treated|previous(?:ly)? (?:\w+ )?(?:treat\w*|excis\w*|remov\w*|"
            r"diagnos\w*|cryotherapy|"
            r"surgery)|(?:cryotherapy|steroids?|antibiotics?|treatment) (?:failed|without|had no|did not)|"
            r"after (?:a )?(?:new )?(?:antibiotic|medicine|drug|starting)|took|taking"
        ),
        _words(r"treat\w*|medic\w*|drug\w*|therapy"),
    ),
    "what a patient said": (
        _words(
            r"(?:patient|he|she|they) (?:also )?(?:reports?|states?|notice[ds]?|denie[ds]|den(?:y|ies)|recalls?|"
            r"describes?|says|complains?)|complain\w*"
        ),
        _words(r"reported by|patient|history"),
    ),
    "laboratory or histology": (
        _words(
            r"histolog\w*|histopatholog\w*|patholog(?:y|ist)|microscop(?:y|ic|ically)|biops(?:y|ies) (?:of \w+ \w+ )?"
            r"(?:\w+ )?(?:show\w*|confirm\w*|reveal\w*|support\w*|proved|was|is)|(?:the|a|punch|"
            r"shave) biopsy|specimen|"
            r"mitos[ei]s|mitotic|atypical (?:cells|melanocytes|keratinocytes)|nests of|(?:dermal|"
            r"lymphocytic) infiltrate|"
            r"spongiosis|acantholysis|acanthosis|parakeratosis|immuno(?:histochem|fluoresc)\w*|stain(?:s|ed|ing)|"
            r"S-?100|melan-a|Breslow|Clark level|clear margins|KOH|cultures?|swab|PCR|serolog\w*|blood tests?|"
            r"eosinophilia|wood(?:'s)? lamp"
        ),
        _words(r"histolog\w*|biops\w*|patholog\w*|laborator\w*|culture|serolog\w*|blood|test\w*|lamp"),
    ),
}
#: Words that make a statement one about this person or finding, whatever else it says.
_PERSON = _words(
    r"(?:the|this) patient(?:'s)?|he|she|his|her|this (?:lesion|case|person|individual|eruption|rash|plaque|nodule)"
)
#: In evidence and plans, which mostly speak of diseases, only these speak of the case.
_OF_THE_CASE = re.compile(
    r"\b(?:(?:this|the) (?:present )?(?:patient|lesion|case|individual|eruption|rash|plaque|"
    r"nodule|papule|macule|patch|ulcer|"
    r"biopsy|histology|specimen|pathologist)|(?:this|the affected|the surrounding) (?:person|area|skin|site))"
    r"(?: of (?:this|the) \w+)? (?:already )?(?:is|was|are|were|has|have|had|feels?|felt|"
    r"reports?|shows?|showed|supports?|"
    r"confirms?|confirmed|proved)\b|"
    r"^(?:it|histology|biopsy|fever\b.*) (?:is|was|feels?|has|had|hurts?|started|support\w*|confirm\w*)\b|"
    r"\b(?:the|this) person (?:has|had|reports?|feels?)\b|^the (?:mother|father|brother|sister|family)\b|"
    r"\bpatient's history\b|^the response to treatment\b|^on (?:palpation|examination|touch)\b|"
    r"\b(?:he|she|his|her)\b|\bin this (?:patient|case)\b",
    re.IGNORECASE,
)
_IN_GENERAL = _words(
    r"typical(?:ly)?|usual(?:ly)?|in general|generally|often|commonly|classic(?:ally)?|"
    r"characteristically|may|can|could|"
    r"would|cannot|should|whether|if|when|unless"
)
#: In a finding of what is typical, only these make a statement general.
_TYPICAL = _words(
    r"typical(?:ly)?|usual(?:ly)?|in general|generally|often|commonly|classic(?:ally)?|characteristically|may|can"
)
#: What is said not to be known, or not to have been done, claims nothing.
_UNKNOWN = _words(
    r"(?:is|was|were|are) not (?:\w+ )?(?:available|known|possible|given|reported|stated|done|"
    r"performed|assessed|tested)|"
    r"unknown|not (?:available|known|possible|reported|stated)|no (?:histology|biopsy|"
    r"history) (?:is|was|exists)|whether|"
    r"without histology|no histology|leaves open|does not tell|nor does a photograph"
)
_DENIED = _words(r"no|not|never|absent|without|denie[ds]|den(?:y|ies)|negative")
_CONFIRMED = _words(
    r"confirm(?:ed|s)|proven|proves|definit(?:e|ely|ive|ively)|certainly|undoubtedly|(?:without|"
    r"beyond|no) (?:any )?doubt|"
    r"diagnostic of|pathognomonic|unequivocal(?:ly)?|conclusive(?:ly)?|indisputabl[ey]"
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
#: Names of files and records, which no reader of an image can know.
_IDENTIFIER = re.compile(
    r"\b(?:ISIC|PAT|HAM|MEL|LESION|IMG)_\d+\w*|\b[\w-]+\.(?:jpe?g|png|tiff?|bmp|webp)\b|\b[0-9a-f]{16,}\b",
    re.IGNORECASE,
)
_BOILERPLATE = re.compile(
    r"as an? (?:AI|artificial|language model)|\bI (?:am|cannot|can't|do not|don't)\b|"
    r"it is (?:important|worth|crucial) to note|"
    r"(?:not|no substitute for|does not constitute) (?:professional )?medical advice|"
    r"for (?:educational|informational) purposes|"
    r"(?:consult|seek advice from) (?:a |your )?(?:qualified |healthcare |medical )?(?:professional|provider)|"
    r"clinical correlation is (?:recommended|advised|required)|"
    r"further (?:evaluation|testing) (?:is|may be) (?:needed|warranted)|"
    r"various (?:factors|conditions|causes)|cannot be determined from (?:the|this) image alone",
    re.IGNORECASE,
)
#: Words of a reported finding that say that it is one, and so need no fact behind them.
_REPORTING = frozenset(
    re.findall(
        r"\w+",
        "a an and as at be by case for has have image in is it lesion morphology of on or patient present absent "
        "reported reports site skin that the there this to type was were with years year old mm cm",
    )
)
#: Two words with this many first letters in common tell the same fact: itchy and itching, warm and warmth.
_STEM = 4
_TOKEN = re.compile(r"[a-z]+|\d+(?:\.\d+)?")
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
    """The node that the differential alone favours, the conclusion hidden; None when it favours none before all others.

    A diagnosis is favoured by more evidence for it, less what speaks against it.
    """
    weights = sorted(
        (
            (len(e.evidence_for) - len(e.evidence_against), e.taxonomy_id)
            for e in narrative.differential
            if e.evidence_for
        ),
        reverse=True,
    )
    if not weights or (len(weights) > 1 and weights[0][0] == weights[1][0]):
        return None
    return weights[0][1]


def sentences(narrative: Narrative) -> Iterator[str]:
    """Every sentence of the narrative, in the order of its sections; names and context lines are none."""
    for text in _texts(narrative):
        yield from _split(text)


@lru_cache(_REMEMBERED)
def _split(text: str) -> tuple[str, ...]:
    return tuple(_SENTENCE_END.split(text))


def _texts(narrative: Narrative) -> Iterator[str]:
    yield from (finding.text for finding in narrative.findings)
    for entry in narrative.differential:
        yield from (*entry.evidence_for, *entry.evidence_against)
    yield narrative.conclusion.rationale
    yield from narrative.limitations
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
    known = {word[:_STEM] for word in _TOKEN.findall(" ".join(narrative.context_used).casefold())}
    answers = {
        what.strip().casefold(): answer.strip()
        for what, colon, answer in (line.partition(":") for line in narrative.context_used)
        if colon
    }
    for finding in narrative.findings:
        if finding.origin != "reported":
            continue
        words = [word for word in _TOKEN.findall(finding.text.casefold()) if word not in _REPORTING]
        strange = [word for word in words if word[:_STEM] not in known]
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
        *([*entry.evidence_for, *entry.evidence_against] for entry in narrative.differential),
        list(narrative.limitations),
    )
    for texts in sections:
        for text, times in Counter(texts).items():
            if times > 1:
                yield CheckFinding("repeated", text, f"stands {times} times in one section")


#: Patterns that are a fault in any sentence, and why.
_ANYWHERE = (
    ("second_person", _SECOND_PERSON, "addresses the reader"),
    ("dose_or_prescription", _DOSE, "names a dose, a schedule or a prescription"),
    ("leaked_label_source", _LABEL_SOURCE, "speaks of where the label comes from"),
    ("leaked_hidden_fact", _IDENTIFIER, "is the name of a file or record"),
    ("boilerplate", _BOILERPLATE, "says nothing of this case"),
)


@lru_cache(_REMEMBERED)
def _anywhere(sentence: str) -> tuple[tuple[str, str], ...]:
    """The faults of a sentence that no context excuses: rule and detail."""
    return tuple(
        (rule, f"{match.group()!r} {why}") for rule, pattern, why in _ANYWHERE if (match := pattern.search(sentence))
    )


@lru_cache(_REMEMBERED)
def _claims(sentence: str, origin: str | None) -> tuple[tuple[str, str], ...]:
    """What a sentence claims of this case that no photograph shows, with the words that do.

    ``origin`` is a finding's; None stands for evidence, rationale, limitations and plan.
    """
    if origin is None:
        of_this_case = _OF_THE_CASE.search(sentence) is not None
        in_general = _IN_GENERAL.search(sentence) is not None and not _PERSON.search(sentence)
    else:
        of_this_case = origin != "typical" or _PERSON.search(sentence) is not None or not _TYPICAL.search(sentence)
        in_general = False
    if not of_this_case or in_general or _UNKNOWN.search(sentence):
        return ()
    return tuple(
        (claim, match.group())
        for claim, (pattern, _) in _BEYOND_A_PHOTOGRAPH.items()
        if (match := pattern.search(sentence))
    )


def _photograph_cannot_show(narrative: Narrative) -> Iterator[CheckFinding]:
    """Claims about this case that neither the image nor the context can support."""
    end = narrative.conclusion
    named = re.compile(re.escape(end.diagnosis), re.IGNORECASE)  # what a disease is called is no claim
    texts: list[tuple[str, str | None]] = [(finding.text, finding.origin) for finding in narrative.findings]
    for entry in narrative.differential:
        texts += [(text, None) for text in (*entry.evidence_for, *entry.evidence_against)]
    rationale = [
        part for part in _split(end.rationale) if end.certainty not in CONFIRMING or "confirmed by" not in part
    ]
    texts += [(named.sub("it", part), None) for part in rationale]
    texts += [(text, None) for text in (*narrative.limitations, narrative.next_step)]
    for text, origin in texts:
        for sentence in _split(text):
            for claim, words in _claims(sentence, origin):
                if not _allowed(claim, sentence, narrative.context_used):
                    detail = f"{words!r} claims {claim}, which no photograph shows and the context does not give"
                    yield CheckFinding("photograph_cannot_show", sentence, detail)
                    break


def _allowed(claim: str, sentence: str, context: Sequence[str]) -> bool:
    """Whether a line of the context tells the fact claimed, and tells it the same way round."""
    lines = [line for line in context if _BEYOND_A_PHOTOGRAPH[claim][1].search(line)]
    denied = _DENIED.search(sentence) is not None
    return any(line.rstrip().casefold().endswith(": no") == denied for line in lines)


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
