"""The audit of free-form texts: every rule fires on what it names, spares its near miss, and points into the text."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality.audit import FINDINGS, TEXTS, audit, audit_text
from quality.auditing.findings import RULES
from quality.auditing.whole_set import EvaluationSets, set_findings
from schemas.narrative import Narrative, render_tagged
from schemas.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
SEEN = "Red, scaly plaques with a sharp border and silvery scale lie on the elbows."
PSORIASIS = "In conclusion, this is most consistent with psoriasis."


def rules(text: str, label: str | None = None, image: str | None = None) -> set[str]:
    match = TAXONOMY.match(label)
    found = audit_text(text, match.node_id, TAXONOMY, match.qualifiers, image)
    for one in found:
        assert 0 <= one.start < one.end <= len(text)
        assert one.rule in RULES
        assert text[one.start : one.end].strip()
    return {one.rule for one in found}


def said(sentence: str, end: str = PSORIASIS) -> str:
    return f"{SEEN} {sentence}\n\n{end}"


#: rule, a text that breaks it, a near miss.
CASES = [
    ("unbalanced_tags", f"<think>{SEEN}\n\n{PSORIASIS}", f"<think>{SEEN}</think>\n\n{PSORIASIS}"),
    ("several_think_blocks", f"<think>{SEEN}</think> <think>It is sharp.</think> {PSORIASIS}",
     f"<think>{SEEN} It is sharp.</think> {PSORIASIS}"),
    ("no_conclusion", f"{SEEN} Psoriasis is a chronic disease.", said("")),
    ("second_conclusion_differs",
     f"{SEEN} It is red. It is dry.\n\nConclusion: the diagnosis is lichen planus.\n\n{PSORIASIS}",
     f"{SEEN} It is red. It is dry.\n\nConclusion: the diagnosis is plaque psoriasis.\n\n{PSORIASIS}"),
    ("several_diagnoses", said("", "In conclusion, the diagnosis is psoriasis or lichen planus."), said("")),
    ("forced_conclusion", said("As the expected answer is psoriasis, the rest follows."), said("The scale is thick.")),
    ("forced_conclusion", said("The findings do not fit psoriasis."), said("The findings do not fit ringworm.")),
    ("forced_conclusion", said("It strongly suggests lichen planus."), said("It strongly suggests psoriasis.")),
    ("forced_conclusion", said("Psoriasis shows silvery scale, though it is not visible here."),
     said("Psoriasis shows silvery scale, and it is visible here.")),
    ("not_entailed",
     f"{SEEN} The shape suggests lichen planus.\n\nThe colour indicates lichen planus.\n\n{PSORIASIS}",
     f"{SEEN} The shape suggests psoriasis.\n\nThe colour indicates psoriasis.\n\n{PSORIASIS}"),
    ("nothing_singled_out", said(""), f"{SEEN} The scale suggests psoriasis.\n\n{PSORIASIS}"),
    ("overconfident", said("The scale confirms the diagnosis."), said("A biopsy would confirm the diagnosis.")),
    ("very_uncertain", f"{SEEN} There is not enough information to say more, and I cannot diagnose it.", said("")),
    ("refusal", "I'm sorry, but I can't assist with that.", said("I cannot provide a definitive diagnosis.")),
    ("not_skin", "The picture shows a text message. No skin can be judged.", said("The picture shows an arm.")),
    ("not_skin", "The image does not show any skin.", said("The image does not show any vesicles.")),
    ("empty_observation", "The case was looked at with care. In conclusion, this is psoriasis.", said("")),
    ("beyond_photograph.palpation", said("The lesion is firm to the touch."), said("The lesion has a firm outline.")),
    ("beyond_photograph.temperature", said("The skin is warm to the touch."), said("Warm colours prevail.")),
    ("beyond_photograph.pain", said("The lesion is tender."), said("Herpes zoster is painful.")),
    ("beyond_photograph.pain", said("There is no pain."), said("No pain is mentioned.")),
    ("beyond_photograph.itch", said("The scratches confirm significant itching."),
     said("Eczema usually causes intense itching.")),
    ("beyond_photograph.bleeding", said("The growth bleeds easily."), said("It might bleed when it is scratched.")),
    ("beyond_photograph.growth_or_change", said("Its rapid growth is striking."),
     said("Ask about rapid growth if it returns.")),
    ("beyond_photograph.duration_or_onset", said("The acute onset fits."), said("The onset is not stated.")),
    ("beyond_photograph.family_or_past_illness", said("The patient has a history of hay fever."),
     said("The history is unknown.")),
    ("beyond_photograph.treatment", said("It did not respond to steroids."), said("Steroids are a treatment.")),
    ("beyond_photograph.what_a_patient_said", said("The patient reports nothing else."),
     said("The picture tells no more.")),
    ("beyond_photograph.laboratory_or_histology", said("A biopsy showed acanthosis."), said("A biopsy may be done.")),
    ("beyond_photograph.systemic_symptoms", said("The absence of systemic symptoms helps."),
     said("Systemic symptoms are not mentioned.")),
    ("caption_talk", said("The description names no other place."), said("No other place is seen.")),
    ("leaked_hidden_fact", said("Given the ground truth, this fits."), said("Given the scale, this fits.")),
    ("leaked_hidden_fact", said("The file IMG_2041.jpg shows it."), said("The figure shows it.")),
    ("second_person", said("You have had this for a while."), said('The question was "What is wrong with my skin?"')),
    ("patient_advice", said("Please consult a dermatologist."), said("Contact dermatitis lacks such scale.")),
    ("dose_or_prescription", said("Take 10 mg twice daily."), said("A doctor may prescribe an ointment.")),
    ("boilerplate", said("It is important to note that skin varies."), said("It varies in colour.")),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "broken", "spared"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
def test_each_rule_finds_its_fault_and_spares_the_near_miss(rule: str, broken: str, spared: str) -> None:
    assert rule in rules(broken)
    assert rule not in rules(spared)


@pytest.mark.parametrize(
    ("label", "rule"),
    [("psoriasis", None), ("lichen planus", "contradicts_label"), ("nail psoriasis", "broader_than_label"),
     ("papulosquamous dermatosis", "finer_than_label"), ("no such thing", None)],
)  # fmt: skip
def test_the_conclusion_is_held_against_the_label(label: str, rule: str | None) -> None:
    against = {"contradicts_label", "sibling_of_label", "broader_than_label", "finer_than_label"}
    assert rules(said(""), label) & against == ({rule} if rule else set())


def test_forms_of_one_disease_are_siblings() -> None:
    text = said("", "In conclusion, this is most consistent with guttate psoriasis.")
    assert "sibling_of_label" in rules(text, "nail psoriasis")
    assert "sibling_of_label" not in rules(text, "psoriasis")


def test_a_label_named_only_to_be_ruled_out_is_no_agreement() -> None:
    assert "label_only_ruled_out" in rules(said("Lichen planus is unlikely."), "lichen planus")
    assert "label_only_ruled_out" not in rules(said("Ringworm is unlikely."), "lichen planus")
    both = said("The edge suggests lichen planus. Lichen planus is unlikely.")
    assert "label_only_ruled_out" not in rules(both, "lichen planus")


@pytest.mark.parametrize(
    ("label", "seen", "flagged"),
    [("tinea cruris", "The fingers are red. The knuckles are scaly.", True),
     ("tinea cruris", "The groin is red. The inner thigh is scaly.", False),
     ("tinea cruris", "The skin is red and scaly.", False),
     ("eczema foot", "The palm is red. The fingers peel.", True),
     ("eczema foot", "The sole is red. The toes peel.", False),
     ("eczema", "The palm is red. The fingers peel.", False),
     ("tinea cruris", "On the other hand the border is sharp. On the one hand it is red.", False),
     ("perioral dermatitis", "The face is red. Papules lie on the forehead. The brow is red.", True),
     ("perioral dermatitis", "The face is red. Papules lie round the mouth and on the chin.", False)],
)  # fmt: skip
def test_the_site_described_must_be_one_that_the_label_allows(label: str, seen: str, flagged: bool) -> None:
    text = f"{seen}\n\nIn conclusion, this is most consistent with eczema."
    assert ("site_mismatch" in rules(text, label)) is flagged


def test_the_name_of_the_picture_is_a_leak() -> None:
    assert "leaked_hidden_fact" in rules(said("So scalp-case-17 shows."), image="scalp-case-17.jpg")
    assert "leaked_hidden_fact" not in rules(said("So the scalp shows."), image="scalp-case-17.jpg")


@pytest.mark.parametrize("text", ["", "  \n", "***", "x" * 200_001])
def test_what_cannot_be_read_is_a_finding(text: str) -> None:
    assert [one.rule for one in audit_text(text, None, TAXONOMY)] == ["unreadable_text"]


STRANGE = st.one_of(
    st.text(max_size=400),
    st.lists(
        st.sampled_from(
            ["<think>", "</think>", "<answer>", "**psoriasis**", "\u05e9\u05dc\u05d5\u05dd", "\u202eabc", "\x00", "<b>",
             "&amp;", '{"a": 1}', "1.", "- ", "# Head\n", "the groin", "you", "not", "consistent with", ".", "\r\n",
             "\n\n",
             "no pain", "\ud800", "I cannot diagnose", "eczema or acne", "\u00df\u0130"]
        ), max_size=60,
    ).map(" ".join),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(STRANGE, st.sampled_from(["tinea cruris", "psoriasis", None, "nothing known"]))
def test_no_text_stops_the_audit_and_offsets_stay_inside(text: str, label: str | None) -> None:
    match = TAXONOMY.match(label)
    for one in audit_text(text, match.node_id, TAXONOMY, match.qualifiers):
        assert 0 <= one.start <= one.end <= len(text)


def frame(*texts: str) -> pl.DataFrame:
    rows = [(f"t{n}", "psoriasis", text, f"p{n}.jpg") for n, text in enumerate(texts)]
    return pl.DataFrame(rows, schema={name: pl.String for name in ("id", "label", "text", "image_name")}, orient="row")


def test_tables_have_their_schemas_even_when_empty() -> None:
    none = audit(frame(), TAXONOMY)
    assert (none.findings.schema, none.texts.schema) == (FINDINGS, TEXTS)
    some = audit(frame(said(""), "", said("", "The diagnosis is lichen planus.")), TAXONOMY)
    assert (some.findings.schema, some.texts.schema, len(some.signatures)) == (FINDINGS, TEXTS, 3)
    assert some.texts["relation"].to_list() == ["agree", "absent", "contradiction"]
    assert some.texts["certainty"].to_list() == ["hedged", None, "certain"]
    assert some.texts["concluded"].to_list()[0] == ["psoriasis"]


def found_in_set(*texts: str, evaluation: EvaluationSets | None = None) -> dict[str, list[str]]:
    made = audit(frame(*texts), TAXONOMY)
    rows = set_findings(made.texts, made.signatures, evaluation)
    return {rule: rows.filter(pl.col("rule") == rule)["id"].to_list() for rule in rows["rule"].unique()}


def test_duplicates_are_found_and_different_texts_are_not() -> None:
    long = " ".join(f"Sentence {n} tells of plaque {n * n} near spot {n + 3}." for n in range(60))
    other = " ".join(f"Here patch {n} is number {n * 7} of all, and pale." for n in range(60))
    found = found_in_set(long, other, long, long.replace("Sentence 7 tells", "Sentence 7 speaks"))
    assert found == {"exact_duplicate": ["t2"], "near_duplicate_text": ["t3"]}


def test_unusual_lengths_and_layouts_stand_out() -> None:
    usual = [f"{SEEN} {'It is red. ' * (n % 7 + 5)}{PSORIASIS}" for n in range(30)]
    found = found_in_set(*usual, f"<think>{'It is red. ' * 8}</think> {SEEN} {PSORIASIS}", "It is red. " * 900)
    assert found["length_outlier"] == ["t31"]
    assert found["layout_drift"] == ["t30"]
    assert "length_outlier" not in found_in_set(*usual)


def test_what_an_evaluation_set_lists_is_told() -> None:
    digest = audit(frame(said("")), TAXONOMY).texts["text_digest"][0]
    listed = EvaluationSets({"p1": "bench/p1.png"}, {digest: "bench/text"})
    found = found_in_set(said(""), said("It is red."), said("It is pale."), evaluation=listed)
    assert found["in_evaluation_set"] == ["t0", "t1"]
    assert "in_evaluation_set" not in found_in_set(said(""), evaluation=EvaluationSets())


def own(**changes: object) -> str:
    record = {
        "context_used": ["itch: yes"],
        "findings": [{"origin": "reported", "text": "Itch is reported."}],
        "differential": [
            {"diagnosis": "Psoriasis", "taxonomy_id": "psoriasis", "evidence_for": ["Scale."], "evidence_against": []}
        ],
        "conclusion": {
            "diagnosis": "Psoriasis",
            "taxonomy_id": "psoriasis",
            "malignancy": "not_neoplastic",
            "certainty": "clinical",
            "rationale": "The patient itches, and scale speaks for it.",
        },
        "limitations": [],
        "next_step": "Referral to a dermatologist.",
    }
    return render_tagged(Narrative.model_validate(record | changes))


def test_a_text_in_our_own_layout_is_held_to_what_its_fields_state() -> None:
    assert audit_text(own(), "psoriasis", TAXONOMY) == []
    [found] = audit_text(own(), "melanoma", TAXONOMY)
    assert found.rule == "contradicts_label"
    text = own(context_used=[])
    found = {one.rule: one for one in audit_text(text, "psoriasis", TAXONOMY)}
    claim = found["beyond_photograph.itch"]
    assert text[claim.start : claim.end] == claim.sentence
