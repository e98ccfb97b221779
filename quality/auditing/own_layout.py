"""The audit of a text in the narrative's own layout: what it says stands in fields, so nothing has to be read into it.

Its context may give what no photograph shows, and its differential says what speaks for what; both are held to by
:mod:`quality.checks`, whose faults are told here under the names of the audit's rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from quality.auditing.findings import RULES, Finding
from quality.auditing.narrative_text import NarrativeText, relation_of
from quality.checks import check_narrative
from quality.reading.conclusion import Conclusion
from schemas.narrative import Narrative
from schemas.taxonomy import Taxonomy

#: Rule of a check -> rule of the audit; claims beyond a photograph are told apart by their detail.
_SAME = {
    "not_entailed": "not_entailed",
    "certainty_beyond_label": "overconfident",
    "second_person": "second_person",
    "dose_or_prescription": "dose_or_prescription",
    "leaked_label_source": "leaked_hidden_fact",
    "leaked_hidden_fact": "leaked_hidden_fact",
    "boilerplate": "boilerplate",
}
_CLAIMS = {rule.partition(".")[2].replace("_", " "): rule for rule in RULES if rule.startswith("beyond_photograph.")}


def as_stated(read: NarrativeText, narrative: Narrative, taxonomy: Taxonomy) -> NarrativeText:
    """``read`` with the conclusion that the narrative's own fields state."""
    end = narrative.conclusion
    nodes = (end.taxonomy_id,) if end.taxonomy_id in taxonomy else ()
    conclusion = Conclusion(nodes, (end.diagnosis,), False, read.last, None)
    return replace(read, conclusion=conclusion, relation=relation_of(conclusion, read.label_node, taxonomy))


def own_layout_findings(read: NarrativeText, narrative: Narrative) -> Iterator[Finding]:
    """The faults of the checks, at the sentences that show them; what is certain is taken from the text itself."""
    raw = read.document.raw
    for fault in check_narrative(narrative, narrative.conclusion.certainty):
        rule = _SAME.get(fault.rule)
        if fault.rule == "photograph_cannot_show":
            rule = next((name for claim, name in _CLAIMS.items() if f"claims {claim}," in fault.detail), None)
        if rule is None:
            continue
        start = raw.find(fault.sentence)
        end = start + len(fault.sentence) if start >= 0 else len(raw)
        yield Finding(rule, RULES[rule][1], fault.sentence, max(start, 0), end, fault.detail)
