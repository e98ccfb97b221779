"""A build whose teacher looks: a real chat server answers, well and badly, and a release comes of the good answers."""

from __future__ import annotations

import json
import re
import time
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
from tests.annotators.vlm.chat_server import Answer, InsteadError, chat_server, honest
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


#: What a server may do to every case of a kind, the step at which, and the rule it is rejected by (None: it is not).
KINDS: dict[str, tuple[str, str | None]] = {
    "good": ("", None),
    "busy at first": ("write", None),
    "broken at first": ("observe", None),
    "sees no skin": ("observe", "no_skin_seen"),
    "refuses": ("reason", "refusal"),
    "repeats the prompt": ("reason", "prompt_echo"),
    "writes no JSON": ("write", "invalid_json"),
    "leaves a field out": ("write", "invalid_json"),
    "sends half a body": ("write", "bad_response"),
    "fails for ever": ("reason", "server_error"),
    "answers too late": ("reason", "timeout"),
    "feels what it cannot": ("write", "photograph_cannot_show"),
    "reassures": ("write", None),
    "argues nothing": ("write", None),
}
#: Kinds whose answers are of the schema and good for nothing: the thresholds refuse them.
POOR = ("reassures", "argues nothing")


def as_planned(plan: dict[str, str]) -> Answer:
    """A server that does to every case what its image's place in ``plan`` says; ``plan`` is filled with each."""
    seen: Counter[str] = Counter()

    def answer(step: str, image: str, body: dict[str, Any]) -> str:
        image = image[:8] or re.search(r"image: ([0-9a-f]{8})", json.dumps(body))[1]  # type: ignore[index]
        kind = plan.setdefault(image, list(KINDS)[int(image, 16) % len(KINDS)])
        said = honest(step, image, body)
        if step != KINDS[kind][0]:
            return said
        request = json.dumps(body["messages"])
        seen[request] += 1
        told = json.loads(said) if step != "reason" else {}
        if kind.endswith("at first"):
            if seen[request] == 1:
                raise InsteadError(429, Retry_After="0") if kind == "busy at first" else InsteadError(503)
            return said
        if kind == "sends half a body":
            raise InsteadError(200, half=True)
        if kind == "fails for ever":
            raise InsteadError(500)
        if kind == "answers too late":
            time.sleep(1.5)
        if kind == "leaves a field out":
            told.pop("limitations")
        if kind == "argues nothing":
            told["differential"] = [
                {**entry, "evidence_for": ["It is possible."], "evidence_against": []} for entry in told["differential"]
            ]
        changes: dict[str, dict[str, Any]] = {
            "sees no skin": {"quality": "no_skin"},
            "feels what it cannot": {"findings": [{"concept": "papule", "text": "It is firm and tender."}]},
            "reassures": {"next_step": "It is harmless, so there is no need to see a doctor."},
        }
        words = {"refuses": "I'm sorry, but I can't assist with medical images.", "writes no JSON": "A papule",
                 "repeats the prompt": body["messages"][0]["content"], "answers too late": said}  # fmt: skip
        if not isinstance(words["repeats the prompt"], str):
            words["repeats the prompt"] = "".join(part["text"] for part in words["repeats the prompt"])
        return words.get(kind) or json.dumps({**told, **changes.get(kind, {})})

    return answer


def test_exactly_the_good_answers_are_accepted_at_default_thresholds(looking: Callable[..., Config]) -> None:
    kind_of: dict[str, str] = {}
    patient = {"max_attempts": 3, "backoff_seconds": 0.01, "patience_seconds": 90, "rest_after": 1000,
               "timeout_seconds": 1.0}  # fmt: skip
    with chat_server(as_planned(kind_of)) as server:
        config = looking(server.url, attempts=2)
        told = config.propose.vlm.http.model_copy(update=patient)  # type: ignore[union-attr]
        config = looking(server.url, attempts=2, http=told.model_dump(mode="json"))
        outcome, done = build(config.model_copy(update={"limit": 3 * CASES}))
        asked = len(server.log)
        build(config.model_copy(update={"limit": 3 * CASES}))
        assert len(server.log) == asked, "what was answered is not asked again, however bad it was"
    n = Counter(kind_of.values())
    assert set(n) == set(KINDS), n
    refused = rejections_of(done.outputs["propose"], done.store)
    rules = Counter({rule: 0 for _, rule in KINDS.values() if rule})
    for kind, (_, rule) in KINDS.items():
        rules.update({rule: 2 * n[kind]} if rule else {})
    assert Counter(refused.filter(pl.col("record_kind") == "narrative")["rule"]) == rules
    tries = {kind: 2 if step == "observe" else 4 for kind, (step, _) in KINDS.items()}  # of all candidates of a case
    attempts = Counter({rule: 0 for rule in rules})
    for kind, (_, rule) in KINDS.items():
        attempts.update({rule: tries[kind] * n[kind]} if rule else {})
    assert Counter(refused.filter(pl.col("record_kind") == "attempt")["rule"]) == attempts
    written = done.rows("propose", ["narrative_id", "case_id", "completion"])
    scored = done.rows("evaluate", ["narrative_id", "overall"])
    assert scored.height == 2 * sum(n[kind] for kind, (_, rule) in KINDS.items() if rule is None)
    poor = written.filter(pl.col("completion").str.contains("harmless|It is possible"))["case_id"].unique()
    good = set(written["case_id"]) - set(poor)
    assert (len(poor), len(good)) == (sum(n[k] for k in POOR), n["good"] + n["busy at first"] + n["broken at first"])
    train = set(done.table("split", "cases").filter(pl.col("split") == "train")["case_id"])
    chosen = done.table("select", "selected").filter(pl.col("split") == "train")
    assert set(chosen["case_id"]) == good & train
    published = pl.read_parquet(f"{outcome.path(config)}/data/train/*.parquet")
    assert set(published["case_id"]) == good & train


def test_what_no_server_answered_is_asked_again_when_that_is_wanted(looking: Callable[..., Config]) -> None:
    broken = True

    def breaks(step: str, image: str, body: dict[str, Any]) -> str:
        if broken and step == "observe" and int(image[:2], 16) % 2:
            raise InsteadError(500)
        return honest(step, image, body)

    with chat_server(breaks) as server:
        http = {"endpoints": [{"url": server.url}], "max_attempts": 1, "rest_after": 1000, "patience_seconds": 60}
        _, done = build(looking(server.url, http=http, attempts=1))
        lost = rejections_of(done.outputs["propose"], done.store).filter(pl.col("record_kind") == "narrative")
        assert set(lost["rule"]) == {"server_error"}
        broken, asked = False, list(server.log)
        build(looking(server.url, http=http, attempts=1))
        assert server.log == asked, "a build that is done stays done"
        _, done = build(looking(server.url, http=http, attempts=1, again=1))
        more = Counter(step for step, _ in server.log[len(asked) :])
    assert rejections_of(done.outputs["propose"], done.store).is_empty()
    assert more == {"observe": lost.height // 2, "reason": lost.height, "write": lost.height}


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
        end = {"url": server.url, "own": True}
        ours = looking(server.url, http={**told_of(config), "endpoints": [end]})
        build(ours.model_copy(update={"sources": tuple(shut)}))
        assert server.log, "once there is a server that may have it, it is asked"


def test_what_no_server_took_is_asked_again_once_it_is_asked_in_another_way(looking: Callable[..., Config]) -> None:
    def old(step: str, image: str, body: dict[str, Any]) -> str:
        if "max_completion_tokens" in body and step != "observe":
            raise InsteadError(400)
        return honest(step, image, body)

    with chat_server(old) as server:
        config = looking(server.url)
        wrong = {"url": server.url, "max_tokens_field": "max_completion_tokens"}
        with pytest.raises(UserError):  # nothing is left to publish
            build(looking(server.url, http={**told_of(config), "endpoints": [wrong]}))
        seen = [asked for asked in server.log if asked[0] == "observe"]
        build(config)
        assert [asked for asked in server.log if asked[0] == "observe"] == seen, "what was answered is not asked again"


def told_of(config: Config) -> dict[str, Any]:
    """How servers are asked."""
    assert config.propose.vlm is not None and config.propose.vlm.http is not None
    return config.propose.vlm.http.model_dump(mode="json")
