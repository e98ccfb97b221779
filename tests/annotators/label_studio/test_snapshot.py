"""A snapshot that keeps what it read before is the one that reads everything anew, whatever changed in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from annotators.label_studio import readings
from annotators.label_studio.ledger import ASSIGNMENTS, RAW, SHARED, Ledger, ProjectRecord
from annotators.label_studio.raters import Rater
from annotators.label_studio.readings import READINGS, Known
from annotators.label_studio.snapshot import known, snapshot
from schemas.narrative import narrative_to_json
from tests.annotators.label_studio.study_parts import answer, narrative

SERVER, SCREEN = "server", "screen"
RESULTS: list[Any] = [
    answer((1, 2, 3, 4, 5, 0)), answer((5,) * 6), answer((2,) * 6, "reject", critique="No."),
    answer((3,) * 6, "revise", critique="Shorter.", corrected="Findings:"), answer()[:3], [], None,
]  # fmt: skip
PROJECTS = [ProjectRecord(SERVER, n, rater, SCREEN, rater) for n, rater in ((1, "ra"), (2, "rb"), (3, SHARED))]


def rater(kind: str = "simulated", credential: str = "other") -> Rater:
    return Rater.model_validate({"email": "a@example.org", "kind": kind, "credential": credential})


def assignment(key: str, of: str, occasion: str = "first") -> dict[str, Any]:
    blank: dict[str, Any] = dict.fromkeys(ASSIGNMENTS)
    return blank | {
        "key": key, "narrative_id": f"n{key[:1]}", "case_id": f"c{key[:1]}", "rater": of, "occasion": occasion,
        "inclusion_probability": 0.5, "pre_edit": narrative_to_json(narrative(1)),
    }  # fmt: skip


def state(project: int, task: int, number: int, minute: int, raw: dict[str, Any] | None) -> tuple[Any, ...]:
    text = None if raw is None else json.dumps(raw, sort_keys=True)
    made, now = "2026-01-01T00:00:00Z", f"2026-01-01T00:{minute:02d}:00.5Z"
    return (SERVER, project, task, f"{task}{project}", number, made, now, now, text)


def said(result: Any, by: int = 1, last: int | None = None, **more: Any) -> dict[str, Any]:
    return {"result": result, "completed_by": by, "updated_by": last, "lead_time": 2.0, **more}


RAWS = st.none() | st.builds(
    said, st.sampled_from(RESULTS), st.integers(1, 3), st.sampled_from([None, 1, 2]), was_cancelled=st.booleans()
)
STATES = st.lists(
    st.builds(state, st.integers(1, 3), st.integers(0, 2), st.integers(1, 2), st.integers(0, 4), RAWS), max_size=12
)
RATERS = st.fixed_dictionaries({}, optional={"ra": st.builds(rater, st.sampled_from(["simulated", "human"])),
                                             "rb": st.builds(rater, credential=st.just("other"))})  # fmt: skip
KEYS = st.sets(st.sampled_from([f"{task}{project}" for task in range(3) for project in (1, 2, 3)]), min_size=4)
OCCASIONS = st.sampled_from(["first", "repeat"])


@st.composite
def contexts(draw: st.DrawFn) -> Known:
    owners = {"1": "ra", "2": "rb", "3": SHARED}
    rows = {key: assignment(key, owners[key[-1]], draw(OCCASIONS)) for key in draw(KEYS)}
    accounts = {(SERVER, n): who for n, who in ((1, "ra"), (2, "rb")) if draw(st.integers(0, 5))}
    places = {(record.server, record.project_id): record for record in PROJECTS}
    return Known(rows, places, draw(RATERS), accounts, frozenset([SCREEN] if draw(st.integers(0, 5)) else []))


def frame(states: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(states, schema=RAW, orient="row").unique(maintain_order=True)


@given(STATES, STATES, contexts(), contexts(), st.booleans())
def test_a_snapshot_from_kept_readings_is_the_one_that_reads_all(
    before: list[tuple[Any, ...]], since: list[tuple[Any, ...]], then: Known, now: Known, same: bool
) -> None:
    now = then if same else now
    kept = snapshot(frame(before), then)[2]
    raw = frame([*before, *since])
    for one, other in zip(snapshot(raw, now, kept), snapshot(raw, now), strict=True):
        assert_frame_equal(one, other)


def test_only_what_is_new_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assigned = pl.DataFrame([assignment(f"{task}1", "ra") for task in range(8)], schema=ASSIGNMENTS)
    told = known(assigned, PROJECTS, {"ra": rater()}, {(SERVER, 1): "ra"}, {})
    told = Known(told.assignments, told.projects, told.raters, told.accounts, frozenset([SCREEN]))
    raw = frame([state(1, task, 1, 0, said(answer())) for task in range(6)])
    _, _, kept = snapshot(raw, told)
    asked: list[Any] = []

    def counted(*given: Any) -> Any:
        asked.append(given)
        return real(*given)

    real = readings.read_answers
    monkeypatch.setattr(readings, "read_answers", counted)
    changed = frame([state(1, 2, 1, 1, said(answer((0,) * 6))), state(1, 6, 1, 1, said(answer()))])
    annotations, _, _ = snapshot(pl.concat([raw, changed]), told, kept)
    assert (annotations.height, annotations["is_latest"].sum()) == (8, 7)
    assert len(asked) == 3  # both states of the one that changed, and the new one


def test_what_is_kept_is_checked_before_it_is_used(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    assert ledger.readings(READINGS).height == 0
    assigned = pl.DataFrame([assignment("01", "ra")], schema=ASSIGNMENTS)
    told = known(assigned, PROJECTS, {"ra": rater()}, {(SERVER, 1): "ra"}, {})
    _, _, kept = snapshot(frame([state(1, 0, 1, 0, said(answer()))]), told)
    ledger.keep_readings(kept)
    assert_frame_equal(ledger.readings(READINGS), kept)
    file = tmp_path / "annotation" / "readings"
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:200] + b"?" + whole[201:], b""):
        file.write_bytes(damaged)
        assert ledger.readings(READINGS).height == 0
