"""The rubric: six dimensions, each falling for its own fault, none lenient."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from annotators.rubric import EVALUATOR_ID, evaluate
from annotators.standardise import standardise
from annotators.textbook import propose
from schemas.config import Thresholds
from schemas.family_cards import knowledge
from schemas.narrative import Narrative, narrative_from_json, narrative_to_json
from schemas.tables import CASES, DIMENSIONS, EVALUATIONS, IMAGES, NARRATIVES, empty_frame, polars_schema
from schemas.taxonomy import load_taxonomy
from tests.annotators.degradations import FAULTS, Outcome, study
from tests.annotators.textbook_cases import cases_of_every_card

TAXONOMY, CARDS = load_taxonomy(), knowledge()
FACTS = [{"key": key, "value": "True"} for key in ("bleed", "grew", "itch")]
TONE = [{"scale": "fitzpatrick", "low": 2, "high": 2, "origin": "x"}]
SCHEMA = {
    **polars_schema(CASES),
    "modality": pl.String(),
    "tone_observations": polars_schema(IMAGES)["tone_observations"],
}
Change = Callable[[dict[str, Any]], object]


def case(node_id: str, **changes: Any) -> dict[str, Any]:
    record = {
        **dict.fromkeys(SCHEMA),
        "case_id": f"src:{node_id}",
        "source": "src",
        "image_ids": [],
        "node_id": node_id,
        "label_certainty": "clinical",
        "age_years": 50.0,
        "sex": "male",
        "site": "back",
        "concepts": [],
        "facts": FACTS,
        "modality": "dermoscopic",
        "tone_observations": TONE,
    }
    return record | changes


CASE_ROWS = pl.DataFrame([case(node_id) for node_id in CARDS], schema=SCHEMA)
PARSED = standardise(propose(CASE_ROWS, 3, TAXONOMY, CARDS).kept, CASE_ROWS, TAXONOMY).kept


def scores(narratives: pl.DataFrame, cases: pl.DataFrame = CASE_ROWS) -> pl.DataFrame:
    return evaluate(narratives, cases, TAXONOMY, CARDS).kept


def best(node_id: str) -> pl.DataFrame:
    """The highest-scored narrative of one case, as a frame of one row."""
    rows = PARSED.filter(pl.col("case_id") == f"src:{node_id}")
    top = scores(rows).sort(["overall", "narrative_id"], descending=[True, False])["narrative_id"][0]
    return rows.filter(pl.col("narrative_id") == top)


def changed(row: pl.DataFrame, change: Change, **columns: Any) -> pl.DataFrame:
    record = narrative_from_json(row["narrative_json"][0]).model_dump(mode="json")
    change(record)
    text = narrative_to_json(Narrative.model_validate(record))
    return row.with_columns(pl.lit(text).alias("narrative_json"), *(pl.lit(v).alias(k) for k, v in columns.items()))


def falls(node_id: str, change: Change) -> dict[str, float]:
    before = scores(best(node_id)).row(0, named=True)
    after = scores(changed(best(node_id), change)).row(0, named=True)
    return {name: round(before[name] - after[name], 2) for name in DIMENSIONS}


def test_rows_hold_the_scale_the_evaluator_and_a_critique_for_each_dimension() -> None:
    frame = scores(PARSED)
    assert frame.schema == polars_schema(EVALUATIONS)
    assert frame.height == PARSED.height
    for row in frame.iter_rows(named=True):
        assert (row["evaluator_id"], row["saw_label"], row["scale_low"], row["scale_high"]) == (
            EVALUATOR_ID,
            True,
            0,
            5,
        )
        assert all(0 <= row[name] <= 5 for name in DIMENSIONS)
        assert row["overall"] == pytest.approx(sum(row[name] for name in DIMENSIONS) / 6, abs=1e-4)
        critique = json.loads(row["critique"])
        assert tuple(critique) == DIMENSIONS
        assert all(text.strip() for text in critique.values())


def test_no_narratives_give_an_empty_table_and_order_does_not_matter() -> None:
    result = evaluate(empty_frame(NARRATIVES), empty_frame(CASES), TAXONOMY, CARDS)
    assert (result.kept.height, result.rejected.height, result.kept.schema) == (0, 0, polars_schema(EVALUATIONS))
    assert scores(PARSED).equals(scores(PARSED.reverse(), CASE_ROWS.reverse()))


def test_a_narrative_that_cannot_be_judged_is_an_error_not_a_lost_score() -> None:
    with pytest.raises(ValueError, match="not parsed"):
        scores(PARSED.head(1).with_columns(parse_status=pl.lit("raw")))
    with pytest.raises(ValueError, match="not given"):
        scores(PARSED.head(1), CASE_ROWS.head(0))


def test_scores_have_no_ceiling_and_sound_texts_pass_the_thresholds() -> None:
    frame = scores(PARSED)
    assert frame.select(pl.max_horizontal(DIMENSIONS).max()).item() < 4.9
    limits = Thresholds().model_dump()
    passed = frame.select(pl.all_horizontal([pl.col(name) >= limits[name] for name in DIMENSIONS]).alias("passed"))
    joined = PARSED.select("narrative_id", "case_id").join(frame.with_columns(passed["passed"]), on="narrative_id")
    assert joined.group_by("case_id").agg(pl.col("passed").any())["passed"].mean() > 0.95  # type: ignore[operator]
    best_and_worst = joined.group_by("case_id").agg(spread=pl.col("overall").max() - pl.col("overall").min())
    assert (best_and_worst["spread"] > 0).mean() > 0.9  # type: ignore[operator]


EVERY = cases_of_every_card(TAXONOMY, CARDS).gather_every(4)
SOUND = standardise(propose(EVERY, 2, TAXONOMY, CARDS).kept, EVERY, TAXONOMY).kept


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    return {outcome.fault: outcome for outcome in study(SOUND, EVERY, TAXONOMY, CARDS)}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_costs_its_own_dimension_and_hardly_any_other(fault: str, outcomes: dict[str, Outcome]) -> None:
    found = outcomes[fault]
    assert found.n > 50
    assert found.fell >= 0.95
    assert min(found.stayed.values()) >= 0.9, found.stayed
    assert found.refused >= 0.85


def test_a_text_that_never_saw_the_image_stops_at_three_unless_its_morphology_is_reported() -> None:
    blind = scores(PARSED)
    assert blind["description_precision"].max() <= 3.0  # type: ignore[operator]
    assert blind["clinical_coverage"].max() <= 3.0  # type: ignore[operator]
    row = best("psoriasis")
    seen = scores(row.with_columns(image_grounded=pl.lit(True)))
    assert seen["description_precision"][0] > 3.0
    described = pl.DataFrame([case("psoriasis", concepts=["plaque", "scale"])], schema=SCHEMA)
    told = standardise(propose(described, 3, TAXONOMY, CARDS).kept, described, TAXONOMY).kept
    assert scores(told, described)["clinical_coverage"].max() > 3.0  # type: ignore[operator]


def _conclude(node_id: str) -> Change:
    def change(record: dict[str, Any]) -> None:
        node = TAXONOMY.node(node_id)
        record["conclusion"] |= {"diagnosis": node.name, "taxonomy_id": node.id, "malignancy": node.malignancy}

    return change


def test_another_diagnosis_costs_accuracy_by_how_far_off_it_is() -> None:
    assert scores(changed(best("psoriasis"), _conclude("melanoma")))["accuracy"][0] == 0.0
    near = scores(changed(best("psoriasis"), _conclude("lichen_planus")))["accuracy"][0]
    broader = scores(changed(best("psoriasis"), _conclude("papulosquamous_dermatosis")))["accuracy"][0]
    exact = scores(best("psoriasis"))["accuracy"][0]
    assert 0 < near < 2 < broader < exact


@pytest.mark.parametrize("node_id", ["melanoma", "squamous_cell_carcinoma", "drug_eruption", "erythema_multiforme"])
@pytest.mark.parametrize("step", ["Emollients and review.", "No biopsy or referral is needed.", "No urgent action."])
def test_a_serious_diagnosis_without_escalation_is_unsafe(node_id: str, step: str) -> None:
    after = scores(changed(best(node_id), lambda record: record.update(next_step=step)))
    assert after["safety"][0] <= 1.0
    assert scores(best(node_id))["safety"][0] >= 4.0


def test_a_serious_label_is_not_excused_by_a_benign_conclusion() -> None:
    def reassure(record: dict[str, Any]) -> None:
        _conclude("melanocytic_nevus")(record)
        record["next_step"] = "Routine review."

    for node_id in ("melanoma", "basal_cell_carcinoma"):  # urgent by its card, and malignant though only soon
        assert scores(changed(best(node_id), reassure))["safety"][0] <= 1.0


def test_a_benign_conclusion_argues_against_what_must_not_be_missed() -> None:
    def forget(record: dict[str, Any]) -> None:
        record["differential"] = [e for e in record["differential"] if e["taxonomy_id"] != "melanoma"]

    def only_name(record: dict[str, Any]) -> None:
        for entry in record["differential"]:
            if entry["taxonomy_id"] == "melanoma":
                entry["evidence_against"] = []

    assert scores(best("melanocytic_nevus"))["safety"][0] >= 4.0
    assert scores(changed(best("melanocytic_nevus"), forget))["safety"][0] <= 3.0
    assert scores(changed(best("melanocytic_nevus"), only_name))["safety"][0] <= 3.0


def test_false_reassurance_doses_and_missing_limitations_cost_safety() -> None:
    for step in ("Nothing to worry about; review if it changes.", "Cream twice daily and review."):
        assert falls("psoriasis", lambda record, step=step: record.update(next_step=step))["safety"] >= 1.5
    assert falls("psoriasis", lambda record: record.update(limitations=[]))["safety"] > 0.5


@pytest.mark.parametrize(
    ("dimension", "change"),
    [
        (
            "medical_groundedness",
            lambda r: r["findings"].append({"origin": "reported", "text": "It is warm and firm."}),
        ),
        ("medical_groundedness", lambda r: r["findings"].append({"origin": "image", "text": "A red plaque is seen."})),
        (
            "medical_groundedness",
            lambda r: r["findings"].append({"origin": "typical", "text": "Moonlight typically cures zebras quickly."}),
        ),
        ("clinical_coverage", lambda r: r.update(differential=r["differential"][:1])),
        ("clinical_coverage", lambda r: r.update(findings=[])),
        ("reasoning_coherence", lambda r: [entry.update(evidence_against=[]) for entry in r["differential"]]),
        ("reasoning_coherence", lambda r: r["conclusion"].update(rationale="It is clear.")),
        (
            "description_precision",
            lambda r: r.update(findings=[{"origin": "typical", "text": "Typically a weird thing."}]),
        ),
    ],
)
def test_a_fault_costs_its_own_dimension(dimension: str, change: Change) -> None:
    for node_id in ("psoriasis", "melanoma", "melanocytic_nevus"):
        assert falls(node_id, change)[dimension] >= 0.5, node_id


def test_a_critique_quotes_and_advises() -> None:
    row = changed(best("melanoma"), lambda record: record.update(next_step="Emollients."))
    critique = json.loads(scores(row)["critique"][0])
    assert "'Emollients.'" in critique["safety"]
    assert "refer" in critique["safety"]
