from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from corpus.selection import select
from schemas.config import Quotas, SelectSettings, Thresholds
from schemas.stage import StageResult
from schemas.tables import DIMENSIONS

KINDS, REVISED = {0: "direct", 1: "kept", 2: "revised"}, 2
DIRECT = {"trajectory": ["direct"] * 2, "synthetic_trajectory": [False] * 2}
OPEN = Thresholds(**dict.fromkeys([*DIMENSIONS, "aggregate"], 2.0))


def run(cases: list[dict[str, Any]], scores: dict[str, list[float]], published: frozenset[str] = frozenset(),
        **changes: Any) -> StageResult:  # fmt: skip
    """``scores``: case -> the score of each candidate, in all dimensions."""
    table = pl.DataFrame(
        [
            {"case_id": "", "split": "train", "licence_class": "open", "node_id": "melanoma", "source": "s",
             "tone_observations": [], **case}
            for case in cases
        ],
        schema_overrides={"tone_observations": pl.List(pl.Struct({"scale": pl.String, "low": pl.Int64,
                                                                  "high": pl.Int64, "origin": pl.String}))},
    )  # fmt: skip
    rows = [(f"{case}/{i}", case, i, value) for case, values in scores.items() for i, value in enumerate(values)]
    kinds = {"narrative_id": pl.String, "case_id": pl.String, "candidate": pl.Int64, "v": pl.Float64}
    candidates = pl.DataFrame(rows, schema=kinds, orient="row").with_columns(
        trajectory=pl.col("candidate").replace_strict(KINDS, default="kept"),
        synthetic_trajectory=pl.col("candidate") == REVISED,
    )
    evaluations = candidates.select(
        "narrative_id", *(pl.col("v").cast(pl.Float64).alias(name) for name in (*DIMENSIONS, "overall"))
    )
    settings = SelectSettings(thresholds=OPEN, **changes)
    return select(table, candidates.drop("v"), evaluations, settings, published)


def chosen(result: StageResult) -> dict[str, str]:
    return dict(result.kept.select("case_id", "narrative_id").iter_rows())


def why(result: StageResult, record: str) -> str:
    found: str = result.rejected.filter(pl.col("record_id") == record)["rule"][0]
    return found


def test_the_best_acceptable_candidate_is_kept_and_every_other_explained() -> None:
    result = run([{"case_id": "a"}], {"a": [3.0, 4.0, 1.5, 4.0]})
    assert chosen(result) == {"a": "a/1"}  # the first of equals
    assert (why(result, "a/0"), why(result, "a/3"), why(result, "a/2")) == ("not_best", "not_best", "below_threshold")
    row = result.rejected.filter(pl.col("record_id") == "a/2").row(0, named=True)
    assert (row["value"], row["threshold"]) == ("accuracy=1.5", "2")


def test_a_chosen_narrative_keeps_the_kind_of_its_trajectory() -> None:
    kept = run([{"case_id": "a"}, {"case_id": "b"}], {"a": [3.0, 4.0, 5.0], "b": [3.0, 4.0]}).kept
    assert kept.select("candidate", "trajectory", "synthetic_trajectory").rows() == [
        (2, "revised", True), (1, "kept", False)]  # fmt: skip


def test_thresholds_hold_for_training_only() -> None:
    result = run([{"case_id": "a"}, {"case_id": "b", "split": "certify_queue"}], {"a": [1.0], "b": [1.0]})
    assert chosen(result) == {"b": "b/0"}
    assert why(result, "a") == "no_acceptable_narrative"


def test_a_case_that_may_not_be_passed_on_is_counted_not_kept() -> None:
    result = run([{"case_id": "a", "licence_class": "no-redistribution"}], {"a": [4.0]})
    assert chosen(result) == {}
    assert why(result, "a") == "no_redistribution"


def test_quotas_serve_published_cases_first_then_by_score() -> None:
    cases = [{"case_id": name} for name in "abc"]
    scores = {"a": [3.0], "b": [5.0], "c": [4.0]}
    assert set(chosen(run(cases, scores, quotas=Quotas(per_diagnosis=2)))) == {"b", "c"}
    sticky = run(cases, scores, frozenset({"a"}), quotas=Quotas(per_diagnosis=2))
    assert set(chosen(sticky)) == {"a", "b"}
    assert why(sticky, "c") == "over_quota"
    by_tone = run(cases, scores, quotas=Quotas(per_tone=1))
    assert set(chosen(by_tone)) == {"b"}


def test_a_case_whose_candidates_were_all_lost_before_scoring_is_explained() -> None:
    result = run([{"case_id": "a"}, {"case_id": "b"}], {"a": [3.0]})
    assert "b" not in set(result.rejected["record_id"])  # it never had a candidate: an earlier stage explains it
    candidates = pl.DataFrame({"narrative_id": ["x", "y"], "case_id": ["a", "b"], "candidate": [0, 0], **DIRECT})
    evaluations = pl.DataFrame({"narrative_id": ["x"], **{name: [4.0] for name in (*DIMENSIONS, "overall")}})
    tone = pl.List(pl.Struct({"scale": pl.String, "low": pl.Int64, "high": pl.Int64, "origin": pl.String}))
    table = pl.DataFrame(
        {"case_id": ["a", "b"], "split": ["train"] * 2, "licence_class": ["open"] * 2, "node_id": ["m"] * 2,
         "source": ["s"] * 2, "tone_observations": pl.Series([[], []], dtype=tone)}
    )  # fmt: skip
    lost = select(table, candidates, evaluations, SelectSettings(thresholds=OPEN), frozenset())
    assert why(lost, "b") == "no_acceptable_narrative"


def test_the_minimum_can_decide_instead_of_the_mean() -> None:
    rows = {name: [5.0, 3.5] for name in DIMENSIONS} | {"safety": [2.0, 3.5]}
    evaluations = pl.DataFrame({"narrative_id": ["x", "y"], **rows, "overall": [4.5, 3.5]})
    candidates = pl.DataFrame({"narrative_id": ["x", "y"], "case_id": ["a", "a"], "candidate": [0, 1], **DIRECT})
    tone = pl.List(pl.Struct({"scale": pl.String, "low": pl.Int64, "high": pl.Int64, "origin": pl.String}))
    table = pl.DataFrame({"case_id": ["a"], "split": ["train"], "licence_class": ["open"], "node_id": ["m"],
                          "source": ["s"], "tone_observations": pl.Series([[]], dtype=tone)})  # fmt: skip
    for aggregate, best in (("mean", "x"), ("min", "y")):
        settings = SelectSettings.model_validate({"aggregate": aggregate, "thresholds": OPEN})
        assert chosen(select(table, candidates, evaluations, settings, frozenset())) == {"a": best}


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.sampled_from([1.5, 2.0, 3.25, 4.0]), max_size=4)))
def test_every_candidate_is_chosen_or_told_why_not(scores: dict[str, list[float]]) -> None:
    result = run([{"case_id": name, "split": "train" if name < "d" else "calibration"} for name in "abcd"], scores)
    best = {
        case: f"{case}/{acceptable.index(max(acceptable))}"
        for case, values in scores.items()
        if any(acceptable := [value if value >= 2.0 or case == "d" else 0.0 for value in values])
    }
    assert chosen(result) == best
    told = result.rejected.filter(pl.col("record_kind") == "narrative")
    others = {f"{case}/{i}" for case, values in scores.items() for i in range(len(values))} - set(best.values())
    assert sorted(told["record_id"]) == sorted(others)
    for record, rule, value, threshold in told.select("record_id", "rule", "value", "threshold").iter_rows():
        case, i = record.split("/")
        score = f"{scores[case][int(i)]:g}"
        if rule == "not_best":
            of_best = scores[case][int(best[case].split("/")[1])]
            assert (value, threshold) == (score, f"{of_best:g}")
        else:
            assert (rule, value, threshold) == ("below_threshold", f"accuracy={score}", "2")
    without = result.rejected.filter(pl.col("rule") == "no_acceptable_narrative")
    assert set(without["record_id"]) == {case for case, values in scores.items() if values} - set(best)
