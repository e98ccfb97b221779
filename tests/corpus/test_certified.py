"""The rules of certification: which answers count, what they come to, and what can never certify a narrative."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from corpus.annotations import corrections, plain_flag, planted_answers, planted_ids, read_snapshot, removals
from corpus.certification import QUEUE
from corpus.certified import KNOWN, STATES, outcomes
from corpus.certified_cases import certified_choice, open_queue, refusals, with_certified
from corpus.selection import SELECTED
from schemas.config import CertificationSettings, SelectSettings
from schemas.errors import UserError
from schemas.tables import DIMENSIONS
from tests.corpus.answers import answer, snapshot

RULES = CertificationSettings()
Row = dict[str, Any]


def known(*names: str, authors: tuple[str, ...] = (), shortfall: str | None = None) -> pl.DataFrame:
    rows = [(name, f"case of {name}", list(authors), False, shortfall) for name in names]
    return pl.DataFrame(rows, schema=KNOWN, orient="row")


def outcome(*rows: Row, rules: CertificationSettings = RULES, **about: Any) -> dict[str, Any]:
    """The outcome of the narrative ``n``."""
    [found] = outcomes(snapshot(*rows), known("n", **about), rules).to_dicts()
    return dict(found)


def state(*rows: Row, **about: Any) -> str:
    return str(outcome(*rows, **about)["state"])


TWO = (answer("n", "a"), answer("n", "b", score=4.0))


def test_two_raters_who_certify_and_score_well_certify() -> None:
    found = outcome(*TWO)
    assert (found["state"], found["n_raters"], found["n_certify"], found["reasons"]) == ("certified", 2, 2, [])
    assert [found[f"human_{name}"] for name in DIMENSIONS] == [4.5] * 6
    assert found["human_overall"] == 4.5
    assert not found["simulated"] and not found["adjudicated"]


def test_one_rater_is_not_two_and_the_same_one_twice_is_one() -> None:
    assert state(TWO[0]) == "needs_more_raters"
    assert state(TWO[0], answer("n", "a", annotation_id="again", later=9)) == "needs_more_raters"
    assert state(TWO[0], rules=CertificationSettings(raters=1, decisions=1)) == "certified"


@pytest.mark.parametrize(
    "changes",
    [
        {"occasion": "repeat"},
        {"occasion": "gold"},
        {"occasion": "practice"},
        {"credential": "resident"},
        {"credential": "other"},
        {"is_latest": False},
        {"decision": "cannot_judge", "score": None},
        {"decision": "cannot_judge"},
        {"safety": None},
    ],
)
def test_what_does_not_count_does_not_make_up_the_number(changes: Row) -> None:
    assert state(TWO[0], answer("n", "c", **changes)) == "needs_more_raters"


def test_a_resident_counts_where_the_rules_name_residents() -> None:
    rules = CertificationSettings(credentials=("board_certified", "resident"))
    assert state(TWO[0], answer("n", "c", credential="resident"), rules=rules) == "certified"


def test_any_rejection_blocks_whoever_else_certifies_or_adjudicates() -> None:
    rejected = answer("n", "c", "reject")
    assert state(*TWO, rejected) == "rejected"
    assert state(*TWO, rejected, answer("n", "d", occasion="adjudication")) == "rejected"
    assert state(*TWO, answer("n", "d", "reject", occasion="adjudication")) == "rejected"
    assert state(*TWO, {**rejected, "is_latest": False}) == "certified"


def test_a_mean_below_one_threshold_is_told() -> None:
    found = outcome(*({**row, "safety": 3.0} for row in TWO))
    assert (found["state"], found["reasons"]) == ("below_threshold", ["safety 3 below 4"])


def test_raters_who_differ_are_adjudicated_and_the_mean_is_over_all() -> None:
    apart = (answer("n", "a", clinical_coverage=5.0), answer("n", "b", clinical_coverage=2.0))
    found = outcome(*apart)
    assert (found["state"], found["reasons"][0]) == ("needs_adjudication", "clinical_coverage differs by 3")
    assert state(*apart, rules=CertificationSettings(max_spread=3.0)) == "certified"
    judged = outcome(*apart, answer("n", "c", occasion="adjudication", clinical_coverage=2.5))
    assert (judged["state"], judged["adjudicated"], judged["n_raters"]) == ("certified", True, 3)
    assert judged["human_clinical_coverage"] == pytest.approx(9.5 / 3)
    low = outcome(*apart, answer("n", "c", occasion="adjudication", clinical_coverage=1.0))
    assert low["state"] == "below_threshold"


def test_an_adjudicator_who_is_not_convinced_outweighs_two_who_certified() -> None:
    apart = (answer("n", "a"), answer("n", "b", clinical_coverage=2.0))
    found = outcome(*apart, answer("n", "c", "revise", occasion="adjudication"))
    assert (found["state"], found["reasons"]) == ("rejected", ["1 of 1 adjudicators want it revised"])


def test_who_certifies_and_who_revises_are_adjudicated() -> None:
    split = (answer("n", "a"), answer("n", "b", "revise"))
    assert state(*split) == "needs_adjudication"
    assert state(*split, answer("n", "c", occasion="adjudication")) == "certified"
    assert state(*split, answer("n", "c", "revise", occasion="adjudication")) == "rejected"
    two = CertificationSettings(adjudicators=2)
    assert state(*split, answer("n", "c", occasion="adjudication"), rules=two) == "needs_adjudication"


def test_nobody_adjudicates_against_themselves() -> None:
    split = (answer("n", "a"), answer("n", "b", "revise"))
    assert state(*split, answer("n", "b", occasion="adjudication", later=99)) == "needs_adjudication"


def test_all_who_revise_refuse_the_text_as_it_is() -> None:
    found = outcome(answer("n", "a", "revise"), answer("n", "b", "revise"))
    assert (found["state"], found["reasons"]) == ("rejected", ["0 of 2 decisions to certify, 2 to revise"])


def test_a_planted_fault_is_never_a_candidate_whoever_certified_it() -> None:
    gold = answer("n", "c", occasion="gold", planted="wrong site")
    assert state(*TWO, gold) == "not_a_candidate"
    assert state(*({**row, "planted": "wrong site"} for row in TWO)) == "not_a_candidate"
    assert state(*TWO, {**gold, "is_latest": False}) == "not_a_candidate"


def test_practice_alone_is_not_a_candidate_and_beside_first_answers_says_nothing() -> None:
    practice = answer("n", "c", occasion="practice")
    assert state(practice) == "not_a_candidate"
    assert outcome(*TWO, practice) == outcome(*TWO)


def test_practice_on_a_planted_fault_says_nothing_of_the_narrative_and_measures_nobody() -> None:
    told = {"occasion": "practice", "planted": "wrong_site", "flags": ["wrong_label"], "corrected": "{}"}
    practice = [answer("n", rater, decision, **told) for rater, decision in (("c", "certify"), ("d", "revise"))]
    assert state(*practice) == "not_a_candidate"
    assert outcome(*TWO, *practice) == outcome(*TWO)
    assert outcome(TWO[0], *practice)["state"] == "needs_more_raters"
    rows = snapshot(*TWO, *practice)
    assert (planted_ids(rows), planted_answers(rows).height, removals(rows, RULES).height) == ([], 0, 0)
    assert [part if isinstance(part, list) else part.rows() for part in corrections(rows, RULES)] == [[], []]
    gold = answer("n", "e", occasion="gold", planted="wrong_site")
    assert planted_ids(snapshot(*practice, gold)) == ["n"]
    assert planted_answers(snapshot(*practice, gold, {**gold, "is_latest": False}))["rater"].to_list() == ["e"]


def test_a_correction_needs_another_reader_and_the_evaluator() -> None:
    own = answer("n", "a")
    assert outcomes(snapshot(), known("n", authors=("a",)), RULES)["state"].to_list() == ["needs_more_raters"]
    assert state(own, authors=("a",)) == "needs_more_raters"
    found = outcome(own, answer("n", "b"), authors=("a",))
    assert (found["state"], found["n_raters"], found["correction"]) == ("certified", 1, True)
    assert state(answer("n", "b", "revise"), authors=("a",)) == "rejected"
    below = outcome(own, answer("n", "b"), authors=("a",), shortfall="accuracy 2.0")
    assert (below["state"], below["reasons"]) == ("below_threshold", ["evaluator: accuracy 2.0"])
    assert state(own, answer("n", "b"), authors=("a", "b")) == "needs_more_raters"


def test_what_the_evaluator_thinks_of_a_drawn_text_blocks_nothing() -> None:
    assert state(*TWO, shortfall="accuracy 2.0") == "certified"


def test_simulated_raters_mark_what_they_decided() -> None:
    assert outcome(TWO[0], {**TWO[1], "rater_kind": "simulated"})["simulated"]
    assert not outcome(*TWO, answer("n", "c", rater_kind="simulated", occasion="practice"))["simulated"]


_answers = st.lists(
    st.builds(
        lambda rater, decision, score, low, occasion, credential, kind, latest, planted, later: answer(
            "n", rater, decision, None if decision == "cannot_judge" else float(score), occasion=occasion,
            credential=credential, rater_kind=kind, is_latest=latest, planted=planted, later=later,
            **({} if decision == "cannot_judge" else {"safety": float(low)}),
        ),
        st.sampled_from("abcde"),
        st.sampled_from(["certify", "certify", "certify", "revise", "reject", "cannot_judge"]),
        st.integers(3, 5),
        st.integers(2, 5),
        st.sampled_from(["first", "first", "first", "repeat", "gold", "practice", "adjudication"]),
        st.sampled_from(["board_certified", "board_certified", "resident"]),
        st.sampled_from(["human", "simulated"]),
        st.booleans(),
        st.sampled_from([None, None, None, None, None, None, "fault"]),
        st.integers(0, 9),
    ),
    max_size=8,
).map(lambda rows: [{**row, "annotation_id": str(at)} for at, row in enumerate(rows)])  # fmt: skip
_rules = st.builds(
    lambda raters, fewer, spread, judges: CertificationSettings(
        raters=raters, decisions=max(1, raters - fewer), max_spread=spread, adjudicators=judges
    ),
    st.integers(1, 3), st.integers(0, 2), st.sampled_from([0.0, 1.0, 2.0, 5.0]), st.integers(1, 2),
)  # fmt: skip


@given(_answers, _rules, st.sampled_from([(), ("a",), ("a", "b")]))
@hypothesis_settings(max_examples=400, deadline=None)
def test_a_certified_narrative_met_every_rule_in_whatever_order_answers_came(
    rows: list[Row], rules: CertificationSettings, authors: tuple[str, ...]
) -> None:
    table = known("n", authors=authors)
    found = outcomes(snapshot(*rows), table, rules)
    assert found.equals(outcomes(snapshot(*reversed(rows)), table, rules))
    if found.is_empty():
        assert not rows and not authors
        return
    [row] = found.to_dicts()
    assert row["state"] in STATES
    able = [
        r for r in rows
        if r["is_latest"] and r["credential"] in rules.credentials and r["occasion"] in ("first", "adjudication")
        and r["decision"] != "cannot_judge" and r["rater"] not in authors and r["planted"] is None
    ]  # fmt: skip
    assert row["n_raters"] <= len({r["rater"] for r in able})
    if row["state"] == "certified":
        assert not any(r["planted"] for r in rows if r["occasion"] != "practice")
        assert row["n_reject"] == 0
        assert row["n_raters"] >= max(1, rules.raters - bool(authors))
        assert row["n_certify"] >= max(1, rules.decisions - bool(authors))
        least = rules.thresholds.model_dump()
        assert all(row[f"human_{name}"] >= least[name] for name in DIMENSIONS)
        assert row["simulated"] or any(r["rater_kind"] == "human" for r in able)
    silent = [r for r in rows if r["occasion"] not in ("gold", "practice") and r["planted"] is None]
    more = [*silent, answer("n", "z", "reject", occasion="repeat"), answer("n", "y", "reject", credential="other")]
    if silent:
        assert outcomes(snapshot(*silent), table, rules).equals(outcomes(snapshot(*more), table, rules))


def test_flags_of_raters_who_count_remove_a_case_the_gravest_first() -> None:
    rows = snapshot(
        answer("n", "a", flags=["Bad image"]),
        answer("n", "b", "cannot_judge", None, flags=["wrong-label"]),
        answer("m", "a", flags=["identifiable_person"], credential="resident"),
        answer("o", "a", flags=["BAD_IMAGE"], occasion="repeat"),
        answer("p", "a", flags=["blurred"]),
        answer("q", "a", flags=["bad_image"], rater_kind="simulated"),
        answer("q", "b", flags=["bad_image"]),
        answer("r", "a", flags=["identifiable_person"]),
        answer("r", "b", flags=["bad_image"]),
        answer("s", "a", flags=["wrong_label"], planted="another disease"),
    )
    assert removals(rows, RULES).rows() == [
        ("case of n", "flagged_wrong_label", False), ("case of q", "flagged_bad_image", True),
        ("case of r", "flagged_identifiable_person", False)]  # fmt: skip
    assert plain_flag(" Identifiable  Person") == "identifiable_person"


SCORED = pl.DataFrame(
    {"narrative_id": ["n", "m", "t"], "candidate": [1, 2, 0], "trajectory": ["direct", "kept", "direct"],
     "synthetic_trajectory": [False] * 3, **{name: [4.0, 3.0, 4.0] for name in (*DIMENSIONS, "overall")}}
)  # fmt: skip
TONE = pl.List(pl.Struct({"scale": pl.String, "low": pl.Int64, "high": pl.Int64, "origin": pl.String}))
CASES = pl.DataFrame({"case_id": ["h", "t"], "tone_observations": pl.Series([[], []], dtype=TONE)})
CHOSEN = pl.DataFrame(
    [("h", "certify_queue", "n", 1, "direct", False, 4.0, "unknown"),
     ("t", "train", "t", 0, "direct", False, 4.0, "unknown")], schema=SELECTED, orient="row",
)  # fmt: skip


def found_of(*rows: Row) -> pl.DataFrame:
    table = pl.DataFrame([("n", "h", [], False, None), ("m", "h", [], False, None)], schema=KNOWN, orient="row")
    return outcomes(snapshot(*rows), table, RULES)


def test_a_certified_case_goes_out_under_the_text_that_raters_liked_best() -> None:
    rows = [answer(name, rater, score=score) for name, score in (("n", 4.0), ("m", 5.0)) for rater in "ab"]
    found = found_of(*rows)
    assert certified_choice(found)["narrative_id"].to_list() == ["m"]
    selected, rejected = with_certified(CHOSEN, found, SCORED, CASES, [], SelectSettings())
    assert selected.select("case_id", "split", "narrative_id", "candidate", "aggregate").rows() == [
        ("h", "certified", "m", 2, 3.0), ("t", "train", "t", 0, 4.0)]  # fmt: skip
    assert (selected.schema, rejected) == (SELECTED, [])


def test_a_planted_narrative_leaves_every_split() -> None:
    selected, rejected = with_certified(CHOSEN, found_of(), SCORED, CASES, ["t"], SelectSettings())
    assert selected["case_id"].to_list() == ["h"]
    assert [(row["record_kind"], row["record_id"], row["rule"]) for row in rejected] == [
        ("case", "t", "planted_fault"), ("narrative", "t", "planted_fault")]  # fmt: skip


def test_refusals_are_told_and_name_nobody() -> None:
    rows = [answer("n", "rater-anna"), answer("n", "rater-bert", "reject"), answer("x", "rater-anna")]
    told = refusals(found_of(*rows), snapshot(*rows)["narrative_id"], pl.Series(["n", "m"]))
    assert [(row["record_id"], row["rule"], row["detail"]) for row in told] == [
        ("n", "rejected", "1 of 2 raters reject it"), ("x", "not_in_this_build", None)]  # fmt: skip
    assert "anna" not in str(told) and "bert" not in str(told)


def queue_row(name: str, case: str, random: bool) -> Row:
    drawn = {"random": random, "stratified_probability": None, "random_probability": 0.1, "correction": False}
    return {
        "narrative_id": name,
        "case_id": case,
        "image_digests": ["d"],
        "stratum": "s",
        "stratified": not random,
    } | drawn


def test_the_queue_leaves_out_what_is_decided_and_takes_in_corrections_that_wait() -> None:
    queue = pl.DataFrame(
        [queue_row(name, case, name == "m") for name, case in zip("nmopr", "hhiih", strict=True)],
        schema=QUEUE,
    )
    held = pl.DataFrame({"case_id": ["h", "i"], "image_digests": [["d"], ["d"]], "stratum": ["s", "s"]})
    rows = [answer("n", "a"), answer("n", "b"), answer("o", "a", "reject")]
    table = pl.concat([
        pl.DataFrame([("n", "h", [], False, None), ("o", "i", [], False, None)], schema=KNOWN, orient="row"),
        pl.DataFrame([("c", "i", ["a"], False, None), ("e", "h", ["a"], False, None), ("f", "i", ["a"], False, "low")],
                     schema=KNOWN, orient="row"),
    ])  # fmt: skip
    left = open_queue(queue, outcomes(snapshot(*rows), table, RULES), held)
    assert left.select("narrative_id", "correction").rows() == [("c", True), ("m", False), ("p", False)]
    assert left.schema == QUEUE


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.drop("flags"), "has no column flags"),
        (lambda t: t.with_columns(pl.lit("often").alias("occasion")), "occasion 'often'"),
        (lambda t: t.with_columns(pl.lit("robot").alias("rater_kind")), "rater_kind 'robot'"),
        (lambda t: t.with_columns(pl.lit(10.0).alias("scale_high")), "another scale"),
        (lambda t: t.with_columns(pl.lit(6.0).alias("safety")), "not between 0 and 5"),
        (lambda t: t.with_columns(pl.lit(None, pl.String).alias("rater")), "lacks rater"),
        (lambda t: t.with_columns(pl.lit("x").alias("safety")), "another type"),
    ],
)
def test_a_snapshot_that_is_none_is_refused_in_one_sentence(change: Any, says: str, tmp_path: Any) -> None:
    file = tmp_path / "answers.parquet"
    change(snapshot(*TWO)).write_parquet(file)
    with pytest.raises(UserError, match=says):
        read_snapshot(str(file))


def test_a_snapshot_comes_back_as_it_was_and_a_missing_one_is_told(tmp_path: Any) -> None:
    file = tmp_path / "answers.parquet"
    snapshot(*TWO).write_parquet(file)
    assert read_snapshot(str(file)).equals(snapshot(*TWO))
    assert read_snapshot(None).is_empty()
    with pytest.raises(UserError, match=r"there is no file .*none\.parquet"):
        read_snapshot(str(tmp_path / "none.parquet"))
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_snapshot(str(tmp_path / "text.parquet"))


def test_more_decisions_than_raters_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="decisions is 3, more than the 2 raters"):
        CertificationSettings(decisions=3)
