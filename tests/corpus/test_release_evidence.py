"""What a release keeps for its report: each training candidate with its outcome, and only what may be shown."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from corpus.duplicates import DECISIONS
from corpus.release_evidence import candidate_outcomes, clusters_to_show, worst_refused
from schemas.stage import rejection, rejections_frame
from schemas.tables import DIMENSIONS


def cases(**splits: str) -> pl.DataFrame:
    told = {"node_id": "melanoma", "tone_group": "I-II"}
    return pl.DataFrame([{"case_id": case, "split": split, **told} for case, split in splits.items()])


def proposed(*pairs: tuple[str, str]) -> pl.DataFrame:
    told = {"candidate": 0, "trajectory": "kept", "sibling_distance": 0.3}
    rows = [{"narrative_id": n, "case_id": c, **told} for n, c in pairs]
    return pl.DataFrame(rows)


def scores(**overall: float) -> pl.DataFrame:
    return pl.DataFrame([{"narrative_id": n, **dict.fromkeys(DIMENSIONS, v), "overall": v} for n, v in overall.items()])


def test_every_training_candidate_has_the_outcome_of_itself_or_of_its_case() -> None:
    rejected = rejections_frame(
        [rejection("narrative", "n2", "select", "not_best"), rejection("case", "c2", "select", "over_quota")]
    )
    told = candidate_outcomes(
        cases(c1="train", c2="train", c3="certify_queue"),
        proposed(("n1", "c1"), ("n2", "c1"), ("n3", "c2"), ("n4", "c3")),
        scores(n1=4.0, n2=3.0, n3=4.5, n4=4.9),
        pl.DataFrame({"narrative_id": ["n1"]}),
        rejected,
    )
    assert dict(told.select("narrative_id", "outcome").iter_rows()) == {
        "n1": "published", "n2": "not_best", "n3": "over_quota"}  # fmt: skip
    assert set(told["trajectory"]) == {"kept"}


def test_the_worst_are_those_below_a_threshold_first_one_a_case_and_none_that_may_not_be_shown() -> None:
    rows = [("a", "c1", "not_best", 1.0), ("b", "c2", "below_threshold", 2.0), ("c", "c2", "below_threshold", 3.0),
            ("d", "c3", "published", 0.5), ("e", "c4", "below_threshold", 0.1)]  # fmt: skip
    table = pl.DataFrame(rows, schema=["narrative_id", "case_id", "outcome", "overall"], orient="row")
    worst = worst_refused(table, pl.Series(["c4"]))
    assert worst["narrative_id"].to_list() == ["b", "a"]


def _decisions(cluster: str, *members: tuple[str, str, int]) -> list[dict[str, Any]]:
    return [
        {**dict.fromkeys(DECISIONS), "image_id": image, "case_id": image, "cluster_id": cluster, "relation": relation,
         "kept": relation == "survivor", "survivor": members[0][0], "distance": distance, "cluster_size": len(members)}
        for image, relation, distance in members
    ]  # fmt: skip


def shown(held: set[str] = frozenset(), closed: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    rows = [
        *_decisions("k1", ("a", "survivor", 0), ("b", "near_duplicate", 9)),
        *_decisions("k2", ("c", "survivor", 0), ("d", "exact", 0)),
        *_decisions("k3", ("e", "conflict", 0), ("f", "conflict", 3)),
        *_decisions("k4", ("g", "unique", 0)),
    ]
    decisions = pl.DataFrame(rows, schema=DECISIONS)
    images = pl.DataFrame(
        [{"image_id": i, "licence_class": "no-redistribution" if i in closed else "open", "raw_label": "nv",
          "attribution": "x", "file_digest": f"f{i}"} for i in "abcdefg"]
    )  # fmt: skip
    assignments = pl.DataFrame([{"image_id": i, "split": "calibration" if i in held else "train"} for i in "abcdefg"])
    return clusters_to_show(decisions, images, assignments)["image_id"].to_list()


def test_clusters_are_shown_survivor_first_conflicts_before_duplicates() -> None:
    assert shown() == ["e", "f", "a", "b", "c", "d"]


@pytest.mark.parametrize("member", ["a", "b"])
def test_a_cluster_with_a_held_out_or_closed_image_is_not_shown_at_all(member: str) -> None:
    assert shown(held={member}) == ["e", "f", "c", "d"]
    assert shown(closed={member}) == ["e", "f", "c", "d"]


def test_nothing_to_show_is_an_empty_table() -> None:
    assert shown(held=set("abcdefg")) == []
