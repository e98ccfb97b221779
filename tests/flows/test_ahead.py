"""Steps done before the flow begins: told as tasks, gone on from, and their errors told where they are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpus.store import Store
from flows.ahead import Ahead
from flows.build import begin_build, finish_build, run_build
from flows.execute import InProcess
from flows.plan import Build
from flows.steps import STEPS
from schemas.config import Config
from schemas.config_file import load_config
from schemas.errors import SourceError
from tests.conftest import Quiet, write_config


class Telling(InProcess):
    """Remembers what it was asked to call."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def call(self, name: str, function: Callable[[], Any]) -> Any:
        self.names.append(name)
        return super().call(name, function)


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
