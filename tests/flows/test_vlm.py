"""A build whose teacher looks: a real chat server answers, well and badly, and a release comes of the good answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from corpus.store import Store
from flows.build import Outcome, run_build
from flows.execute import InProcess, rejections_of
from flows.plan import Build
from schemas.config import Config
from schemas.errors import UserError
from tests.annotators.vlm.chat_server import chat_server, honest
from tests.annotators.vlm.scripted import good_observation
from tests.conftest import Quiet

CASES = 40


@pytest.fixture
def looking(drawn_sample: Path, config_for: Callable[..., Config]) -> Callable[..., Config]:
    def made(url: str, **changes: Any) -> Config:
        config = config_for(drawn_sample, f"limit={CASES}", "propose.candidates=2", "gate.max_rejected_share=1")
        http = {"endpoints": [{"url": url}], "max_attempts": 2, "backoff_seconds": 0.01, "patience_seconds": 1}
        vlm = {"http": http, "model": "m", "terms": "CC0-1.0", "blind_share": 0.0, **changes}
        told = config.model_dump(mode="json")
        told["propose"] |= {"teacher": "vlm", "vlm": vlm}
        return Config.model_validate(told)

    return made


def build(config: Config) -> tuple[Outcome, Build]:
    outcome = run_build(config, InProcess(), Quiet())
    outputs = {report.output.step: report.output for report in outcome.reports}
    return outcome, Build(config, Store(config.workspace), outputs)


def test_a_release_comes_of_what_a_model_saw_and_again_nothing_is_asked(looking: Callable[..., Config]) -> None:
    with chat_server() as server:
        config = looking(server.url)
        outcome, done = build(config)
        asked = list(server.log)
        again, _ = build(config)
        assert server.log == asked
    assert (again.release.digest, again.is_new) == (outcome.release.digest, False)
    rows = pl.read_parquet(f"{outcome.path(config)}/data/train/*.parquet")
    assert rows["image_grounded"].all()
    assert rows["label_seen"].all()
    cases = done.table("split", "cases").height
    assert Counter(step for step, _ in asked) == {"observe": cases, "reason": 2 * cases, "write": 2 * cases}
    assert len(set(asked)) == len(asked), "nothing is asked twice"


def test_exactly_the_good_answers_are_accepted_at_default_thresholds(looking: Callable[..., Config]) -> None:
    bad: dict[str, str] = {}

    def half_good(step: str, image: str, body: dict[str, Any]) -> str:
        if step == "observe" and int(image[:2], 16) % 3 == 0:
            bad[image] = "no_skin_seen"
            return json.dumps({**good_observation(), "quality": "no_skin"})
        if step == "reason" and int(image[:2], 16) % 3 == 1:
            bad[image] = "refusal"
            return "I'm sorry, but I can't assist with medical images."
        return honest(step, image, body)

    with chat_server(half_good) as server:
        _, done = build(looking(server.url, attempts=2))
    cases = done.table("split", "cases")
    accepted = set(done.rows("standardise", ["case_id"])["case_id"])
    refused = rejections_of(done.outputs["propose"], done.store)
    narratives = refused.filter(pl.col("record_kind") == "narrative")
    assert len(accepted) == cases.height - len(bad)
    assert Counter(narratives["rule"]) == Counter({rule: 2 * n for rule, n in Counter(bad.values()).items()})
    attempts = refused.filter(pl.col("record_kind") == "attempt")
    wanted = {"no_skin_seen": 2, "refusal": 4}  # a case is looked at twice; each of two candidates reasons twice
    assert Counter(attempts["rule"]) == Counter({r: wanted[r] * n for r, n in Counter(bad.values()).items()})
    chosen = done.table("select", "selected")
    scored = done.rows("evaluate", ["narrative_id", "overall"])
    assert scored.height == 2 * len(accepted)
    assert set(chosen["case_id"]) <= accepted
    held = cases.filter(pl.col("split") == "train")["case_id"]
    assert set(chosen.filter(pl.col("split") == "train")["case_id"]) == set(held) & accepted


def test_a_server_that_is_gone_is_one_sentence_and_what_was_answered_is_kept(looking: Callable[..., Config]) -> None:
    def stops(step: str, image: str, body: dict[str, Any]) -> str:
        if step == "write":
            raise ConnectionError
        return honest(step, image, body)

    with chat_server(stops) as server:
        config = looking(server.url)
        with pytest.raises(UserError, match="again"):
            build(config)
        before = {asked for asked in server.log if asked[0] != "write"}
    assert before
    with chat_server() as server:
        build(looking(server.url))
        assert not before & set(server.log), "what was answered is not asked again"
        assert any(step == "write" for step, _ in server.log)


def test_what_must_not_leave_the_house_is_sent_to_no_other_server(
    looking: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotators.engines.terms.is_loopback", lambda url: False)
    with chat_server() as server:
        config = looking(server.url)
        shut = [source.model_copy(update={"external_processing": False}) for source in config.sources]
        with pytest.raises(UserError):  # nothing is left to publish
            build(config.model_copy(update={"sources": tuple(shut)}))
        assert not server.log
