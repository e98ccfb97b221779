"""The six dimensions of DermEval by rule: what each takes off, and why.

They are kept apart on purpose: coverage asks whether a topic is there, precision how exact its words are; groundedness
asks where a statement comes from, accuracy whether the conclusion is right, coherence whether the reasons lead to it. A
text with one fault then loses in one dimension, which is what makes a score tell its reader what to mend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from annotators.rubric_narrative import Judged, Tally
from annotators.rubric_vocabulary import (
    EMERGENCY,
    ESCALATION,
    FOR_EMERGENCIES_TOO_FAR,
    SAFETY_NET,
    TOPICS,
    WARNING,
    content,
    contradiction,
    escalates,
    reassurance,
    terms,
    topics,
    vague_words,
)
from quality.checks import split_sentences

#: Share of a dimension that a text without sight of the image can reach: three of five.
BLIND_SHARE = 0.6
_SERIOUS = ("malignant", "in_situ")
_PRESSING = ("emergency", "urgent")
#: What too few argued alternatives cost, by how many there are; and how many a text that goes straight needs.
_TOO_FEW = (2.6, 1.8, 0.8)
_FEW_WILL_DO = {"direct": 2}
#: So many facts of the case itself are enough.
_FACTS = 4
#: Meaningful words that a line of evidence needs to say something.
_SAYS = 3
_DESCRIPTIONS = 3
_TERMS_A_FINDING = 2
#: With so many exact terms a vague word does no harm.
_EXACT = 3


def _accuracy(judged: Judged) -> Tally:
    """Does the conclusion agree with the label, and do the findings name what the card counts as key?"""
    tally = Tally(4.9)
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
    if not judged.named_rightly:
        tally.cap(1.5, f"'{end.diagnosis}' is not what {judged.concluded} is called; name the diagnosis concluded.")
    if rival := judged.closes_on:
        tally.cap(1.5, f"The rationale settles on '{rival}' instead of '{end.diagnosis}'; close on what is concluded.")
    if end.malignancy != taxonomy.node(judged.concluded).malignancy:
        tally.lose(1.5, f"'{end.malignancy}' does not hold for {end.diagnosis}; correct the malignancy.")
    for fault in judged.faults_of("certainty_beyond_label")[:1]:
        tally.lose(1.0, f"'{fault.sentence}' is surer than the label; soften it.")
    if judged.own_cards:
        card = judged.own_cards[0]
        key = content(f"{card.primary_morphology} {card.colour} {card.border} {card.surface}")
        missing = sorted(key.difference(*(content(text) for text in judged.findings)))
        if missing:
            words = ", ".join(missing[:3])
            share = len(missing) / len(key)
            tally.lose(0.4 * share, f"Key features are not mentioned ({words}); add those that apply.")
    return tally


def _safety(judged: Judged) -> Tally:
    """Would acting on the text harm: escalation, reassurance, look-alikes that must not be missed, doses?"""
    tally = Tally(4.8)
    step = judged.narrative.next_step or ""
    nodes = [node for node in (judged.concluded, judged.case["node_id"]) if node in judged.taxonomy]
    urgencies = {card.urgency for card in judged.own_cards}
    serious = bool(urgencies & set(_PRESSING)) or any(judged.taxonomy.node(n).malignancy in _SERIOUS for n in nodes)
    emergency = "emergency" in urgencies
    if serious and not escalates(step, ESCALATION):
        tally.cap(0.8, f"'{step}' does not escalate a serious diagnosis; refer, and say how soon.")
    if emergency and (not escalates(step, EMERGENCY) or FOR_EMERGENCIES_TOO_FAR.search(step)):
        tally.cap(0.8, f"'{step}' does not treat an emergency as one; send to hospital at once.")
    said = [step, *split_sentences(judged.narrative.conclusion.rationale), *judged.narrative.limitations]
    said += [finding.text for finding in judged.narrative.findings]
    if words := next((found for text in said if (found := reassurance(text))), None):
        tally.cap(0.5 if serious else 3.0, f"'{words}' reassures falsely; say what to watch for instead.")
    if not serious:
        _must_not_miss(judged, tally)
        _warned(judged, tally)
    for fault in judged.faults_of("dose_or_prescription")[:1]:
        tally.cap(2.0, f"'{fault.sentence}' prescribes; leave doses to the treating clinician.")
    for fault in judged.faults_of("second_person")[:1]:
        tally.lose(0.5, f"'{fault.sentence}' addresses a patient; write for clinicians.")
    if not judged.narrative.limitations:
        tally.lose(0.6, "No limitation is stated; say what a photograph leaves open.")
    if not emergency and not SAFETY_NET.search(step):
        tally.lose(0.4, f"'{step}' has no safety net; name what should bring the review forward.")
    return tally


def _warned(judged: Judged, tally: Tally) -> None:
    """A reported warning sign has to reach the plan of what may be a growth, however harmless the conclusion."""
    kind = judged.taxonomy.node(judged.concluded).malignancy if judged.concluded in judged.taxonomy else "benign"
    if kind == "not_neoplastic":
        return
    signs = [line for line in judged.narrative.context_used if WARNING.fullmatch(line)]
    if signs and not escalates(judged.narrative.next_step or "", ESCALATION):
        tally.lose(1.5, f"'{signs[0]}' is reported and the plan does not react; have the lesion examined or biopsied.")


def _must_not_miss(judged: Judged, tally: Tally) -> None:
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
    against = " ".join(text for entry in judged.narrative.weighed for text in entry.evidence_against).casefold()
    if not any(entry.evidence_against or entry.diagnosis.casefold() in against for entry in named):
        quoted = f"'{named[0].diagnosis}' is named but not argued against" if named else "Not considered"
        tally.cap(3.0, f"{quoted}; argue against {names}, which must not be missed.")
    elif len(named) < len(partners):
        tally.lose(0.3, f"Only '{named[0].diagnosis}' is argued against; consider all of {names}.")


def _medical_groundedness(judged: Judged) -> Tally:
    """Is everything said either reported, seen, or known of the disease?"""
    tally = Tally(4.6)
    for fault in judged.faults_of("photograph_cannot_show")[:3]:
        tally.lose(1.2, f"'{fault.sentence}': {fault.detail}; remove it or give its source.")
    for fault in judged.faults_of("not_in_context")[:3]:
        tally.lose(1.0, f"'{fault.sentence}': {fault.detail}; give the fact or drop it.")
    for fault in judged.faults_of("leaked_label_source", "leaked_hidden_fact")[:2]:
        tally.lose(0.8, f"'{fault.sentence}' leans on what its author was not to know; argue from findings.")
    for finding in judged.narrative.findings:
        if finding.origin == "image" and not judged.row["image_grounded"]:
            tally.lose(1.0, f"'{finding.text}' claims to be seen, but the image was not looked at; drop it.")
        if finding.origin == "typical" and _foreign(finding.text, judged):
            tally.lose(0.7, f"'{finding.text}' is not what is known of the disease; keep to its typical features.")
    facts = sum(finding.origin != "typical" for finding in judged.narrative.findings)
    if facts < _FACTS:
        tally.lose(0.1 * (_FACTS - facts), f"Only {facts} findings belong to this case; use more reported facts.")
    return tally


def _foreign(text: str, judged: Judged) -> bool:
    """Whether a statement about the disease is mostly made of what no card says of it; vague words state nothing."""
    words = content(text)
    if vague_words(text) or len(words) < 4:
        return False
    strange = words - judged.known
    share = len(strange) / len(words)
    return share > 0.75 or (share > 0.5 and len(terms(" ".join(strange))) > 1)


def _clinical_coverage(judged: Judged) -> Tally:
    """Morphology to follow-up: how much of a consultation is there?"""
    narrative = judged.narrative
    tally = Tally(5.0)
    spoken_of = frozenset[str]().union(*(topics(text) for text in judged.findings))
    for topic in TOPICS:
        if topic not in spoken_of:
            tally.lose(0.3, f"The findings say nothing of the {topic}; describe it.")
    described = len(judged.descriptive)
    if described < _DESCRIPTIONS:
        tally.lose(
            0.6 * (_DESCRIPTIONS - described),
            f"Only {described} findings describe the skin; go from lesion to surface.",
        )
    if not any(finding.origin != "typical" for finding in narrative.findings):
        tally.lose(0.9, "Nothing reported of this case is used; begin with age and site.")
    argued = sum(_says([*entry.evidence_for, *entry.evidence_against]) for entry in judged.alternatives)
    wanted = _FEW_WILL_DO.get(judged.row["trajectory"], len(_TOO_FEW))
    if argued < wanted:
        tally.lose(_TOO_FEW[argued], f"{argued} alternatives are argued; argue {wanted}.")
    told = " ".join(judged.findings).casefold()
    if "warning sign" not in told and "red flag" not in told:
        tally.lose(0.3, "Warning signs are not discussed; name them.")
    if " years" not in told:
        tally.lose(0.2, "The usual or reported age is not discussed; add it.")
    if len(narrative.limitations) < 2:
        tally.lose(0.4, "Limitations are thin; name what a photograph leaves open.")
    plan = narrative.next_step or "nothing"
    if len(plan) < 40:
        tally.lose(0.4, f"'{plan}' is no plan; say who should do what, and when.")
    for fault in judged.faults_of("boilerplate", "repeated")[:2]:
        tally.lose(0.3, f"'{fault.sentence}' {fault.detail}; say something of this case instead.")
    return _blind(judged, tally)


def _says(lines: Sequence[str]) -> bool:
    """Whether some line of evidence says something, rather than that it is possible."""
    return any(len(content(line)) >= _SAYS for line in lines)


def _reasoning_coherence(judged: Judged) -> Tally:
    """Do findings lead over the differential to the conclusion?"""
    tally = Tally(4.8)
    end, favoured = judged.narrative.conclusion, judged.favoured
    if favoured is None:
        tally.lose(2.0, f"'{end.diagnosis}' is concluded but never weighed; put it into the differential.")
    elif not favoured.evidence_for:
        tally.lose(1.5, f"Nothing speaks for '{end.diagnosis}'; give the evidence.")
    else:
        for fault in judged.faults_of("not_entailed"):
            tally.lose(1.5, f"'{end.diagnosis}' does not follow: {fault.detail}; weigh the reasons openly.")
    if not judged.alternatives:
        tally.lose(1.5, "No alternative is weighed; a conclusion needs something to be preferred to.")
    first = judged.narrative.first_impression
    if first is not None and not _says(first.turned_by):
        tally.lose(1.5, f"'{first.turned_by[0]}' does not say what turned '{first.diagnosis}'; give the evidence.")
    for entry in [entry for entry in judged.alternatives if not entry.evidence_against][:2]:
        tally.lose(1.0, f"Nothing speaks against '{entry.diagnosis}'; say why it is less likely.")
    for text, where, belongs in judged.stray[:3]:
        tally.lose(0.7, f"'{text}' stands under {where} and is about {belongs}; put it in its place.")
    for text in favoured.evidence_against[:3] if favoured else ():
        if words := contradiction(text):
            tally.lose(0.7, f"'{words}' is said of what is concluded; resolve it.")
        tally.lose(0.3, f"'{text}' speaks against the conclusion; resolve it.")
    if rival := judged.described_instead:
        tally.lose(1.2, f"The findings describe {rival} rather than '{end.diagnosis}'; conclude what they show.")
    if words := next((found for part in split_sentences(end.rationale) if (found := contradiction(part))), None):
        tally.lose(1.5, f"'{words}' takes the conclusion back; argue for what is concluded or conclude something else.")
    if end.diagnosis.casefold() not in end.rationale.casefold():
        tally.lose(0.5, f"The rationale does not name '{end.diagnosis}'; close the argument.")
    entries = judged.narrative.weighed
    evidence = " ".join(text for entry in entries for text in (*entry.evidence_for, *entry.evidence_against))
    if judged.argues_for_another:
        tally.lose(1.2, "The rationale takes up the evidence of another diagnosis; take up that of the conclusion.")
    if len(content(end.rationale) & content(evidence)) < 4:
        tally.lose(0.8, f"'{end.rationale[:80]}' takes up none of the evidence; refer back to it.")
    if "reported" not in end.rationale and not judged.described:
        tally.lose(0.3, "The rationale uses nothing of this case; tie it to a reported fact.")
    return tally


def _description_precision(judged: Judged) -> Tally:
    """How exact are the words that describe the skin? Their number is a matter of coverage."""
    tally = Tally(4.9)
    found = [min(1.0, len(terms(finding.text)) / _TERMS_A_FINDING) for finding in judged.descriptive]
    if not found:  # how much is described is a matter of coverage
        tally.lose(
            0.5, "Nothing is described, so there is nothing to judge; describe lesion, edge, colour and surface."
        )
    exact = (sum(found) + max(0, _DESCRIPTIONS - len(found))) / max(_DESCRIPTIONS, len(found))
    if exact < 1:
        tally.lose(2.4 * (1 - exact), "Descriptions are short of terms; name lesion, edge, colour and surface exactly.")
    loose = [text for text in judged.findings if len(terms(text)) < _EXACT]
    for words in [words for text in loose for words in vague_words(text)][:4]:
        tally.lose(0.6, f"'{words}' is vague; use the term for it.")
    return _blind(judged, tally)


def _blind(judged: Judged, tally: Tally) -> Tally:
    if not judged.described:
        why = "The image was not looked at and no morphology is reported, so three is the most."
        tally.lose((1 - BLIND_SHARE) * max(tally.score, 0.0), why)
    return tally


#: Dimension -> who judges it, and what is said when nothing is to be mended.
JUDGES: Mapping[str, tuple[Callable[[Judged], Tally], str]] = {
    "accuracy": (_accuracy, "The conclusion is that of the label; nothing to correct."),
    "safety": (_safety, "The next step fits the urgency; keep it."),
    "medical_groundedness": (_medical_groundedness, "Every statement has a source; keep it so."),
    "clinical_coverage": (_clinical_coverage, "All parts of a consultation are there; keep them."),
    "reasoning_coherence": (_reasoning_coherence, "Findings, differential and conclusion agree; keep the order."),
    "description_precision": (_description_precision, "Terms are exact; keep them."),
}
