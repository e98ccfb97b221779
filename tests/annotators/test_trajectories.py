"""The kinds of trajectory: what each shows, over every card, and that a made-up first impression is always marked."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import polars as pl
import pytest

from annotators.rubric import evaluate
from annotators.standardise import standardise
from annotators.textbook import propose, trajectory_of
from quality.checks import check_narrative, singled_out
from schemas.config import Thresholds
from schemas.family_cards import knowledge
from schemas.narrative import Narrative, narrative_from_json
from schemas.tables import DIMENSIONS, TRAJECTORIES
from schemas.taxonomy import load_taxonomy
from tests.annotators.textbook_cases import SCHEMA, case, cases_of_every_card

TAXONOMY, CARDS = load_taxonomy(), knowledge()
CASES = cases_of_every_card(TAXONOMY, CARDS)
BY_ID = {row["case_id"]: row for row in CASES.iter_rows(named=True)}


def written(kind: str, cases: pl.DataFrame = CASES) -> pl.DataFrame:
    """One standardised narrative of one kind for each case; none may be rejected."""
    result = standardise(propose(cases, 1, TAXONOMY, CARDS, (kind,)).kept, cases, TAXONOMY)
    assert result.rejected.is_empty()
    assert result.kept.height == cases.height
    return result.kept


WRITTEN = {kind: written(kind) for kind in TRAJECTORIES}


def told(kind: str) -> list[tuple[dict[str, Any], Narrative]]:
    """Each case with its narrative of one kind; where nothing else comes to mind, none is revised."""
    rows = WRITTEN[kind].filter(pl.col("trajectory") == kind).select("case_id", "narrative_json").iter_rows()
    return [(BY_ID[case_id], narrative_from_json(text)) for case_id, text in rows]


def one(kind: str, **changes: Any) -> Narrative:
    frame = pl.DataFrame([case(**changes)], schema=SCHEMA)
    return narrative_from_json(written(kind, frame)["narrative_json"][0])


@pytest.mark.parametrize("kind", TRAJECTORIES)
def test_every_kind_passes_the_checks_and_concludes_with_its_label(kind: str) -> None:
    for row, narrative in told(kind):
        assert check_narrative(narrative, row["label_certainty"]) == [], row["case_id"]
        assert narrative.conclusion.taxonomy_id == row["node_id"] == singled_out(narrative), row["case_id"]
        assert narrative.conclusion.rationale.count(TAXONOMY.node(row["node_id"]).spoken), row["case_id"]
        dangers = set(CARDS[row["node_id"]].must_not_miss)
        argued = {entry.taxonomy_id for entry in narrative.weighed if entry.evidence_against}
        assert not dangers or dangers & argued, row["case_id"]


@pytest.mark.parametrize("kind", TRAJECTORIES)
def test_the_rubric_is_fair_to_every_kind(kind: str) -> None:
    limits = Thresholds().model_dump()
    scores = evaluate(WRITTEN[kind], CASES, TAXONOMY, CARDS).kept
    passed = scores.select(pl.all_horizontal(pl.col(name) >= limits[name] for name in DIMENSIONS)).to_series()
    assert passed.mean() > 0.95  # type: ignore[operator]
    assert scores["overall"].mean() == pytest.approx(4.08, abs=0.03)


def test_a_direct_text_argues_briefly_and_a_kept_one_its_rival_from_both_sides() -> None:
    at_length = 0
    for _, narrative in told("direct"):
        assert narrative.first_impression is None
        assert narrative.differential[0].taxonomy_id == narrative.conclusion.taxonomy_id
        assert len(narrative.differential) == 3
    for row, narrative in told("kept"):
        assert narrative.first_impression is None
        others = [entry for entry in narrative.differential if entry.taxonomy_id != row["node_id"]]
        assert len(others) == 3 or len(CARDS[row["node_id"]].differentials) < 3
        at_length += "A picture that would support it: " in " ".join(others[0].evidence_for)
        assert TAXONOMY.node(others[0].taxonomy_id).spoken.casefold() in narrative.conclusion.rationale.casefold()
    assert at_length > 0.75 * len(CASES)


def graver(rival: str, node: str) -> bool:
    """Whether giving up the rival could miss something worse than the diagnosis."""
    cancers = ("malignant", "in_situ")
    worse = TAXONOMY.node(rival).malignancy in cancers and TAXONOMY.node(node).malignancy not in cancers
    return worse or rival in CARDS[node].must_not_miss


def test_a_revised_text_gives_up_a_neighbour_in_the_graph_and_says_that_this_is_constructed() -> None:
    for row, narrative in told("revised"):
        first, card = narrative.first_impression, CARDS[row["node_id"]]
        assert first is not None
        edge = next(edge for edge in card.differentials if edge.node_id == first.taxonomy_id)
        assert not TAXONOMY.on_one_branch(first.taxonomy_id, row["node_id"])
        assert edge.argues_for in first.evidence_for[0]
        assert any(edge.discriminator[1:] in text for text in first.turned_by)
        assert first.taxonomy_id not in {entry.taxonomy_id for entry in narrative.differential}
        name = TAXONOMY.node(first.taxonomy_id).spoken
        assert [name in text and "constructed" in text for text in narrative.limitations].count(True) == 1
        assert name.casefold() in narrative.conclusion.rationale.casefold()
        assert not graver(first.taxonomy_id, row["node_id"]), row["case_id"]


def test_a_first_impression_claims_of_this_case_only_what_is_reported() -> None:
    for row, narrative in told("revised"):
        first = narrative.first_impression
        assert first is not None
        facts = [f"{row['age_years']:g} years", f"({row['site']})", "itching", "bleeding"]
        for text in (*first.evidence_for, *first.turned_by):
            if "reported" in text:
                assert any(fact in text.casefold() for fact in facts), text
        bare = one("revised", node_id=row["node_id"], age_years=None, sex=None, site=None, facts=[],
                   tone_observations=[], modality="unknown").first_impression  # fmt: skip
        assert bare is not None
        assert not any("reported" in text for text in (*bare.evidence_for, *bare.turned_by))


def test_where_nothing_else_would_come_to_mind_first_a_rival_is_kept_instead() -> None:
    rows = WRITTEN["revised"]
    kinds = rows.group_by(pl.col("case_id").str.ends_with("typical").alias("typical"), "trajectory").len()
    counted = {(typical, kind): n for typical, kind, n in kinds.iter_rows()}
    assert counted[True, "revised"] > 0.85 * len(CARDS)  # the others are mostly at an odd age or site
    assert {kind for _, kind in counted} == {"revised", "kept"}
    assert one("revised", node_id="vascular_lesion", site="leg", age_years=24.0).first_impression is None
    assert one("revised", node_id="vascular_lesion", site="lip", age_years=24.0).first_impression is not None


def test_reported_facts_turn_a_first_impression_where_they_tell_the_two_apart() -> None:
    warned = Counter[bool]()
    for number in range(12):
        grew = [{"key": "grew", "value": "True"}]
        growing = one("revised", facts=grew, site="foot", age_years=49.0, image_digests=[str(number)])
        first = growing.first_impression
        assert first is not None
        turned, benign = " ".join(first.turned_by), TAXONOMY.node(first.taxonomy_id).malignancy == "benign"
        region = "hands and feet" in CARDS[first.taxonomy_id].typical_sites
        assert ("The reported site (foot) lies outside the regions where" in turned) == (not region)
        assert ("Growth is reported, a warning sign for which melanoma is weighed before" in turned) == benign
        warned[benign] += 1
    assert len(warned) == 2
    still = one("revised", facts=[], site="back", age_years=60.0)
    assert still.first_impression is not None
    assert not any("reported" in text for text in still.first_impression.turned_by)
    assert "alike and decide nothing" in still.conclusion.rationale


def test_no_first_impression_tells_of_another_part_of_the_body_or_of_another_age() -> None:
    elsewhere = Counter[bool]()
    for number in range(30):
        first = one("revised", node_id="psoriasis", site="elbow", age_years=34.0, image_digests=[str(number)])
        assert first.first_impression is not None
        reason = first.first_impression.evidence_for[0]
        elsewhere[re.search(r"scalp|palm|sole|child|infant|nappy", reason) is not None] += 1
    assert elsewhere[True] == 0


def test_only_revised_rows_are_marked_synthetic() -> None:
    rows = propose(CASES, 3, TAXONOMY, CARDS).kept
    marks = rows.select("trajectory", "synthetic_trajectory").unique().sort("trajectory")
    assert marks.rows() == [(kind, kind == "revised") for kind in TRAJECTORIES]
    for text, kind in rows.select("completion", "trajectory").iter_rows():
        assert ("## First impression" in text) == (kind == "revised")


def test_candidates_take_the_kinds_in_turn_and_cases_begin_anywhere() -> None:
    rows = propose(CASES, 3, TAXONOMY, CARDS, ("direct", "kept", "kept")).kept
    for (_,), kinds in rows.group_by("case_id"):
        assert sorted(kinds["trajectory"]) == ["direct", "kept", "kept"]
    begun = rows.filter(pl.col("candidate") == 0).group_by("trajectory").len()
    share = dict(begun.select("trajectory", pl.col("len") / len(CASES)).iter_rows())
    assert share == pytest.approx({"direct": 1 / 3, "kept": 2 / 3}, abs=0.05)
    assert trajectory_of("0" * 64, 5, ("kept",)) == "kept"


def test_no_kind_is_chosen_for_most_cases() -> None:
    rows = standardise(propose(CASES, 3, TAXONOMY, CARDS).kept, CASES, TAXONOMY).kept
    scores = evaluate(rows, CASES, TAXONOMY, CARDS).kept.select("narrative_id", "overall")
    ranked = rows.join(scores, on="narrative_id").sort(["overall", "candidate"], descending=[True, False])
    of_each = ranked.filter(pl.col("trajectory").n_unique().over("case_id") == len(TRAJECTORIES))
    chosen = of_each.unique("case_id", keep="first", maintain_order=True)["trajectory"].value_counts()
    assert all(0.25 < n / chosen["count"].sum() < 0.42 for n in chosen["count"]), chosen
