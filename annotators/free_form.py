"""A free-form text as the standard Narrative, with whatever does not fit into it beside it.

Each sentence goes, word for word, to the one section that its words, its heading and its place in a list speak for;
what holds no clinical word (a heading, "let me think") and what finds no room goes to a residue, so nothing is lost
and nothing is made up. Where the text names a disease that the taxonomy lacks, or none, the conclusion says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from annotators.free_form_sections import NAME_LENGTH, Entry, Residue, Sections
from annotators.free_form_words import (
    ADVICE,
    AGAINST,
    CLINICAL,
    DENIAL,
    FITS,
    INFERENCE,
    LIMITS,
    META,
    SCAFFOLD,
    SEEN,
    SPECIFIC,
    WEIGHING,
)
from quality.reading.assertions import Statement
from quality.reading.conclusion import Conclusion as Concluded
from quality.reading.conclusion import Read, conclude, read_statements
from quality.reading.segments import Layout, Sentence, read_text
from schemas.narrative import NO_DIAGNOSIS, UNMAPPED, Narrative, rendered_narrative
from schemas.taxonomy import Taxonomy

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)


@dataclass(frozen=True)
class Standardised:
    """A text in the standard layout: the narrative, what was left over, its form, and the nodes it concludes.

    ``is_strict``: the text was one of the narrative's own renderings, and nothing was read into it.
    """

    narrative: Narrative
    residue: tuple[Residue, ...]
    layout: Layout
    concluded: tuple[str, ...]
    is_strict: bool


def standardise_text(text: str, taxonomy: Taxonomy, certainty: str = "unstated") -> Standardised:
    """``text`` as a :class:`Narrative`, and every word that is not in it as residue.

    ``certainty``: how sure the label of its case is, a word of :data:`schemas.tables.LABEL_CERTAINTIES`. A rendering of
    a Narrative, or its JSON, comes back as the equal object. ValueError says why a text is none: empty, without a word,
    or longer than :data:`quality.reading.segments.MOST_CHARACTERS`.
    """
    if (own := rendered_narrative(text)) is not None:
        layout = Layout(
            int("<think>" in text), int("<answer>" in text), True, True, 0, 0, text.lstrip()[:1] == "{", False
        )
        return Standardised(own, (), layout, (own.conclusion.taxonomy_id,), True)
    document = read_text(text)
    if not any(_clean(sentence.text) for sentence in document.sentences):
        raise ValueError("the text holds no word")
    read = read_statements(document)
    concluded = conclude(document, taxonomy, read)
    sorted_out = _sort_out(read, concluded, taxonomy)
    return Standardised(
        sorted_out.narrative(certainty, taxonomy), tuple(sorted_out.residue), document.layout,
        concluded.nodes if concluded else (), False,
    )  # fmt: skip


#: Titles of headings, list leads and JSON keys that say what stands under them.
_TITLES = tuple(
    (section, re.compile(words, re.IGNORECASE | re.VERBOSE))
    for section, words in (
        ("differential", r"differential | alternativ | considered | other\s(?:diagnos|possib|condition)"),
        ("next_step", r"next\sstep | recommend | management | treatment | plan\b | advice | follow"),
        ("limitations", "limitation | uncertaint | caveat"),
        (
            "rationale",
            "conclusion | final | diagnosis | answer | impression | summary | synthesis | assessment | rationale",
        ),
        (
            "findings",
            """finding | observation | description | morpholog | feature | appearance | location | distribution |
            colou?r | texture | surface | border | lesion""",
        ),
    )
)


def _sort_out(read: Read, concluded: Concluded | None, taxonomy: Taxonomy) -> Sections:
    """Every sentence of a text in its section."""
    node_id, name = _settled(concluded, taxonomy)
    found = Sections(name, node_id, {node_id: Entry(name)})
    current = ""
    block = -1
    last = ""
    for sentence, told in read:
        text = _clean(sentence.text)
        if not text:
            continue
        last = text
        lead = _led_by(sentence, told)
        if lead is not None:
            current, block = _entry(found, lead, taxonomy), sentence.paragraph
            if sentence.is_heading and lead.mention.words == text.strip(" :"):
                found.residue.append(Residue(text, False))
                continue
        elif sentence.is_heading or (not sentence.lead and sentence.paragraph != block):
            current = ""
        _place(found, sentence, text, told, current, concluded, taxonomy)
    if not found.rationale:  # the conclusion always says what it rests on
        found.rationale.append(_take_last(found) or last)
    return found


def _take_last(found: Sections) -> str | None:
    for section in (found.entries[next(iter(found.entries))].evidence_for, found.findings, found.limitations):
        if section:
            return section.pop()
    return found.residue.pop().text if found.residue else None


def _settled(concluded: Concluded | None, taxonomy: Taxonomy) -> tuple[str, str]:
    """The node and name that a text settles on; of several left open, the one node that holds them all."""
    if concluded is None:
        return UNMAPPED, NO_DIAGNOSIS
    name = _clean((" or " if concluded.is_open else " and ").join(dict.fromkeys(concluded.names)))[:NAME_LENGTH].strip()
    if not concluded.nodes:
        return UNMAPPED, name or NO_DIAGNOSIS
    shared = concluded.nodes[0]
    for node in concluded.nodes[1:] if concluded.is_open else ():
        common = [a for a, b in zip(taxonomy.path(shared), taxonomy.path(node), strict=False) if a == b]
        if not common:
            return UNMAPPED, name
        shared = common[-1]
    return shared, name or taxonomy.node(shared).name


def _led_by(sentence: Sentence, told: Sequence[Statement]) -> Statement | None:
    """The disease that a list item or a heading is about."""
    if sentence.is_heading:
        return told[0] if told and len(told[0].mention.words) > 0.5 * len(sentence.text.strip(" :")) else None
    if not sentence.lead or not sentence.text.startswith(sentence.lead[:20]):
        return None
    first = [statement for statement in told if statement.mention.end <= len(sentence.lead) + 2]
    return first[0] if first else None


def _entry(found: Sections, statement: Statement, taxonomy: Taxonomy) -> str:
    node_id = statement.mention.node_id
    if node_id not in found.entries:
        found.entries[node_id] = Entry(
            _clean(statement.mention.words)[:NAME_LENGTH].strip() or taxonomy.node(node_id).name
        )
    return node_id


def _place(
    found: Sections, sentence: Sentence, text: str, told: Sequence[Statement], current: str,
    concluded: Concluded | None, taxonomy: Taxonomy,
) -> None:  # fmt: skip
    """Put one sentence where it belongs."""
    decisive = concluded is not None and sentence == concluded.sentence
    specific = bool(told) or SPECIFIC.search(text) is not None or ADVICE.search(text) is not None
    if decisive:
        found.rationale.insert(0, text)
    elif not specific and _only_leads_on(sentence, text):
        found.residue.append(Residue(text, False))
    elif not specific and not CLINICAL.search(text) and not LIMITS.search(text):
        found.rationale.append(text)
    elif current:
        _argue(found, current, text, told)
    else:
        section = _section(sentence, text, told, concluded, taxonomy)
        if section == "differential":
            ruled = [s for s in told if s.status in ("denied", "weighed", "asserted")] or list(told)
            _argue(found, _entry(found, ruled[0], taxonomy), text, ruled)
        else:
            getattr(found, section).append(text)


#: "First, I observe the location: the thumb." says something after all.
_SAYS = re.compile(r":\s+\S")


def _only_leads_on(sentence: Sentence, text: str) -> bool:
    """Whether a sentence without a specific word is mere form: a heading, or a phrase that announces the next one."""
    if sentence.is_heading and len(text) < 60 and not SEEN.search(text):
        return True
    if LIMITS.search(text) or _SAYS.search(text):
        return False
    announces = text.endswith(":") and META.search(text) is not None
    return (announces or SCAFFOLD.match(text) is not None) and SEEN.search(text) is None


def _argue(found: Sections, node_id: str, text: str, told: Sequence[Statement]) -> None:
    """Put a sentence for or against the diagnosis it is about."""
    ruled = [s for s in told if s.mention.node_id == node_id and s.status in ("asserted", "denied")]
    if node_id == next(iter(found.entries)):  # of what is concluded, only an open denial speaks against it
        against = bool(ruled) and ruled[-1].status == "denied" and DENIAL.search(ruled[-1].cue) is not None
    elif ruled:
        against = ruled[-1].status == "denied"
    else:
        against = AGAINST.search(text) is not None and not FITS.search(text)
    entry = found.entries[node_id]
    (entry.evidence_against if against else entry.evidence_for).append(text)


def _section(
    sentence: Sentence, text: str, told: Sequence[Statement], concluded: Concluded | None, taxonomy: Taxonomy
) -> str:
    asserted = {s.mention.node_id for s in told if s.status == "asserted"}
    if concluded and any(taxonomy.on_one_branch(a, b) for a in asserted for b in concluded.nodes):
        return "rationale"
    if ADVICE.search(text):
        return "next_step"
    if any(s.status in ("asserted", "denied", "weighed") for s in told):
        return "differential"
    if LIMITS.search(text):
        return "limitations"
    title = sentence.lead or sentence.heading
    for section, pattern in _TITLES:
        if title and pattern.search(title) and (section != "differential" or told):
            return section
    if told and concluded and all(s.mention.node_id in concluded.nodes for s in told):
        return "rationale"
    weighing = SCAFFOLD.match(text) is not None and WEIGHING.search(text) is not None
    return "rationale" if weighing or INFERENCE.match(text) else "findings"


def _clean(text: str) -> str:
    """One plain line: no control characters, no tags of the narrative's own renderings."""
    text = _UNPRINTABLE.sub(" ", text)
    while _TAG.search(text):
        text = _TAG.sub(" ", text)
    return " ".join(text.split())
