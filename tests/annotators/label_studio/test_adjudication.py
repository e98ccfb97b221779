"""Who decides where raters differ, and what an adjudicator is told."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from annotators.label_studio.adjudication import Disputes, disputes_of, judges, note_of
from annotators.label_studio.queue import PLAN, Seat, plan
from annotators.label_studio.raters import Rater
from corpus.certified import KNOWN, outcomes
from schemas.config import CertificationSettings
from tests.annotators.label_studio.test_queue import NOTHING, candidates, extras, firsts, told
from tests.corpus.answers import answer, snapshot

RULES = CertificationSettings()


def known(*names: str, **changes: object) -> pl.DataFrame:
    rows = [{"narrative_id": n, "case_id": f"case of {n}", "authors": [], "simulated_author": False, "shortfall": None}
            | changes for n in names]  # fmt: skip
    return pl.DataFrame(rows, schema=KNOWN)


def disputes(each: int = 1, *names: str, **changes: frozenset[tuple[str, str]]) -> Disputes:
    told = {"seen": frozenset(), "undecided": frozenset()} | changes
    return Disputes(dict.fromkeys(names, "note"), each=each, credentials=("board_certified",), simulated=False, **told)


@given(
    raters=st.integers(2, 7), per_case=st.integers(1, 3), each=st.integers(1, 3), seed=st.integers(0, 99),
    written=st.dictionaries(st.integers(0, 19), st.sets(st.integers(0, 6), min_size=1, max_size=2)),
    gone=st.sets(st.integers(0, 6), max_size=2), silent=st.integers(0, 9),
)  # fmt: skip
def test_whoever_saw_or_wrote_a_narrative_does_not_adjudicate_it(
    raters: int, per_case: int, each: int, seed: int, written: dict[int, set[int]], gone: set[int], silent: int
) -> None:
    names = [sorted(f"r{n}" for n in written.get(at, ())) for at in range(20)]
    whole = candidates(20, sensitive=6).with_columns(pl.Series("authors", names, dtype=pl.List(pl.String)))
    by = dict(zip(whole["narrative_id"], names, strict=True))
    panel = [Seat(f"r{n}", frozenset({"genital"} if n % 2 else ())) for n in range(raters)]
    first = plan(whole, extras(3), panel, NOTHING, told(raters_per_case=per_case, salt=str(seed))).assignments
    open_ones = disputes(each, *(f"n{n}" for n in range(0, 20, 2)))
    made = judges(open_ones, whole, panel, first, str(seed))
    pairs = set(made.assignments.select("narrative_id", "rater").iter_rows())
    saw = set(first.select("narrative_id", "rater").iter_rows())
    assert len(pairs) == made.assignments.height and not pairs & saw
    assert not [pair for pair in pairs if pair[1] in by[pair[0]]]
    assert not [n for n, r in pairs if int(n[1:]) % 6 == 0 and int(r[1:]) % 2 == 0]
    counts = dict(made.assignments.group_by("narrative_id").len().iter_rows())
    assert counts == dict.fromkeys(set(open_ones.notes) - set(made.left_out), each)
    both = pl.concat([first, made.assignments])
    assert not both.select("rater", "place").is_duplicated().any()
    assert judges(open_ones, whole, panel, both, str(seed)).assignments.is_empty()
    assert firsts(both) == firsts(first)
    undecided = frozenset(sorted(pairs)[:silent])  # they answered that they cannot judge
    open_ones = disputes(each, *open_ones.notes, undecided=undecided, seen=undecided)
    left = [seat for seat in panel if int(seat.rater[1:]) not in gone]
    more = judges(open_ones, whole, left, both, str(seed))
    assert not set(more.assignments.select("narrative_id", "rater").iter_rows()) & (saw | pairs)
    works = pairs - undecided - {pair for pair in pairs if int(pair[1][1:]) in gone}
    for name in open_ones.notes:
        if name not in more.left_out:
            judging = [n for n, _ in works if n == name]
            assert len(judging) + more.assignments.filter(pl.col("narrative_id") == name).height == each


def test_what_differs_is_noted_without_scores_decisions_and_names() -> None:
    rows = snapshot(
        answer("n1", "anna", score=4.0),
        answer("n1", "bert", "revise", 3.0, critique="The  margin\nis not described."),
        answer("n1", "cora", "revise", 3.0, critique="The margin is not described."),
        answer("n1", "dana", "revise", 3.0, critique="Seen by a resident.", credential="resident"),
        answer("n2", "anna"), answer("n2", "bert", score=1.0),
        answer("n3", "anna"), answer("n3", "bert"),
        answer("n4", "anna"), answer("n4", "bert", "reject", 1.0, critique="Unsafe."),
    )  # fmt: skip
    found = outcomes(rows, known("n1", "n2", "n3", "n4"), RULES)
    open_ones = disputes_of(rows, found, RULES, simulated=False)
    assert set(open_ones.notes) == {"n1", "n2"}
    assert open_ones.notes["n1"].count("The margin is not described.") == 1
    assert "resident" not in open_ones.notes["n1"]
    assert "None of them wrote down" in open_ones.notes["n2"]
    for note in open_ones.notes.values():
        assert not any(word in note for word in ("anna", "bert", "cora", "certif", "revise", "3", "4", "1"))


def test_the_order_of_critiques_hangs_on_their_words_alone() -> None:
    texts = [f"Remark {n}." for n in range(6)]
    assert note_of(texts) == note_of(texts[::-1])
    assert note_of(texts).splitlines()[2:] != [f"• {text}" for text in texts]


def test_an_adjudicator_who_cannot_judge_has_decided_nothing() -> None:
    rows = snapshot(
        answer("n1", "anna"), answer("n1", "bert", "revise", 3.0, critique="Too short."),
        answer("n1", "cora", "cannot_judge", None, occasion="adjudication"),
    )  # fmt: skip
    open_ones = disputes_of(rows, outcomes(rows, known("n1"), RULES), RULES, simulated=False)
    assert open_ones.undecided == {("n1", "cora")}
    asked = pl.DataFrame([("cora", 0, "n1", "c1", "adjudication", None, None, None)], schema=PLAN, orient="row")
    seats = [Seat("anna"), Seat("bert"), Seat("cora"), Seat("dora")]
    assert judges(open_ones, candidates(2), seats, asked, "s").assignments["rater"].to_list() == ["dora"]


def test_only_those_whom_the_rules_count_adjudicate() -> None:
    def rater(**changes: object) -> Rater:
        told = {"email": "a@b.org", "credential": "board_certified", "attested_on": "2024-01-01", "attested_by": "X"}
        return Rater.model_validate(told | changes)

    people, programs = disputes(), Disputes({}, frozenset(), frozenset(), 1, ("board_certified",), True)
    assert people.may_adjudicate(rater())
    assert not people.may_adjudicate(rater(credential="resident"))
    assert not people.may_adjudicate(rater(active=False))
    assert not people.may_adjudicate(rater(kind="simulated"))
    assert programs.may_adjudicate(rater(kind="simulated"))
