"""What is told while a teacher works, and what a run's record says it came to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotators.engines.meter import Meter
from flows.build import run_build
from flows.execute import InProcess, ShardDone
from flows.plan import Build
from flows.teacher_progress import _Seen, duration, watch_teacher
from flows.teacher_steps import close_teacher, meter_of
from schemas.config import Config
from schemas.errors import UserError
from tests.annotators.vlm.chat_server import chat_server, honest
from tests.conftest import Quiet
from tests.flows.test_vlm import looking  # noqa: F401


def counted(**told: float) -> dict[str, float]:
    meter = Meter()
    meter.add(**told)
    return meter.totals()


def test_speed_share_and_time_left_are_those_of_the_last_minutes() -> None:
    seen = _Seen(before=100, total=1100, candidates=3)
    assert seen.note(0, counted()) == ""
    note = seen.note(10, counted(results=140, completion_tokens=5000, kept=30, lost=10))
    assert note == "2 cases/s, 500 tokens/s, 8 min left, 75% of narratives kept"
    assert seen.cases(counted(results=140)) == 120
    later = counted(results=7 * 900, completion_tokens=1e6, kept=30, lost=10, memory=61.2 * 2**30, memory_total=2**37)
    assert seen.note(10_000, later).endswith("kept, GPU 61.2 of 128.0 GiB")
    seen.finished = 950
    assert seen.cases(counted(results=140)) == 1050, "a shard whose requests failed early is finished all the same"
    assert seen.cases(counted(results=1e6)) == 1100


def test_who_needs_many_attempts_is_not_done_early_and_the_bar_never_goes_back() -> None:
    seen, told = _Seen(before=0, total=100, candidates=3), []
    for n in range(1, 101):  # every narrative takes three times the requests it would at best
        told.append(seen.cases(counted(results=21 * n, settled=3 * n)))
    assert told == sorted(told) and told[-1] == 100
    assert told[49] <= 51
    assert seen.cases(counted(results=0)) == 100


@pytest.mark.parametrize(("seconds", "words"), [(3, "3 s"), (59, "1 min"), (600, "10 min"), (7500, "2 h 5 min"),
                                                (400_000, "4 days")])  # fmt: skip
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_totals_of_other_processes_are_counted_once_however_often_they_are_told() -> None:
    meter = Meter()
    meter.add(answered=2)
    for n in (1, 5):
        meter.told("host 1", {"answered": n})
    meter.told("host 2", {"answered": 7})
    assert meter.totals()["answered"] == 14


def test_long_work_is_told_of_before_a_shard_is_finished(looking: Callable[..., Config]) -> None:  # noqa: F811
    config = looking("http://127.0.0.1:1/v1")
    told = Quiet()
    with watch_teacher(Build(config, None), told, 10, 100) as finished:  # type: ignore[arg-type]
        meter_of(config.workspace).add(results=50)
        time.sleep(1.2)
        assert ("propose", 20, 100) in told.seen
        finished(ShardDone(30, "elsewhere 1", {"answered": 90.0}))
    assert told.seen[-1] == ("propose", 40, 100)
    came_to = close_teacher(config.workspace)
    assert came_to is not None and came_to["answered"] == 90


def run_record(config: Config) -> dict[str, Any]:
    [file] = sorted(Path(config.workspace).glob("runs/*/run.json"))[-1:]
    told: dict[str, Any] = json.loads(file.read_text())
    return told


def test_a_run_says_what_its_teacher_came_to(looking: Callable[..., Config]) -> None:  # noqa: F811
    def sometimes(step: str, image: str, body: dict[str, Any]) -> str:
        if step == "write":
            raise ConnectionError
        return honest(step, image, body)

    def priced(url: str) -> Config:
        endpoint = {"url": url, "price_per_million_prompt_tokens": 2.0, "price_per_million_completion_tokens": 10.0}
        return looking(url, http={"endpoints": [endpoint], "max_attempts": 1, "patience_seconds": 0.5})

    with chat_server(sometimes) as server:
        with pytest.raises(UserError):
            run_build(priced(server.url), InProcess(), Quiet())
        came_to = run_record(priced(server.url))["teacher"]
        answered = sum(step != "write" for step, _ in server.log)
    assert came_to["answered"] == answered > 0, "a run that fails says what it paid for too"
    assert (came_to["prompt_tokens"], came_to["completion_tokens"]) == (50 * answered, 20 * answered)
    assert came_to["cost"] == pytest.approx(answered * (50 * 2 + 20 * 10) / 1e6)
    assert came_to["engines"][0]["engine"] == "http"
    [server_did] = came_to["engines"][0]["usage"]
    assert server_did["answered"] == answered and server_did["faults"]["connection"] > 0
    with chat_server() as server:
        config = priced(server.url)
        run_build(config, InProcess(), Quiet())
        came_to = run_record(config)["teacher"]
        assert came_to["answered"] == len(server.log) < came_to["results"], "what was kept is not paid for again"
    assert came_to["engines"][0]["cache"]["hits"] == came_to["results"] - came_to["answered"]
    assert came_to["kept"] > 0 == came_to["lost"]
    run_build(config, InProcess(), Quiet())
    assert "teacher" not in run_record(config), "where nothing is asked there is nothing to tell"
