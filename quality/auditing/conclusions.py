"""Rules on what a text concludes: against its label, against an earlier conclusion, and against its own reasoning."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from quality.auditing.findings import Finding, finding
from quality.auditing.narrative_text import NarrativeText
from quality.check_patterns import words
from quality.reading.assertions import Statement
from quality.reading.segments import Sentence
from schemas.agreement import names_a_disease
from schemas.taxonomy import Taxonomy

_OF_RELATION = {
    "contradiction": "contradicts_label",
    "sibling": "sibling_of_label",
    "ancestor": "broader_than_label",
    "descendant": "finer_than_label",
    "several": "several_diagnoses",
}
#: Words that show that the answer was set before the reasoning.
_ORDERED = re.compile(
    r"\b(?:as|per|following|according to|given|to (?:follow|honou?r))\s+(?:\w+\s+){0,2}?(?:instruct(?:ed|ions?)|request(?:ed)?|the prompt)\b|"
    r"\b(?:required|instructed|asked|told|supposed|need(?:ed)?)\s+to\s+(?:conclude|deduce|arrive\s+at|justify|support)\b|"
    r"\b(?:since|because|given\s+that)\s+(?:the|this)\s+(?:\w+\s+)?(?:answer|label|diagnosis)\s+(?:is|was|must|has\s+to)\b|"
    r"\b(?:the|this)\s+(?:expected|intended|desired|target|predetermined|assigned)\s+(?:answer|label|diagnosis|conclusion)\b",
    re.IGNORECASE,
)
#: Words that explain away that what should be seen is not.
_EXCUSED = re.compile(
    r"\b(?:though|although|while|even\s+(?:if|though)|but|despite)\b[^.;]{0,80}\b(?:(?:is|are|was|were)(?:n't|\s+not)\s+(?:\w+\s+)?(?:mentioned|described|visible|"
    r"evident|apparent|seen|present|classic|typical|noted|specified)|not\s+(?:explicitly|specifically|directly|clearly)\s+\w+|lacks?\b|absence\s+of|lack\s+of)|"
    r"\b(?:might|may|could)\s+(?:simply\s+|also\s+|still\s+)?(?:not\s+be|be\s+(?:obscured|hidden|masked|subtle|absent|missing|missed|less))\b|"
    r"\b(?:isn't|aren't|not)\s+(?:always\s+|necessarily\s+)?(?:classic|typical|explicitly|mentioned|described)\b[^.]{0,60}\b(?:but|however|it\s+can|they\s+can|can\s+(?:occur|still|be)|may|might)\b|"
    r"\bwhile\b[^.]{0,90}\bnot\s+(?:\w+\s+)?(?:typical|classic)\b|\bcan\s+occur\s+in\s+(?:variants|atypical)",
    re.IGNORECASE,
)
#: Words that give one disease the first place.
_FIRST_PLACE = words(
    r"(?:most|very|highly)\s+(?:likely|probable|plausible|consistent|suggestive|compatible|indicative)|best\s+(?:fit\w*|match\w*|explain\w*)|"
    r"strongly\s+(?:suggest\w*|favou?r\w*|indicat\w*|support\w*|point\w*)|overwhelmingly|points?\s+(?:\w+\s+){0,2}?to(?:wards?)?|leading\s+(?:diagnosis|candidate)|top\s+differential|pathognomonic"
)
_LEAST_LEAD = 2


def conclusion_findings(text: NarrativeText, taxonomy: Taxonomy) -> Iterator[Finding]:
    """What is to be said of the conclusion of ``text``."""
    if text.conclusion is None:
        yield finding("no_conclusion", text.last, "no sentence settles on a disease")
    yield from _against_label(text, taxonomy)
    if text.conclusion is None:
        return
    if text.conclusion.is_open and len(set(text.concluded)) > 1 and text.relation != "several":
        yield finding("several_diagnoses", text.last, f"names {' or '.join(text.conclusion.names)}")
    if (other := text.conclusion.other) is not None:
        detail = f"here {', '.join(other.names)}, at last {', '.join(text.conclusion.names)}"
        yield finding("second_conclusion_differs", other.sentence, detail)
    if text.concluded:
        if forced := _forced(text, taxonomy):
            yield finding("forced_conclusion", *forced)
        yield from _entailed(text, taxonomy)


def _against_label(text: NarrativeText, taxonomy: Taxonomy) -> Iterator[Finding]:
    label = text.label_node
    if label is None or text.conclusion is None:
        return
    if (rule := _OF_RELATION.get(text.relation)) is not None:
        concluded = ", ".join(taxonomy.node(node).name for node in text.concluded)
        yield finding(rule, text.last, f"concludes {concluded}; the label is {taxonomy.node(label).name}")
    if text.relation == "contradiction":
        named = [
            (sentence, statement.status)
            for sentence, statements in text.told
            for statement in statements
            if taxonomy.on_one_branch(statement.mention.node_id, label) and names_a_disease(_node(taxonomy, statement))
        ]
        denials = [sentence for sentence, status in named if status == "denied"]
        if denials and not any(status == "asserted" for _, status in named):
            yield finding("label_only_ruled_out", denials[0], f"{taxonomy.node(label).name} is the label")


def _node(taxonomy: Taxonomy, statement: Statement):  # type: ignore[no-untyped-def]
    return taxonomy.node(statement.mention.node_id)


def _forced(text: NarrativeText, taxonomy: Taxonomy) -> tuple[Sentence, str] | None:
    """The sentence that shows best that the conclusion was not reached by the reasoning, and why."""
    end = text.last
    for sentence, _ in text.told:
        if _ORDERED.search(sentence.text):
            return sentence, "the answer was set before the reasoning"
    before = [(s, told) for s, told in text.told if s.start < end.start and not s.is_heading]
    excuses = [s for s, told in before if _EXCUSED.search(s.text) and _speaks_of(text.concluded, told, taxonomy)]
    denials = [s for s, told in before if _denies(text.concluded, s, told, taxonomy)]
    rivals = [s for s, told in before if _prefers_another(text.concluded, s, told, taxonomy)]
    if denials:
        return denials[0], "denies here what it concludes"
    if rivals:
        return rivals[0], "gives another disease the first place here"
    if excuses:
        return excuses[0], "explains away that a sign of what it concludes is not there"
    return None


def _is_target(node: str, concluded: tuple[str, ...], taxonomy: Taxonomy) -> bool:
    return any(taxonomy.on_one_branch(node, end) for end in concluded)


def _speaks_of(concluded: tuple[str, ...], told: list[Statement], taxonomy: Taxonomy) -> bool:
    """Whether a sentence names what is concluded, and nothing else."""
    return bool(told) and all(_is_target(s.mention.node_id, concluded, taxonomy) for s in told)


#: A denial that speaks of the case itself, and not of another disease that looks alike.
_DENIES = words(
    r"do(?:es)?\s+not\s+(?:\w+\s+)?(?:indicate|align|fit|support|suggest|match|point)|not\s+(?:consistent|compatible|in\s+keeping)|unlikely|less\s+likely|ruled\s+out|excluded|inconsistent"
)


def _denies(concluded: tuple[str, ...], sentence: Sentence, told: list[Statement], taxonomy: Taxonomy) -> bool:
    denied = [s for s in told if s.status == "denied" and s.mention.node_id in concluded]
    others = [s for s in told if not _is_target(s.mention.node_id, concluded, taxonomy)]
    return bool(denied) and not others and _DENIES.search(sentence.text) is not None


def _prefers_another(concluded: tuple[str, ...], sentence: Sentence, told: list[Statement], taxonomy: Taxonomy) -> bool:
    """Whether a sentence settles on a disease off the branch, and says nothing for what is concluded."""
    if not _FIRST_PLACE.search(sentence.text) or sentence.lead:
        return False
    asserted = [s for s in told if s.status == "asserted" and names_a_disease(_node(taxonomy, s))]
    return bool(asserted) and not any(_is_target(s.mention.node_id, concluded, taxonomy) for s in told)


def _entailed(text: NarrativeText, taxonomy: Taxonomy) -> Iterator[Finding]:
    """With what concludes hidden: which disease do the statements before it single out?"""
    end = text.last
    weights: Counter[str] = Counter()
    where: dict[str, Sentence] = {}
    for sentence, told in text.told:
        if sentence.start >= end.start or sentence.paragraph == end.paragraph:
            continue
        for statement in told:
            node = statement.mention.node_id
            if not names_a_disease(taxonomy.node(node)) or statement.status not in ("asserted", "denied"):
                continue
            weights[node] += 1 if statement.status == "asserted" else -1
            if statement.status == "asserted":
                where.setdefault(node, sentence)
    if not where:
        yield finding("nothing_singled_out", end, "before the conclusion no disease is asserted")
        return
    totals = {
        node: sum(weight for other, weight in weights.items() if other == node or taxonomy.is_ancestor(node, other) or taxonomy.is_ancestor(other, node))
        for node in where
    }  # fmt: skip
    mine = max((n for node, n in totals.items() if _is_target(node, text.concluded, taxonomy)), default=0)
    leader = min(totals, key=lambda node: (-totals[node], node))
    if not _is_target(leader, text.concluded, taxonomy) and totals[leader] >= max(mine, 0) + _LEAST_LEAD:
        detail = f"the reasoning speaks for {taxonomy.node(leader).name}, the conclusion is {', '.join(text.conclusion.names)}"  # type: ignore[union-attr]
        yield finding("not_entailed", where[leader], detail)
