"""Figures of blind candidates: one look per case, Wilson's limits, and no section where nobody was blind."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from corpus.release_evidence import CANDIDATES, asked_for, without_details
from quality.blind_report import blind_figures
from schemas.stage import rejection, rejections_frame
from schemas.tables import DIMENSIONS


def candidates(*rows: dict[str, Any]) -> pl.DataFrame:
    told = {"candidate": 0, "trajectory": "direct", "taxonomy_id": "melanoma", "tone_group": "I-II",
            "label_seen": False, "image_grounded": True, "attempts": [1, 1, 1], "outcome": "published",
            **dict.fromkeys((*DIMENSIONS, "overall"), 4.0)}  # fmt: skip
    return pl.DataFrame([{"narrative_id": str(at), **told, **row} for at, row in enumerate(rows)], schema=CANDIDATES)


def test_agreement_has_the_published_limits_of_wilson() -> None:
    """81 of 263: 0.2553 to 0.3662 (Newcombe 1998, method 3)."""
    rows = candidates(*({"case_id": f"s:{at}", "first_agrees": at < 81} for at in range(263)))
    figures = blind_figures(rows, rejections_frame([]))
    assert figures is not None
    [(_, [every]), (_, tones), (_, diagnoses)] = figures["agreement"]
    assert (every.agreed, every.n) == (81, 263)
    assert (every.low, every.high) == pytest.approx((25.53, 36.62), abs=0.005)
    assert [(row.label, row.n) for row in tones] == [
        ("I-II", 263), ("III-IV", 0), ("V-VI", 0), ("spread", 0), ("unknown", 0)]  # fmt: skip
    assert [(row.label, row.agreed) for row in diagnoses] == [("Melanoma", 81)]


def test_candidates_of_one_case_are_one_look_and_the_first_that_concluded_speaks_for_it() -> None:
    rows = candidates(
        {"case_id": "s:1", "candidate": 0, "first_agrees": None, "overall": None, "outcome": "refusal"},
        {"case_id": "s:1", "candidate": 1, "first_agrees": False},
        {"case_id": "s:1", "candidate": 2, "first_agrees": True},
        {"case_id": "s:2", "candidate": 0, "first_agrees": True},
    )
    figures = blind_figures(rows, rejections_frame([]))
    assert figures is not None
    [every] = figures["agreement"][0][1]
    assert (every.agreed, every.n) == (1, 2)


def test_there_is_no_section_where_all_were_told_and_none_looked() -> None:
    told = {"case_id": "s:1", "label_seen": True, "image_grounded": False, "attempts": None}
    assert blind_figures(candidates(told), rejections_frame([])) is None
    assert blind_figures(candidates({**told, "image_grounded": True}), rejections_frame([])) is not None
    assert blind_figures(candidates({**told, "label_seen": False}), rejections_frame([])) is not None


def test_the_first_conclusion_is_told_by_the_earliest_attempt_that_had_one() -> None:
    failed = [("a", "write", 1, "invalid_json"), ("a", "write", 2, "label_disagreement"), ("b", "reason", 1, "refusal"),
              ("c", "write", 10, "label_disagreement"), ("c", "write", 9, "too_many_post_hoc"),
              ("g", "write", 1, "too_many_post_hoc")]  # fmt: skip
    attempts = rejections_frame(rejection("attempt", f"{n}/{s}/{at}", "propose", rule) for n, s, at, rule in failed)
    column = {"case_id": "s:1", "candidate": 0, "trajectory": "direct", "sibling_distance": None, "post_hoc": 0,
              "image_grounded": True, "sampling": '{"attempts": [1, 2, 3]}'}  # fmt: skip
    written = pl.DataFrame([{"narrative_id": name, "label_seen": name == "g", **column} for name in "adg"])
    lost = pl.DataFrame([{"narrative_id": n, "case_id": "s:1", "candidate": 0, "label_seen": False} for n in "bc"])
    told = asked_for(written, lost, attempts).sort("narrative_id")
    assert dict(told.select("narrative_id", "first_agrees").iter_rows()) == {
        "a": False, "b": None, "c": True, "d": True, "g": None}  # fmt: skip
    assert told["attempts"].to_list() == [[1, 2, 3], None, None, [1, 2, 3], [1, 2, 3]]


def test_what_quotes_a_hidden_case_is_left_out_and_its_rule_is_not() -> None:
    rows = rejections_frame(
        [
            rejection("narrative", "n1", "standardise", "contradicts_label", value="nevus", threshold="melanoma"),
            rejection("attempt", "n1/write/1", "propose", "label_disagreement", detail="'Nevus' is concluded"),
            rejection("attempt", "s:held/observe/1", "propose", "schema", detail="quality: what"),
            rejection("narrative", "n2", "standardise", "contradicts_label", value="nevus", threshold="melanoma"),
            rejection("case", "s:held", "certify", "flagged", value="poor"),
        ]
    )
    owners = pl.DataFrame({"narrative_id": ["n1", "n2"], "case_id": ["s:held", "s:train"]})
    told = without_details(rows, owners, pl.Series(["s:held"]))
    assert told.select("record_id", "rule").equals(rows.select("record_id", "rule"))
    kept = told.filter(pl.any_horizontal(pl.col("value", "threshold", "detail").is_not_null()))
    assert set(kept["record_id"]) == {"n2", "s:held"}
