"""The doctor before a run: what it finds there, what it finds missing, and that it gives no key away."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotators.engines.cache import RequestCache
from annotators.engines.protocol import Completion
from corpus.digests import digest_of
from flows.cli import app, guarded
from flows.doctor import examine
from flows.doctor_model import device_checks
from flows.doctor_trial import Check
from schemas.config import Config
from schemas.config_file import load_config
from schemas.engine_config import TransformersSettings
from schemas.errors import ConfigError
from tests.annotators.vlm.chat_server import chat_server
from tests.annotators.vlm.scripted import good_observation

KEY = "sk-never-to-be-seen-7b1e"


def obedient(step: str, image: str, body: dict[str, Any]) -> str:
    """Answers of their schema, whatever the prompt says."""
    return json.dumps(good_observation() if step == "observe" else {"word": "honoured"})


def deaf(step: str, image: str, body: dict[str, Any]) -> str:
    """A good observation, since the prompt asks for it; schemas are not heard of."""
    return json.dumps(good_observation()) if step == "observe" else "Hello!"


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., Config]:
    """``configured(endpoint, ..., field=value)``: the file of a teacher, over three images that may not leave."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "table.csv").write_text("image,label\na.jpg,acne\nb.jpg,acne\nc.jpg,acne\n")
    for name in "abc":
        (source / f"{name}.jpg").touch()

    def made(*endpoints: dict[str, Any], shut: bool = True, **vlm: Any) -> Config:
        told = {"name": "s", "adapter": "folder", "path": str(source), "columns": {}, "licence": "CC-BY-NC-4.0"}
        propose: dict[str, Any] = {}
        if endpoints or vlm:
            http = {"http": {"endpoints": endpoints}} if endpoints else {}
            vlm = {"model": "m", "revision": "r1", "terms": "CC0-1.0", **http, **vlm}
            propose = {"teacher": "vlm", "vlm": vlm}
        document = {
            "workspace": str(tmp_path / "workspace"), "propose": propose,
            "sources": [{**told, "external_processing": not shut}],
        }  # fmt: skip
        (tmp_path / "config.yaml").write_text(json.dumps(document))
        return load_config(tmp_path / "config.yaml")

    return made


def looked(config: Config) -> dict[str, Check]:
    return {check.about: check for check in examine(config, lambda told: None)}


def states(checks: dict[str, Check]) -> dict[str, str]:
    """What is not well."""
    return {check.about: check.state for check in checks.values() if check.state != "ok"}


def run(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the command."""
    status = guarded(lambda: app(["doctor", "-c", str(tmp_path / "config.yaml")]))
    return status, *capfd.readouterr()


def test_the_textbook_needs_nothing(
    configured: Callable[..., Config], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    configured()
    status, out, _ = run(capfd, tmp_path)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith("ok       teacher: textbook: ") and "no weights, no GPU and no server" in lines[0]
    assert [line.split(":")[0].split(maxsplit=1)[-1] for line in lines] == [
        "teacher", "workspace", "disk", "request cache", "Ready."
    ]  # fmt: skip
    assert not (tmp_path / "workspace").exists(), "looking leaves nothing behind"


def test_a_good_server_is_asked_once_and_once_more_and_all_is_well(configured: Callable[..., Config]) -> None:
    with chat_server(obedient, models=("m", "other")) as server:
        checks = looked(configured({"url": server.url, "price_per_million_prompt_tokens": 2.0}))
    assert not states(checks)
    assert [step for step, _ in server.log] == ["observe", "write"]
    assert "50 tokens read and 20 written" in checks["server request"].found
    assert "price 0.000100" in checks["server request"].found
    assert "usable: it reports 3 findings" in checks["server request"].found
    assert "on this machine" in checks["server"].found
    assert checks["server models"].found == "it lists 'm'"
    assert checks["server response_format"].found.startswith("honoured")
    assert "no image leaves the house" in checks["image terms"].found


def test_a_server_that_forgets_the_schema_is_told_apart_though_its_answer_is_good(
    configured: Callable[..., Config],
) -> None:
    with chat_server(deaf) as server:
        checks = looked(configured({"url": server.url}, revision=None))
    assert states(checks) == {"revision": "warning", "server response_format": "warning"}
    assert "'Hello!'" in checks["server response_format"].found
    assert "keeps no list of models" in checks["server models"].found


@pytest.mark.parametrize(
    ("answer", "state", "kind"),
    [
        ("I see a mole.", "missing", "invalid_json"),
        ("I'm sorry, but I can't assist with medical images.", "warning", "refusal"),
        (" ", "missing", "empty"),
        (json.dumps({**good_observation(), "quality": "no_skin"}), "warning", "it sees no skin"),
    ],
)
def test_an_answer_that_is_none_is_told_with_its_kind(
    configured: Callable[..., Config], answer: str, state: str, kind: str
) -> None:
    with chat_server(lambda step, image, body: answer if step == "observe" else '{"word": "honoured"}') as server:
        checks = looked(configured({"url": server.url}))
    assert states(checks) == {"server request": state}
    assert kind in checks["server request"].found and checks["server request"].todo


def test_every_server_is_looked_at_and_one_that_is_down_is_missing(configured: Callable[..., Config]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    with chat_server(obedient) as server:
        checks = looked(configured({"url": gone}, {"url": server.url}))
    assert states(checks) == {"server 1 models": "missing"}
    assert f"nothing answers at {gone}" in checks["server 1 models"].found
    assert "vllm serve m --port" in checks["server 1 models"].todo
    assert checks["server 2 request"].state == "ok"


def test_an_unknown_model_is_missing_and_what_there_is_is_named(configured: Callable[..., Config]) -> None:
    with chat_server(obedient, models=("a", "b", "c", "d", "model-m")) as server:
        checks = looked(configured({"url": server.url, "model": "model-n"}))
    assert states(checks) == {"server models": "warning", "server request": "missing"}
    assert "it lists 'model-m', " in checks["server models"].found and "and 2 more" in checks["server models"].found
    assert "status 404" in checks["server request"].found


def test_keys_are_named_by_their_place_and_never_shown(
    configured: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("RIGHT_KEY", KEY)
    monkeypatch.setenv("WRONG_KEY", wrong := KEY[::-1])
    monkeypatch.delenv("NO_KEY", raising=False)

    def leaking(step: str, image: str, body: dict[str, Any]) -> str:
        return f"I was given {KEY}"

    with (
        chat_server(obedient, key=KEY, models=("m", f"model-for-{KEY}")) as good,
        chat_server(obedient, key="another") as refusing,
        chat_server(leaking) as rude,
    ):
        configured(
            {"url": good.url, "api_key_env": "RIGHT_KEY", "model": "n"},
            {"url": refusing.url, "api_key_env": "WRONG_KEY"},
            {"url": rude.url, "api_key_env": "RIGHT_KEY"},
            {"url": "http://127.0.0.1:1/v1", "api_key_env": "NO_KEY"},
        )
        status, out, err = run(capfd, tmp_path)
    assert status == 2
    assert out.splitlines()[-1] == (
        "Not ready: see to server 1 request, server 2 request, server 3 request, server 4 key."
    )
    assert "server 1 key: found in the environment variable RIGHT_KEY" in out
    assert f"{refusing.url} does not take the key (status 401)" in out
    assert "put the right key into the environment variable WRONG_KEY" in out
    assert "server 4 key: http://127.0.0.1:1/v1 needs a key. To do: put it into the environment variable NO_KEY" in out
    assert "model-for-***" in out and "I was given ***" in out
    assert KEY not in out + err and wrong not in out + err


@pytest.mark.parametrize(
    "endpoint", [{"url": f"http://me:{KEY}@127.0.0.1/v1"}, {"url": "http://127.0.0.1/v1", "api_key_env": KEY}]
)
def test_a_key_in_the_wrong_place_is_refused_and_not_repeated(
    configured: Callable[..., Config], endpoint: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as refused:
        configured(endpoint)
    shown: BaseException | None = refused.value
    while shown is not None:
        assert KEY not in str(shown)
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


def test_images_that_may_be_sent_nowhere_are_counted(
    configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotators.engines.terms.is_loopback", lambda url: False)
    with chat_server(obedient) as server:
        checks = looked(configured({"url": server.url}))
        assert states(checks) == {"image terms": "missing"}
        assert "3 of 3 images, in 1 of 1 sources: s (3 of 3, CC-BY-NC-4.0)" in checks["image terms"].found
        assert not states(looked(configured({"url": server.url, "own": True})))
        assert not states(looked(configured({"url": server.url}, shut=False)))


def test_answers_that_are_there_are_counted_while_they_are_written(
    configured: Callable[..., Config], tmp_path: Path
) -> None:
    with RequestCache(tmp_path / "workspace/requests") as cache:
        for number in range(7):
            cache.put(Completion(digest_of(number), "answer", "stop", 1, 1, 0.1, "x"))
        segment = next((tmp_path / "workspace/requests").iterdir())
        before = segment.read_bytes()
        assert "7 answers" in looked(configured())["request cache"].found
        assert segment.read_bytes() == before, "a segment that somebody writes is left alone"
    (tmp_path / "workspace/requests/torn.segment").write_bytes(before[:-3])
    assert "7 answers" in looked(configured())["request cache"].found
    assert (tmp_path / "workspace/requests/torn.segment").read_bytes() == before[:-3]


def test_a_workspace_that_cannot_be_is_missing(configured: Callable[..., Config], tmp_path: Path) -> None:
    (tmp_path / "workspace").write_text("a file")
    checks = looked(configured())
    assert states(checks) == {"workspace": "missing"} and "choose another place" in checks["workspace"].todo


def test_a_tiny_checkpoint_answers_on_the_cpu_and_is_warned_of(
    configured: Callable[..., Config], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from tests.annotators.engines.tiny_checkpoints import build

    build("llava", tmp_path / "tiny")
    checks = looked(configured(model=str(tmp_path / "tiny"), transformers={"devices": ["cpu"]}, max_tokens=24))
    assert states(checks) == {"device": "warning", "request": "warning"}
    assert "this is slow" in checks["device"].found
    assert "llava, revision " in checks["checkpoint"].found and "float32 on cpu" in checks["checkpoint"].found
    assert "no usable answer, truncated" in checks["request"].found and "24 written" in checks["request"].found
    assert "raise propose.vlm.max_tokens" in checks["request"].todo
    checks = looked(configured(model=str(tmp_path / "tiny"), transformers={"devices": ["cpu"]}, max_tokens=4000))
    assert "the context ended" in checks["request"].todo


@pytest.mark.parametrize("damage", ["absent", "empty", "weights"])
def test_a_checkpoint_that_is_none_is_missing(configured: Callable[..., Config], tmp_path: Path, damage: str) -> None:
    pytest.importorskip("torch")
    place = tmp_path / "checkpoint"
    if damage == "empty":
        place.mkdir()
    if damage == "weights":
        from tests.annotators.engines.tiny_checkpoints import build

        (build("llava", place) / "model.safetensors").write_bytes(b"\x10" * 64)
    checks = looked(configured(model=str(place), transformers={"devices": ["cpu"]}))
    assert states(checks) == {"device": "warning", "checkpoint": "missing"}
    assert "request" not in checks
    assert ("hf download" in checks["checkpoint"].todo) == (damage == "absent")


def test_without_torch_it_says_what_to_install(
    configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    checks = looked(configured(model="m", transformers={}))
    assert states(checks) == {"packages": "missing"}
    assert checks["packages"].found == "torch is not installed"
    assert checks["packages"].todo == "pip install 'dermcot[vlm]'"


@pytest.mark.parametrize(
    ("gpus", "device", "state", "found", "todo"),
    [
        (0, "cuda:0", "missing", "cuda:0 is configured, and torch ", "name a server as http"),
        (0, "gpu", "missing", "torch knows no device 'gpu'", "name cuda:0 or cpu"),
        (0, None, "warning", "since torch finds no GPU: this is slow", "name a server as http"),
        (1, None, "ok", "cuda:0, GPU 0, 30.0 of 80.0 GB free", ""),
        (3, None, "ok", "cuda:0, GPU 0, 30.0 of 80.0 GB free", ""),
        (4, "cuda:2", "ok", "cuda:2, GPU 2, 30.0 of 80.0 GB free", ""),
        (2, "cuda:2", "missing", "finds 2 GPUs", "cuda:0 to cuda:1"),
    ],
)
def test_the_device_is_named_with_its_memory(
    monkeypatch: pytest.MonkeyPatch, gpus: int, device: str | None, state: str, found: str, todo: str
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda nth: (30 * 10**9, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda nth: f"GPU {nth}")
    [check, *others] = device_checks(TransformersSettings(devices=(device,) if device else ()))
    assert len(others) == (gpus - 1 if gpus and device is None else 0)
    assert (check.state, found in check.found, todo in check.todo) == (state, True, True), check
