"""Steps done before the flow begins: told as tasks, gone on from, and their errors told where they are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpus.store import Store
from flows.ahead import Ahead
from flows.build import begin_build, finish_build, run_build
from flows.execute import InProcess
from flows.plan import Build, TableStep
from flows.steps import STEPS
from schemas.config import Config
from schemas.config_file import load_config
from schemas.errors import GateError, SourceError
from tests.conftest import Quiet, write_config


class Telling(InProcess):
    """Remembers what it was asked to call."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def call(self, name: str, function: Callable[[], Any]) -> Any:
        self.names.append(name)
        return super().call(name, function)

    def note(self, name: str) -> None:
        self.names.append(name)


def test_a_build_begun_ahead_is_the_same_build(drawn_sample: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    plain = run_build(load_config(write_config(tmp_path / "plain/config.yaml", drawn_sample)), InProcess(), Quiet())
    config = load_config(write_config(tmp_path / "config.yaml", drawn_sample))
    runner, reporter = Telling(), Quiet()
    with begin_build(Build(config, Store(config.workspace))) as begun, Ahead(begun) as ahead:
        deadline = time.monotonic() + 300
        while len(begun.reports) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert ahead.take(runner, reporter) is begun
        done = [report.output.step for report in begun.reports]
        outcome = finish_build(begun, runner, reporter)
    assert done == ["read", "fingerprint", "ingest", "map_labels"]  # inspect has too many shards to be done unseen
    assert runner.names[:6] == ["read", "fingerprint 1", "fingerprint", "ingest", "map_labels", "inspect"]
    assert [report.output.step for report in outcome.reports] == [step.name for step in STEPS]
    assert len(reporter.steps) == len(STEPS)
    assert outcome.release.digest == plain.release.digest


def works_ahead(ahead: Ahead) -> None:
    """Wait until nothing more is done ahead."""
    ahead._done.result(timeout=300)


def gate_refuses_after_work_ahead(config: Config) -> None:
    """All that can be is done ahead, and the build then fails for what the first gate found."""
    with (
        pytest.raises(GateError, match="ingest gate"),
        begin_build(Build(config, Store(config.workspace))) as begun,
        Ahead(begun) as ahead,
    ):
        works_ahead(ahead)
        ahead.take(InProcess(), Quiet())
        finish_build(begun, InProcess(), Quiet())


def test_small_work_is_done_ahead_past_the_gates_and_they_are_made_in_their_places(
    config_for: Callable[..., Config], drawn_sample: Path
) -> None:
    run_build(config_for(drawn_sample), InProcess(), Quiet())
    config = config_for(drawn_sample, "select.thresholds.accuracy=3.9", "gate.min_train_rows=2")
    runner, reporter = Telling(), Quiet()
    with begin_build(Build(config, Store(config.workspace))) as begun, Ahead(begun) as ahead:
        works_ahead(ahead)
        ahead.take(runner, reporter)
        done = [report.output.step for report in begun.reports]
        outcome = finish_build(begun, runner, reporter)
    gates = [step.name for step in STEPS if isinstance(step, TableStep) and step.is_gate]
    assert done == [step.name for step in STEPS if step.name not in gates]
    assert [report.output.step for report in outcome.reports] == [step.name for step in STEPS]
    assert [gate["gate"] for gate in outcome.release.manifest["gates"]] == ["ingest", "narratives", "release"]
    again = run_build(config, InProcess(), Quiet())
    assert (again.is_new, again.release.digest) == (False, outcome.release.digest)


def test_a_model_is_never_asked_out_of_sight(config_for: Callable[..., Config], drawn_sample: Path) -> None:
    config = config_for(drawn_sample)
    run_build(config, InProcess(), Quiet())
    config = config_for(drawn_sample, "split.salt=another")
    config = config.model_copy(update={"propose": config.propose.model_copy(update={"teacher": "vlm"})})
    with begin_build(Build(config, Store(config.workspace))) as begun, Ahead(begun) as ahead:
        works_ahead(ahead)
        ahead.take(InProcess(), Quiet())
        assert [report.output.step for report in begun.reports][-1] == "import"


def test_a_gate_refuses_although_the_steps_after_it_were_done_ahead(
    config_for: Callable[..., Config], drawn_sample: Path
) -> None:
    run_build(config_for(drawn_sample), InProcess(), Quiet())
    config = config_for(drawn_sample, "gate.max_rejected_share=0.001", "select.thresholds.accuracy=3.9")
    gate_refuses_after_work_ahead(config)


def test_what_the_gates_found_is_told_before_a_mistake_met_ahead(
    config_for: Callable[..., Config], drawn_sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_build(config_for(drawn_sample), InProcess(), Quiet())
    config = config_for(drawn_sample, "gate.max_rejected_share=0.001", "split.salt=another")

    def refuse(build: Build) -> Any:
        raise SourceError("nothing can be split")

    steps = tuple(replace(step, run=refuse) if step.name == "split" else step for step in STEPS)
    monkeypatch.setattr("flows.ahead.STEPS", steps)
    monkeypatch.setattr("flows.build.STEPS", steps)
    gate_refuses_after_work_ahead(config)


def test_a_mistake_met_ahead_is_told_when_the_build_is_taken(
    config_for: Callable[..., Config], drawn_sample: Path, tmp_path: Path
) -> None:
    config = config_for(drawn_sample)
    (tmp_path / "nothing").mkdir()
    broken = config.sources[0].model_copy(update={"path": str(tmp_path / "nothing")})
    config = config.model_copy(update={"sources": (broken, *config.sources[1:])})
    with (
        pytest.raises(SourceError),
        begin_build(Build(config, Store(config.workspace))) as begun,
        Ahead(begun) as ahead,
    ):
        ahead.take(InProcess(), Quiet())
        finish_build(begun, InProcess(), Quiet())
