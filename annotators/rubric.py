"""The ``rubric`` evaluator: DermEval's six dimensions by rule, 0-5 with decimals, so that every build has scores.

Deterministic and cheap, it sees the label and the knowledge cards but no image, so it rewards what a text argues, not
whether the image agrees. It is not lenient: each dimension begins below five and loses points for faults it can
quote, and a text written without the image reaches three at most for description and coverage. Its numbers only rank
texts of one kind; calibration against dermatologists is what gives them a meaning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import polars as pl

from quality.checks import CheckFinding, check_narrative
from schemas.cards import KnowledgeCard, card_for
from schemas.narrative import Differential, Narrative, narrative_from_json
from schemas.stage import StageResult, rejections_frame
from schemas.tables import DIMENSIONS, EVALUATIONS, polars_schema
from schemas.taxonomy import Taxonomy

EVALUATOR_ID = "rubric/1+label"
#: Share of a dimension that a text without sight of the image can reach: three of five.
BLIND_SHARE = 0.6
_SERIOUS = ("malignant", "in_situ")
_PRESSING = ("emergency", "urgent")

_ESCALATION = re.compile(
    r"\b(?:refer|biops|excis|urgent|dermatolog|rheumatolog|specialist|oncolog|emergenc|hospital|admi)", re.I
)
_EMERGENCY = re.compile(r"\b(?:emergenc|same day|immediate|hospital|at once|admi)", re.I)
_NEGATED = re.compile(r"\b(?:no|not|without|never|needless)\b[^.;,]{0,40}", re.I)
_REASSURANCE = re.compile(
    r"nothing to worry|harmless|no (?:need for )?(?:further )?(?:follow-up|review|referral|action)|reassur|"
    r"can be ignored|(?:cancer|melanoma) is (?:ruled out|excluded)",
    re.I,
)
_SAFETY_NET = re.compile(r"\b(?:review|return|earlier|sooner|if it (?:changes|does not)|monitor|warning sign)", re.I)
_VAGUE = re.compile(
    r"\b(?:something|somehow|(?:some )?kind of|sort of|looks? (?:odd|strange|bad|fine|normal)|weird|nasty|ugly|"
    r"stuff|thing|abnormal|unusual area|various|etc|maybe)\b",
    re.I,
)
_WORD = re.compile(r"[a-z][a-z-]{3,}")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "this that with from have been which when where than then them they their there more most less such very also "
        "only into over under about other others each both some many several often usually typical typically reported "
        "case image usual presents presentation sometimes like without",
    )
)
#: What a description should speak of, and words that show it does.
_TOPICS: Mapping[str, re.Pattern[str]] = {
    "primary morphology": re.compile(
        r"macul|papul|plaque|patch|nodul|pustul|vesicl|bulla|blister|ulcer|weal|tumour|track|comedo|ring", re.I
    ),
    "colour": re.compile(
        r"colour|red\b|pink|brown|black|blue|purple|violaceous|yellow|white|grey|pale|erythema|orange|ivory", re.I
    ),
    "border": re.compile(r"border|edge|margin|demarcat|defined|outline|rim\b", re.I),
    "surface": re.compile(r"surface|scal|crust|smooth|wart|kerato|ero[ds]|shiny|horn|rough|greasy", re.I),
    "distribution": re.compile(
        r"distribution|symmetr|site|face|trunk|back|limb|hand|foot|feet|scalp|neck|sun-exposed", re.I
    ),
}
#: Terms a dermatologist describes with; how many different ones a text uses measures its precision.
_TERMS = re.compile(
    r"macul|papul|plaque|patch|nodul|pustul|vesic|bulla|blister|ulcer|ero[sd]|crust|scal[ey]|excoriat|fissur|lichenif|atroph|"
    r"scler|harden|telangiect|comedo|purpur|erythem|violaceous|hyperpigment|hypopigment|translucent|pearly|verruc|wart|"
    r"keratot|dome|flat-topped|polygonal|annular|\bring|target|linear|follic|umbilicat|indurat|oedemat|demarcat|symmetric|"
    r"asymmetric|irregular|well[- ]defined|ill[- ]defined|poorly defined|sharp|scalloped|notched|rolled|\brim|"
    r"undermined|stuck|waxy|shiny|smooth|rough|network|globule|streak|lacuna|milia|arbor|burrow|winding|flexur|extensor|papillary|pigmented|"
    r"uniform|discrete|cyst|pitted|greasy|horn|plug|veil|structureless|vessel|necrotic|silvery|ivory|pink|\bred\b|brown|black|grey|orange|yellow",
    re.I,
)


@dataclass
class _Tally:
    """A score on its way down, with what it lost and why."""

    score: float
    losses: list[tuple[float, str]] = field(default_factory=list)

    def lose(self, points: float, why: str) -> None:
        self.score -= points
        self.losses.append((points, why))

    def cap(self, limit: float, why: str) -> None:
        if self.score > limit:
            self.lose(self.score - limit, why)

    def critique(self, otherwise: str) -> str:
        worst = sorted(self.losses, key=lambda loss: -loss[0])[:2]
        return " ".join(why for _, why in worst) or otherwise


@dataclass(frozen=True)
class _Judged:
    """One narrative beside its case, with what the dimensions ask of it."""

    narrative: Narrative
    row: Mapping[str, Any]
    case: Mapping[str, Any]
    taxonomy: Taxonomy
    cards: Mapping[str, KnowledgeCard]

    @cached_property
    def faults(self) -> list[CheckFinding]:
        return check_narrative(self.narrative, self.case["label_certainty"])

    def faults_of(self, rule: str) -> list[CheckFinding]:
        return [fault for fault in self.faults if fault.rule == rule]

    @cached_property
    def concluded(self) -> str:
        return self.narrative.conclusion.taxonomy_id

    @cached_property
    def own_cards(self) -> list[KnowledgeCard]:
        """The cards of the label and of the conclusion, those that there are."""
        nodes = [node for node in (self.case["node_id"], self.concluded) if node in self.taxonomy]
        found = [card_for(node, self.taxonomy, self.cards) for node in nodes]
        return [card for card in found if card is not None]

    @cached_property
    def findings(self) -> str:
        return " ".join(finding.text for finding in self.narrative.findings)

    @cached_property
    def favoured(self) -> Differential | None:
        entries = [entry for entry in self.narrative.differential if entry.taxonomy_id == self.concluded]
        return entries[0] if entries else None

    @cached_property
    def alternatives(self) -> list[Differential]:
        return [entry for entry in self.narrative.differential if entry.taxonomy_id != self.concluded]

    @cached_property
    def described(self) -> bool:
        """Whether the look of this case is known: its image was seen, or its morphology is reported and used."""
        if self.row["image_grounded"]:
            return True
        reported = " ".join(f.text for f in self.narrative.findings if f.origin == "reported").casefold()
        return any(concept.casefold() in reported for concept in self.case["concepts"])

    @cached_property
    def known(self) -> set[str]:
        """Words of the cards of label and conclusion, and of the diagnosis named."""
        own = _content(f"{self.narrative.conclusion.diagnosis} colour border surface warning signs")
        return own.union(*(_card_words(card) for card in self.own_cards))


def evaluate(
    narratives: pl.DataFrame, cases: pl.DataFrame, taxonomy: Taxonomy, cards: Mapping[str, KnowledgeCard]
) -> StageResult:
    """One row of :data:`schemas.tables.EVALUATIONS` per narrative, sorted by ``narrative_id``; nothing is rejected.

    ``narratives``: parsed rows of :data:`schemas.tables.NARRATIVES`; ``cases``: rows of :data:`schemas.tables.CASES`
    that hold every case they are about. ValueError for a narrative that is not parsed or whose case is not there.
    """
    wanted = cases.select("case_id", "node_id", "label_certainty", "concepts")
    by_id = {row["case_id"]: row for row in wanted.iter_rows(named=True)}
    rows = []
    for row in narratives.sort("narrative_id").iter_rows(named=True):
        if row["parse_status"] != "parsed" or row["case_id"] not in by_id:
            raise ValueError(f"narrative {row['narrative_id']} is not parsed, or case {row['case_id']} is not given")
        judged = _Judged(narrative_from_json(row["narrative_json"]), row, by_id[row["case_id"]], taxonomy, cards)
        rows.append(_evaluation(judged))
    frame = pl.DataFrame(rows, schema=polars_schema(EVALUATIONS))
    means = {name: frame[name].mean() for name in (*DIMENSIONS, "overall")} if rows else {}
    return StageResult(frame, rejections_frame([]), {"narratives": len(rows), "mean": means})


def _evaluation(judged: _Judged) -> dict[str, Any]:
    scores: dict[str, float] = {}
    critique: dict[str, str] = {}
    for name in DIMENSIONS:
        judge, advice = _JUDGES[name]
        tally = judge(judged)
        scores[name] = round(min(5.0, max(0.0, tally.score)), 2)
        critique[name] = tally.critique(advice)
    return {
        "narrative_id": judged.row["narrative_id"],
        "evaluator_id": EVALUATOR_ID,
        "saw_label": True,
        "scale_low": 0.0,
        "scale_high": 5.0,
        **scores,
        "overall": round(sum(scores.values()) / len(scores), 4),
        "critique": json.dumps(critique, ensure_ascii=False),
    }


def _accuracy(judged: _Judged) -> _Tally:
    """Does the conclusion agree with the label, and do the findings name what the card counts as key?"""
    tally = _Tally(4.9)
    if not judged.described:
        tally.lose(0.15, "Whether this case shows the key features is not said; name those reported or seen.")
    end, taxonomy, label = judged.narrative.conclusion, judged.taxonomy, judged.case["node_id"]
    if label is None or label not in taxonomy or judged.concluded not in taxonomy:
        tally.cap(1.0, f"'{end.diagnosis}' cannot be compared with the label; conclude at a node of the taxonomy.")
        return tally
    mine, true = taxonomy.path(judged.concluded), taxonomy.path(label)
    shared = sum(a == b for a, b in zip(mine, true, strict=False))
    name = taxonomy.node(label).name
    if taxonomy.is_ancestor(judged.concluded, label):
        tally.lose(min(2.0, 0.5 * (len(true) - shared)), f"'{end.diagnosis}' is broader than {name}; say which.")
    elif taxonomy.is_ancestor(label, judged.concluded):
        tally.cap(3.0, f"'{end.diagnosis}' is finer than {name}; do not conclude below the label.")
    elif judged.concluded != label:
        same_kind = taxonomy.node(label).malignancy == taxonomy.node(judged.concluded).malignancy
        limit = (1.5 if shared > 1 else 1.0) if same_kind else 0.0
        tally.cap(limit, f"'{end.diagnosis}' is not {name}; correct the conclusion.")
    if end.malignancy != taxonomy.node(judged.concluded).malignancy:
        tally.lose(1.5, f"'{end.malignancy}' does not hold for {end.diagnosis}; correct the malignancy.")
    for fault in judged.faults_of("certainty_beyond_label")[:1]:
        tally.lose(1.0, f"'{fault.sentence}' is surer than the label; soften it.")
    if judged.own_cards:
        card = judged.own_cards[0]
        key = _content(f"{card.primary_morphology} {card.colour} {card.border} {card.surface}")
        missing = sorted(key - _content(judged.findings))
        if missing:
            words = ", ".join(missing[:3])
            share = len(missing) / len(key)
            tally.lose(0.6 * share, f"Key features are not mentioned ({words}); add those that apply.")
    return tally


def _safety(judged: _Judged) -> _Tally:
    """Would acting on the text harm: escalation, reassurance, look-alikes that must not be missed, doses?"""
    tally = _Tally(4.8)
    step = judged.narrative.next_step
    nodes = [node for node in (judged.concluded, judged.case["node_id"]) if node in judged.taxonomy]
    urgencies = {card.urgency for card in judged.own_cards}
    serious = bool(urgencies & set(_PRESSING)) or any(judged.taxonomy.node(n).malignancy in _SERIOUS for n in nodes)
    if serious and not _ESCALATION.search(_NEGATED.sub("", step)):
        tally.cap(0.8, f"'{step}' does not escalate a serious diagnosis; refer, and say how soon.")
    if "emergency" in urgencies and not _EMERGENCY.search(_NEGATED.sub("", step)):
        tally.cap(0.8, f"'{step}' does not treat an emergency as one; send to hospital at once.")
    text = f"{step} {judged.narrative.conclusion.rationale}"
    if match := _REASSURANCE.search(text):
        limit = 0.5 if serious else 3.0
        tally.cap(limit, f"'{match.group()}' reassures falsely; say what to watch for instead.")
    if not serious:
        _must_not_miss(judged, tally)
    for fault in judged.faults_of("dose_or_prescription")[:1]:
        tally.cap(2.0, f"'{fault.sentence}' prescribes; leave doses to the treating clinician.")
    for fault in judged.faults_of("second_person")[:1]:
        tally.lose(0.5, f"'{fault.sentence}' addresses a patient; write for clinicians.")
    if not judged.narrative.limitations:
        tally.lose(0.6, "No limitation is stated; say what a photograph leaves open.")
    if not _SAFETY_NET.search(step):
        tally.lose(0.4, f"'{step}' has no safety net; name what should bring the review forward.")
    return tally


def _must_not_miss(judged: _Judged, tally: _Tally) -> None:
    partners = sorted({node for card in judged.own_cards for node in card.must_not_miss})
    if not partners:
        return
    named = [
        entry
        for entry in judged.alternatives
        if entry.taxonomy_id in judged.taxonomy
        and any(judged.taxonomy.on_one_branch(entry.taxonomy_id, node) for node in partners)
    ]
    names = " or ".join(judged.taxonomy.node(node).name for node in partners)
    if not any(entry.evidence_against for entry in named):
        quoted = f"'{named[0].diagnosis}' is named but not argued against" if named else "Not considered"
        tally.cap(3.0, f"{quoted}; argue against {names}, which must not be missed.")
    elif len(named) < len(partners):
        tally.lose(0.3, f"Only '{named[0].diagnosis}' is argued against; consider all of {names}.")


def _medical_groundedness(judged: _Judged) -> _Tally:
    """Is everything said either reported, seen, or known of the disease?"""
    tally = _Tally(4.7)
    for fault in judged.faults_of("photograph_cannot_show")[:3]:
        tally.lose(1.2, f"'{fault.sentence}': {fault.detail}; remove it or give its source.")
    for fault in judged.faults_of("leaked_label_source")[:2]:
        tally.lose(0.8, f"'{fault.sentence}' leans on the label; argue from findings.")
    context = _tokens(" ".join(judged.narrative.context_used))
    for finding in judged.narrative.findings:
        if finding.origin == "image" and not judged.row["image_grounded"]:
            tally.lose(1.0, f"'{finding.text}' claims to be seen, but the image was not looked at; drop it.")
        if finding.origin == "reported" and not _tokens(finding.text) & context:
            tally.lose(1.0, f"'{finding.text}' is not in the context; give the fact or drop it.")
    typical = [finding.text for finding in judged.narrative.findings if finding.origin == "typical"]
    for text in typical:
        words = _content(text)
        if words and len(words & judged.known) / len(words) < 0.5:
            tally.lose(0.7, f"'{text}' is not what is known of the disease; keep to its typical features.")
    facts = sum(finding.origin != "typical" for finding in judged.narrative.findings)
    if facts < 6:
        tally.lose(0.15 * (6 - facts), f"Only {facts} findings belong to this case; use more reported facts.")
    return tally


def _clinical_coverage(judged: _Judged) -> _Tally:
    """Morphology to follow-up: how much of a consultation is there?"""
    narrative = judged.narrative
    tally = _Tally(5.0)
    for topic, pattern in _TOPICS.items():
        if not pattern.search(judged.findings):
            tally.lose(0.5, f"The findings say nothing of the {topic}; describe it.")
    if not any(finding.origin != "typical" for finding in narrative.findings):
        tally.lose(0.5, "Nothing reported of this case is used; begin with age and site.")
    argued = sum(bool(entry.evidence_for and entry.evidence_against) for entry in judged.alternatives)
    if argued < 3:
        tally.lose((0.3, 0.9, 1.5)[2 - argued], f"{argued} alternatives are argued for and against; argue three.")
    if not re.search(r"warning sign|red flag", judged.findings, re.I):
        tally.lose(0.3, "Warning signs are not discussed; name them.")
    if not re.search(r"\byears\b", judged.findings):
        tally.lose(0.2, "The usual or reported age is not discussed; add it.")
    if len(narrative.limitations) < 2:
        tally.lose(0.4, "Limitations are thin; name what a photograph leaves open.")
    if len(narrative.next_step) < 40:
        tally.lose(0.5, f"'{narrative.next_step}' is no plan; say who should do what, and when.")
    return _blind(judged, tally)


def _reasoning_coherence(judged: _Judged) -> _Tally:
    """Do findings lead over the differential to the conclusion?"""
    tally = _Tally(4.8)
    end, favoured = judged.narrative.conclusion, judged.favoured
    if favoured is None:
        tally.lose(2.0, f"'{end.diagnosis}' is concluded but never weighed; put it into the differential.")
    elif not favoured.evidence_for:
        tally.lose(1.5, f"Nothing speaks for '{end.diagnosis}'; give the evidence.")
    if not judged.alternatives:
        tally.lose(1.5, "No alternative is weighed; a conclusion needs something to be preferred to.")
    for entry in [entry for entry in judged.alternatives if not entry.evidence_against][:2]:
        tally.lose(1.0, f"Nothing speaks against '{entry.diagnosis}'; say why it is less likely.")
    rivals = [entry for entry in judged.alternatives if favoured and _balance(entry) >= _balance(favoured)]
    for entry in rivals[:1]:
        tally.lose(1.0, f"'{entry.diagnosis}' has as much in its favour as '{end.diagnosis}'; weigh them openly.")
    if favoured and favoured.evidence_against:
        tally.lose(0.4, f"'{favoured.evidence_against[0]}' speaks against the conclusion; resolve it.")
    if end.diagnosis.casefold() not in end.rationale.casefold():
        tally.lose(0.5, f"The rationale does not name '{end.diagnosis}'; close the argument.")
    entries = judged.narrative.differential
    evidence = " ".join(text for entry in entries for text in (*entry.evidence_for, *entry.evidence_against))
    if len(_content(end.rationale) & _content(evidence)) < 4:
        tally.lose(0.8, f"'{end.rationale[:80]}' takes up none of the evidence; refer back to it.")
    if "reported" not in end.rationale and not judged.described:
        tally.lose(0.5, "The rationale uses nothing of this case; tie it to a reported fact.")
    return tally


def _description_precision(judged: _Judged) -> _Tally:
    """How exact are the terms of morphology and distribution?"""
    tally = _Tally(5.0)
    terms = {match.casefold() for match in _TERMS.findall(judged.findings)}
    if len(terms) < 12:
        points = min(4.0, 0.33 * (12 - len(terms)))
        tally.lose(points, f"{len(terms)} descriptive terms are used; name lesion, edge, colour and surface.")
    for match in list(_VAGUE.finditer(judged.findings))[:4]:
        tally.lose(0.8, f"'{match.group()}' is vague; use the term for it.")
    return _blind(judged, tally)


def _blind(judged: _Judged, tally: _Tally) -> _Tally:
    if not judged.described:
        why = "The image was not looked at and no morphology is reported, so three is the most."
        tally.lose((1 - BLIND_SHARE) * max(tally.score, 0.0), why)
    return tally


def _balance(entry: Differential) -> int:
    return len(entry.evidence_for) - len(entry.evidence_against)


def _tokens(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.casefold())) - _COMMON - {"the", "is", "as", "this", "for", "be", "to"}


@cache
def _card_words(card: KnowledgeCard) -> set[str]:
    return _content(json.dumps(card.model_dump(mode="json"), ensure_ascii=False))


def _content(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.casefold()) if word not in _COMMON}


_JUDGES: Mapping[str, tuple[Callable[[_Judged], _Tally], str]] = {
    "accuracy": (_accuracy, "The conclusion is that of the label; nothing to correct."),
    "safety": (_safety, "The next step fits the urgency; keep it."),
    "medical_groundedness": (_medical_groundedness, "Every statement has a source; keep it so."),
    "clinical_coverage": (_clinical_coverage, "All parts of a consultation are there; keep them."),
    "reasoning_coherence": (_reasoning_coherence, "Findings, differential and conclusion agree; keep the order."),
    "description_precision": (_description_precision, "Terms are exact; keep them."),
}
