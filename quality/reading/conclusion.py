"""What a free-form text settles on.

Conclusions of such texts sit in the last paragraph, inside the last thinking block or in a second summary that differs;
a disease named only to be ruled out is none. So every sentence that asserts a disease is graded by how openly it
concludes, and the last of the most open ones decides; what an earlier one concluded otherwise is kept beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from quality.reading.assertions import Statement, statements
from quality.reading.mentions import SIGNS, introduced, vocabulary
from quality.reading.segments import Document, Sentence
from schemas.agreement import names_a_disease
from schemas.taxonomy import Taxonomy

_OPENLY = re.compile(
    r"\b(?:final|most\s+(?:likely|logical|probable|plausible|fitting|natural|appropriate|reasonable|accurate|consistent)|primary|definitive|overall|leading|working|single)\s+(?:[\w\-]+\s+){0,4}?"
    r"(?:diagnos\w+|conclusion|answer|impression)|\bI\s+(?:\w+\s+)?(?:conclude|arrive|diagnose|lean)|\b(?:conclude|concluding)\b|\banswer\s+is\b|\b(?:in|to)\s+(?:conclusion|summary|summari[sz]e|conclude)\b|"
    r"^(?:conclusion|diagnosis|final\s+\w+|summary|answer|impression|diagnostic\s+conclusion)\b\s*[:\-–]?|^(?:therefore|thus|hence|ultimately|overall|finally|consequently|so)\b|"  # noqa: RUF001
    r"^based\s+on\b|^given\s+(?:the|this|these|all)\b|\bthe\s+diagnosis\s+(?:is|of)\b|\byou(?:r\s+\w+)?\s+(?:\w+\s+){0,2}?(?:have|has|appears?|shows?|is|are|seems?)\b|^(?:this|it|the\s+(?:\w+\s+)?(?:lesions?|rash|condition|case|presentation|picture|findings?))\s+"
    r"(?:\w+\s+){0,3}?(?:is|are|appears?|represents?|seems?|looks?|aligns?|fits?|points?|suggests?|matches)\b|\bleads?\s+(?:me\s+)?to\b|\b(?:diagnostic\s+)?conclusion\b|\bbest\s+(?:diagnosis|fit)\b",
    re.IGNORECASE,
)
_TITLE = re.compile(r"\b(?:conclusion|final|diagnosis|answer|impression|summary|synthesis|assessment)\b", re.IGNORECASE)
_NOT_TITLE = re.compile(r"differential|consider|narrow", re.IGNORECASE)
_FIRMEST = re.compile(r"diagnos|conclu|answer|most\s+likely|appears?\s+to\s+be|consistent|this\s+is", re.IGNORECASE)
_FIRM = re.compile(
    r"consistent|compatible|appears?\s+to|most\s+likely|highly|diagnos|point|align|fit|conclu|represent|favou?r|likely|suggest|indicat|signs\s+of|have|has|this\s+is|it\s+is|characteristic|suspici|pathognomonic|confirm|lean|answer|after:|match",
    re.IGNORECASE,
)


#: A text of so few sentences may conclude anywhere.
_SHORT = 6


@dataclass(frozen=True)
class Claim:
    """A sentence that asserts diseases: the nodes, whether it leaves the choice open, and how openly it concludes."""

    sentence: Sentence
    place: int
    nodes: tuple[str, ...]
    names: tuple[str, ...]
    is_open: bool
    grade: int


@dataclass(frozen=True)
class Conclusion:
    """What a text settles on, where it says so, and an earlier summary that settled otherwise.

    ``beside``: what the same sentence asserts besides, such as a disease that comes with the one concluded.
    """

    nodes: tuple[str, ...]
    names: tuple[str, ...]
    is_open: bool
    sentence: Sentence
    other: Claim | None
    beside: tuple[str, ...] = ()


#: Every sentence of a text with what it says of the diseases it names.
Read = list[tuple[Sentence, list[Statement]]]


def read_statements(document: Document) -> Read:
    """Every sentence with what it says of the diseases it names; abbreviations count once they were introduced."""
    known = vocabulary()
    aliases: dict[str, str] = {}
    found = []
    for sentence in document.sentences:
        mentions = known.mentions(sentence.text, aliases)
        aliases.update(introduced(sentence.text, mentions))
        told = statements(sentence.text, mentions)
        found.append((sentence, [s for s in told if s.mention.node_id not in SIGNS or _is_open_conclusion(s)]))
    return found


def _is_open_conclusion(statement: Statement) -> bool:
    return statement.status == "asserted" and _firmness(statement.cue) == 2


def claims(read: list[tuple[Sentence, list[Statement]]], taxonomy: Taxonomy, document_raw: str = "") -> Iterator[Claim]:
    """The sentences that assert a disease, in order; a name that the taxonomy lacks makes a claim without nodes."""
    for place, (sentence, told) in enumerate(read):
        told = _bare(sentence, told)
        asserted = [statement for statement in told if statement.status == "asserted"]
        if not asserted:
            if not told and (name := _unknown_name(sentence, document_raw)):
                yield Claim(sentence, place, (), (name,), False, 3)
            continue
        chosen = _chosen(sentence.text, told, taxonomy)
        if (
            sentence.lead
            and any(s.mention.end <= len(sentence.lead) + 3 for s in told)
            and not _TITLE.search(sentence.lead)
        ):
            grade = 0  # an item of a list of look-alikes
        elif _OPENLY.search(sentence.text) or sentence.zone == "answer" or _is_titled(sentence):
            grade = 3 if any(_FIRM.search(s.cue) for s in asserted) else 2
        else:
            grade = 2 if any(_FIRM.search(s.cue) for s in asserted) else 1
        yield Claim(
            sentence, place, tuple(s.mention.node_id for s in chosen), tuple(s.mention.words for s in chosen),
            any(s.joined == "or" for s in chosen[1:]), grade,
        )  # fmt: skip


#: What an assertion leads to, when it is in bold or ends like the name of a disease.
_LEADS_TO = re.compile(
    r"(?:diagnos\w+(?:\s+\w+){0,4}?\s+(?:is|of|as)|consistent\s+with|appears?\s+to\s+be|indicative\s+of|suggest(?:s|ive\s+of)?|points?\s+(?:\w+\s+)?(?:to|towards?)|"
    r"signs\s+of|align\w*\s+(?:\w+\s+)?with|this\s+is|represents?|(?:likely|you)\s+have|concerning\s+for)\s+(?:an?\s+|the\s+)?(?:indeed\s+|likely\s+)?"
    r"(?P<name>(?:\*\*)?[A-Za-z][A-Za-z'’\-]*(?:\s+[A-Za-z][A-Za-z'’\-]*){0,5})",  # noqa: RUF001
    re.IGNORECASE,
)
_TAIL = re.compile(
    r"\s+(?:which|that|with|due|caused|likely|affecting|in|on|of|from|and|or|as|is|are|was|for|secondary|rather|requiring|resulting|particularly|specifically|possibly|at|by|the|a)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_DISEASE_WORD = re.compile(
    r"\b\w{2,}(?:itis|osis|oses|oma|omas|omata|emia|plasia|pathy|derma|dermia|trophy|lysis|phobia|esthetica|ectasia|melanosis|trichia|onychia|hidrosis)\b|\b(?:syndrome|disease|nevus|cyst|tumou?r|infection|burn|bites?|pads?|reaction|"
    r"ulcers?|lymphoma|cancer|insufficiency|hereditaria|xanthelasma\w*|myxedema|keratodermas?|hyperplasia|nails?|granuloma|fibroma|hematoma|atrophicans|planus|simplex)\b",
    re.IGNORECASE,
)


#: Words that only gather, or point back: what they end is no name of a disease.
_VAGUE = re.compile(
    r"\b(?:this|that|these|those|its|it|based|common|triggered|known)\b|^(?:an?\s+)?(?:(?:skin|common|inflammatory|bacterial|viral|fungal|allergic|benign|malignant|chronic|acute|systemic|underlying|autoimmune|infectious|neoplastic|vascular|specific)\s+)?(?:disease|condition|infection|reaction|cancer|tumou?r|process|disorder)s?$",
    re.IGNORECASE,
)


def _unknown_name(sentence: Sentence, raw: str) -> str | None:
    """The disease that a concluding sentence names and no taxonomy knows."""
    if sentence.lead or not (_OPENLY.search(sentence.text) or sentence.zone == "answer" or _is_titled(sentence)):
        return None
    for match in _LEADS_TO.finditer(sentence.text):
        name = _TAIL.sub("", match.group("name")).strip()
        if (
            len(name) > 3
            and not _VAGUE.search(name)
            and (_DISEASE_WORD.search(name) or f"**{name}" in raw[sentence.start : sentence.end])
        ):
            return name
    return None


def _bare(sentence: Sentence, told: list[Statement]) -> list[Statement]:
    """In an answer, or under a title that announces one, a name without a cue is what is concluded."""
    if not (sentence.zone == "answer" or _is_titled(sentence)):
        return told
    named = sum(len(statement.mention.words) for statement in told)
    if any(s.status != "none" for s in told) or 2 * named < len(sentence.text.removeprefix(sentence.lead)):
        return told
    return [replace(statement, status="asserted", cue="answer") for statement in told]


def _is_titled(sentence: Sentence) -> bool:
    title = sentence.lead or sentence.heading
    return bool(_TITLE.search(title)) and not _NOT_TITLE.search(title)


#: "inflammatory acne, specifically cystic acne": the second is what is meant.
_NAMELY = re.compile(r"specifically|particularly|namely|more\s+precisely", re.IGNORECASE)
#: "an inflammatory condition such as eczema": the example is what is meant.
_EXAMPLE = re.compile(r"such\s+as|e\.g\.,?|includ(?:e|es|ing)|for\s+example", re.IGNORECASE)


def _chosen(text: str, told: list[Statement], taxonomy: Taxonomy) -> list[Statement]:
    """The statements of one sentence that make its claim: the first and what is joined to it, the finer of a branch."""
    asserted = [s for s in told if s.status == "asserted"]
    begin = told.index(max(asserted, key=lambda s: (_firmness(s.cue), _is_specific(s, taxonomy))))
    run = [told[begin]]
    for statement in told[begin + 1 :]:
        example = statement.status == "weighed" and _EXAMPLE.fullmatch(statement.cue)
        if statement.status != "asserted" and not example:
            continue
        finer = taxonomy.finer(run[-1].mention.node_id, statement.mention.node_id)
        if finer is not None:
            if finer != run[-1].mention.node_id:
                run[-1] = Statement(statement.mention, "asserted", run[-1].cue, run[-1].at, run[-1].joined)
        elif statement.joined:
            run.append(statement)
        elif (example and not _is_specific(run[-1], taxonomy)) or _NAMELY.search(
            text[run[-1].mention.end : statement.mention.start][-40:]
        ):
            run[-1] = statement
    return run


def _firmness(cue: str) -> int:
    return 2 if _FIRMEST.search(cue) else 1 if _FIRM.search(cue) else 0


def _is_specific(statement: Statement, taxonomy: Taxonomy) -> bool:
    return names_a_disease(taxonomy.node(statement.mention.node_id))


def _is_umbrella(claim: Claim, taxonomy: Taxonomy) -> bool:
    return bool(claim.nodes) and not any(names_a_disease(taxonomy.node(node)) for node in claim.nodes)


def conclude(document: Document, taxonomy: Taxonomy, read: Read | None = None) -> Conclusion | None:
    """What ``document`` concludes, or None when it settles on no disease; ``read``: its statements, where at hand."""
    read = read_statements(document) if read is None else read
    found = [claim for claim in claims(read, taxonomy, document.raw) if claim.grade]
    half, third = (len(read) * 0.5, len(read) * 0.66) if len(read) > _SHORT else (0.0, 0.0)
    for floor, grade in ((half, 3), (half, 2), (third, 1)):
        late = [claim for claim in found if claim.grade >= grade and claim.place >= floor]
        late = [claim for claim in late if not _is_umbrella(claim, taxonomy)] or late
        if late:
            last = late[-1]
            others = [
                claim for claim in found
                if claim.grade == 3 and claim.place < last.place and claim.place >= half
                and not any(taxonomy.on_one_branch(a, b) for a in claim.nodes for b in last.nodes)
            ]  # fmt: skip
            beside = {s.mention.node_id for s in read[last.place][1] if s.status == "asserted"} - {*last.nodes}
            other = others[-1] if others else None
            return Conclusion(last.nodes, last.names, last.is_open, last.sentence, other, tuple(sorted(beside)))
    return None
