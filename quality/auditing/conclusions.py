"""Rules on what a text concludes: against its label, against an earlier conclusion, and against its own reasoning."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from quality.auditing.findings import Finding, finding
from quality.auditing.narrative_text import NarrativeText
from quality.check_patterns import words
from quality.reading.assertions import Statement
from quality.reading.conclusion import Claim
from quality.reading.segments import Sentence
from schemas.agreement import names_a_disease, relation
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
    r"\b(?:as|per|following|according to|given|to (?:follow|honou?r))\s+(?:\w+\s+){0,2}?(?:instruct(?:ed|ions?)|"
    r"request(?:ed)?|the prompt)\b|"
    r"\b(?:required|instructed|asked|told|supposed|need(?:ed)?)\s+to\s+(?:conclude|deduce|arrive\s+at|justify|"
    r"support)\b|"
    r"\b(?:since|because|given\s+that)\s+(?:the|this)\s+(?:\w+\s+)?(?:answer|label|diagnosis)\s+(?:is|was|must|"
    r"has\s+to)\b|"
    r"\b(?:the|this)\s+(?:expected|intended|desired|target|predetermined|assigned)\s+(?:answer|label|diagnosis|"
    r"conclusion)\b",
    re.IGNORECASE,
)
#: Words that explain away that what should be seen is not.
_EXCUSED = re.compile(
    r"\b(?:though|although|but|however|while|despite)\b[^.;]{0,60}\b(?:(?:is|are|was|were|does)(?:n't|\s+not)|"
    r"not)\s+(?:\w+\s+)?(?:mentioned|described|visible|evident|apparent|seen|noted)\b|"
    r"\b(?:might|may|could)\s+(?:simply\s+|also\s+|still\s+)?(?:not\s+be\s+(?:visible|apparent|evident|mentioned|"
    r"seen|captured|present|obvious|discernible)|be\s+(?:obscured|hidden|masked|absent|missed))\b|"
    r"\b(?:isn't|aren't|is\s+not|are\s+not|not)\s+(?:\w+\s+)?(?:classic|typical)\b[^.]{0,60}\b(?:but\s+(?:might|may|"
    r"can|could)|it\s+can|they\s+can|can\s+(?:still\s+)?occur)\b|\bcan\s+occur\s+in\s+(?:variants|atypical)",
    re.IGNORECASE,
)
#: Words that give one disease the first place.
_FIRST_PLACE = re.compile(
    r"(?<!not )(?<!n't )\b(?:(?:most|highly)\s+(?:likely|probable|plausible|consistent|suggestive|compatible|"
    r"indicative)|"
    r"best\s+(?:fit\w*|match\w*|explain\w*)|strongly\s+(?:suggest\w*|favou?r\w*|indicat\w*|support\w*|point\w*)|"
    r"overwhelmingly|leading\s+(?:diagnosis|candidate)|top\s+differential)\b",
    re.IGNORECASE,
)
#: "the most probable conditions include": a first place shared by several.
_SHARED_PLACE = re.compile(r"\bmost\s+(?:likely|probable|plausible)\s+(?:conditions|diagnoses|candidates|causes|"
    r"possibilities)\b", re.IGNORECASE)  # fmt: skip
#: An earlier conclusion that is none: what is ruled out, what would be, and what only lies in the background.
_NO_CONCLUSION = re.compile(
    r"\brul(?:es?|ed|ing)\s+out\b|\bwould\s+(?:suggest|indicate|be)\b|\b(?:reduc\w+|lower\w*)\s+the\s+likelihood|"
    r"\bnor\b|\bincidental\w*|\bbackground\b|\bsurrounding\b|\breinforc\w+|\bnot\s+(?:\w+\s+)?(?:align|fit|match|"
    r"support|consistent)\w*|\brisk\s+factor|\bprecursor|\bin\s+the\s+context\s+of",
    re.IGNORECASE,
)
_LEAST_LEAD = 2
#: What skin shows beside its disease, and no reasoning is about.
_TRACES = frozenset({"post_inflammatory_hyperpigmentation", "post_inflammatory_hypopigmentation", "scar"})
_BACKGROUND = _TRACES | {"photodamaged_skin"}


def conclusion_findings(text: NarrativeText, taxonomy: Taxonomy) -> Iterator[Finding]:
    """What is to be said of the conclusion of ``text``."""
    if text.conclusion is None:
        yield finding("no_conclusion", text.last, "no sentence settles on a disease")
    yield from against_label(text, taxonomy)
    if text.conclusion is None:
        return
    if text.conclusion.is_open and len(set(text.concluded)) > 1 and text.relation != "several":
        yield finding("several_diagnoses", text.last, f"names {' or '.join(text.conclusion.names)}")
    other = text.conclusion.other
    if other is not None and _is_second(text, other, taxonomy):
        detail = f"here {', '.join(other.names)}, at last {', '.join(text.conclusion.names)}"
        yield finding("second_conclusion_differs", other.sentence, detail)
    if text.concluded:
        if forced := _forced(text, taxonomy):
            yield finding("forced_conclusion", *forced)
        yield from _entailed(text, taxonomy)


def against_label(text: NarrativeText, taxonomy: Taxonomy) -> Iterator[Finding]:
    """How the conclusion of ``text`` stands to its label, where it does not simply agree."""
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
            if taxonomy.on_one_branch(statement.mention.node_id, label)
            and names_a_disease(taxonomy.node(statement.mention.node_id))
        ]
        denials = [sentence for sentence, status in named if status == "denied"]
        if denials and not any(status == "asserted" for _, status in named):
            yield finding("label_only_ruled_out", denials[0], f"{taxonomy.node(label).name} is the label")


def _is_second(text: NarrativeText, other: Claim, taxonomy: Taxonomy) -> bool:
    """Whether an earlier claim is a conclusion of its own: a known disease, off the branch, and no near relative."""
    if not other.nodes or not text.concluded or _NO_CONCLUSION.search(other.sentence.text):
        return False
    beside = [s.mention.node_id for sentence, told in text.told if sentence == other.sentence for s in told]
    if any(_is_target(node, text.concluded, taxonomy) for node in beside):
        return False
    if all(_is_kin(node, text.concluded, taxonomy) for node in other.nodes):
        return False
    return all(names_a_disease(taxonomy.node(node)) for node in other.nodes)


def _forced(text: NarrativeText, taxonomy: Taxonomy) -> tuple[Sentence, str] | None:
    """The sentence that shows best that the conclusion was not reached by the reasoning, and why."""
    end, found = text.last, dict[str, Sentence]()
    topic = False  # whether the disease named last is what is concluded
    for sentence, told in text.told:
        if _ORDERED.search(sentence.text):
            return sentence, "the answer was set before the reasoning"
        if told:
            topic = all(_is_target(s.mention.node_id, text.concluded, taxonomy) for s in told)
        if sentence.start >= end.start or sentence.is_heading or sentence.lead:
            continue
        if _denies(text.concluded, sentence, told, taxonomy):
            found.setdefault("denies here what it concludes", sentence)
        if _prefers_another(text.concluded, sentence, told, taxonomy):
            found.setdefault("gives another disease the first place here", sentence)
        if topic and _EXCUSED.search(sentence.text):
            found.setdefault("explains away here that a sign of what it concludes is missing", sentence)
    return next(((sentence, why) for why, sentence in found.items()), None)


def _is_target(node: str, concluded: tuple[str, ...], taxonomy: Taxonomy) -> bool:
    return any(taxonomy.on_one_branch(node, end) for end in concluded)


def _is_kin(node: str, concluded: tuple[str, ...], taxonomy: Taxonomy) -> bool:
    """On one branch with what is concluded, or another form of the same disease."""
    return relation(taxonomy, concluded, node) != "contradiction"


#: A denial that speaks of the case itself, and not of another disease that looks alike.
_DENIES = words(
    r"do(?:es)?\s+not\s+(?:\w+\s+)?(?:indicate|align|fit|support|suggest|match|point)|not\s+(?:consistent|compatible|"
    r"in\s+keeping)|unlikely|less\s+likely|ruled\s+out|excluded|inconsistent"
)


#: "acute paronychia", "pure eczema": one form of it is denied, and "as closely as" compares.
_A_FORM = re.compile(r"(?:\b(?:acute|chronic|classic|pure|purely|simple|secondary|primary|typical|severe|"
    r"as\s+\w+\s+as|than|just|only)\s+(?:an?\s+)?)$", re.IGNORECASE)  # fmt: skip


def _denies(concluded: tuple[str, ...], sentence: Sentence, told: list[Statement], taxonomy: Taxonomy) -> bool:
    denied = [
        s
        for s in told
        if s.status == "denied"
        and s.mention.node_id in concluded
        and not _A_FORM.search(sentence.text, 0, s.mention.start)
    ]
    others = [s for s in told if not _is_target(s.mention.node_id, concluded, taxonomy)]
    return bool(denied) and not others and _DENIES.search(sentence.text) is not None


def _prefers_another(concluded: tuple[str, ...], sentence: Sentence, told: list[Statement], taxonomy: Taxonomy) -> bool:
    """Whether a sentence settles on a disease off the branch, and says nothing for what is concluded."""
    shared = _SHARED_PLACE.search(sentence.text) is not None
    if _NO_CONCLUSION.search(sentence.text) or not (shared or _FIRST_PLACE.search(sentence.text)):
        return False
    wanted = ("asserted", "weighed") if shared else ("asserted",)
    first = [
        s for s in told
        if s.status in wanted
        and s.mention.node_id not in _TRACES
        and names_a_disease(taxonomy.node(s.mention.node_id))
    ]  # fmt: skip
    return bool(first) and not any(_is_kin(s.mention.node_id, concluded, taxonomy) for s in told)


def _entailed(text: NarrativeText, taxonomy: Taxonomy) -> Iterator[Finding]:
    """With what concludes hidden: which disease do the statements before it single out?"""
    end, names = text.last, text.conclusion.names if text.conclusion else ()
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
        node: sum(weight for other, weight in weights.items() if taxonomy.on_one_branch(node, other)) for node in where
    }
    mine = max((n for node, n in totals.items() if _is_target(node, text.concluded, taxonomy)), default=0)
    leader = min(totals, key=lambda node: (-totals[node], node))
    if (
        leader not in _BACKGROUND
        and not _is_kin(leader, text.concluded, taxonomy)
        and totals[leader] >= max(mine, 0) + _LEAST_LEAD
    ):
        detail = f"the reasoning speaks for {taxonomy.node(leader).name}, it concludes {', '.join(names)}"
        yield finding("not_entailed", where[leader], detail)
