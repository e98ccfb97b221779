"""A model in process: batched as if alone, seeded, of its schema, and no request takes another down."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from annotators.engines.protocol import Completion, Failure, Image, Request
from annotators.engines.transformers_cache import GrowingLayer
from annotators.engines.transformers_engine import TransformersEngine, share
from annotators.engines.transformers_prompts import opened as opened_picture
from annotators.engines.transformers_rows import Row, choose
from schemas.errors import UserError
from tests.annotators.engines.tiny_checkpoints import FAMILIES, build
from tests.annotators.engines.transformers_cases import answers, ask, generated, picture, texts, varied

torch = pytest.importorskip("torch")

Opened = Callable[..., TransformersEngine]

FINDINGS = {
    "type": "object",
    "properties": {
        "finding": {"type": "string", "minLength": 1, "maxLength": 12},
        "certainty": {"enum": ["low", "high"]},
        "scores": {
            "type": "array",
            "minItems": 2,
            "maxItems": 3,
            "items": {"type": "integer", "minimum": 0, "maximum": 5},
        },
    },
    "required": ["finding", "certainty", "scores"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    built: dict[str, Path] = {}

    def directory(family: str) -> Path:
        if family not in built:
            built[family] = build(family, tmp_path_factory.mktemp("checkpoints") / family)
        return built[family]

    return directory


@pytest.fixture(scope="module")
def opened(directories: Callable[[str], Path]) -> Iterator[Opened]:
    """An engine on the tiny checkpoint of a family; on one thread, since more only wait for each other here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    held: dict[str, TransformersEngine] = {}

    def engine(family: str = "llava", most_rows: int = 5, fresh: bool = False, **settings: Any) -> TransformersEngine:
        if fresh or settings:
            return TransformersEngine(directories(family), device="cpu", most_rows=most_rows, **settings)
        if family not in held:
            held[family] = TransformersEngine(directories(family), device="cpu", threads=2)
        held[family].most_rows = most_rows
        return held[family]

    yield engine
    torch.set_num_threads(threads)


@contextmanager
def memory_for(engine: TransformersEngine, most_cells: int, seen: list[int], decoding: bool = False) -> Iterator[None]:
    """Memory in which no more than so many cells (rows times columns) of a batch fit."""

    def before(module: Any, args: Any, inputs: dict[str, Any]) -> None:
        cells = inputs["attention_mask"].numel()
        if cells > most_cells and (not decoding or inputs["input_ids"].shape[1] == 1):
            raise torch.OutOfMemoryError(f"{cells} cells")
        seen.append(len(inputs["input_ids"]))

    hook = engine.checkpoint.model.register_forward_pre_hook(before, with_kwargs=True)
    yield
    hook.remove()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_answers_as_generate_does_one_by_one(family: str, opened: Opened) -> None:
    engine = opened(family)
    requests = varied(9, most_tokens=16)
    alone = {request.key: generated(engine.checkpoint, request) for request in requests}
    assert len(set(alone.values())) > 7  # the model says something, and not always the same
    assert texts(engine.generate(requests)) == alone


def test_a_drawn_answer_hangs_on_its_seed_not_on_its_batch(opened: Opened) -> None:
    requests = varied(10, temperature=1.0, top_p=0.9, images=False)
    first = texts(opened().generate(requests))
    assert texts(opened().generate(requests)) == first
    assert texts(opened(most_rows=1).generate(requests)) == first
    assert texts(opened(most_rows=3).generate(requests[::-1])) == first
    seeds = [ask("Describe", seed=seed, temperature=1.0, max_tokens=24) for seed in range(6)]
    assert len(set(texts(opened().generate(seeds)).values())) == 6


@pytest.mark.parametrize(
    ("temperature", "top_p", "shares"),
    [(1.0, 1.0, [0.1, 0.5, 0.0, 0.4]), (0.5, 1.0, [0.01 / 0.42, 0.25 / 0.42, 0.0, 0.16 / 0.42]),
     (1.0, 0.8, [0.0, 5 / 9, 0.0, 4 / 9]), (1.0, 0.3, [0.0, 1.0, 0.0, 0.0]), (0.0, 1.0, [0.0, 1.0, 0.0, 0.0])],
)  # fmt: skip
def test_tokens_are_drawn_in_proportion(temperature: float, top_p: float, shares: list[float]) -> None:
    rows = [Row(ask("x", temperature=temperature, top_p=top_p), 1, 9, None, 0.0) for _ in range(1000)]
    for nth, row in enumerate(rows):
        row.uniform = lambda nth=nth: nth / 1000  # type: ignore[method-assign, misc]
    drawn = choose(torch.tensor([0.1, 0.5, 0.0, 0.4]).log().expand(1000, 4), rows, None)
    assert [drawn.count(token) / 1000 for token in range(4)] == pytest.approx(shares, abs=0.002)


def test_answers_are_of_their_schema_at_every_temperature(opened: Opened) -> None:
    choice = {"enum": ["benign", "malignant"]}
    asked = [(FINDINGS, 0.0), (FINDINGS, 1.0), (choice, 2.0), (None, 1.0), (FINDINGS, 3.0)] * 3
    requests = [
        ask(picture(nth, 60, 60), "Answer", str(nth), schema=schema, temperature=heat, seed=nth, max_tokens=200)
        for nth, (schema, heat) in enumerate(asked)
    ]  # fmt: skip
    results = {result.key: result for result in opened().generate(requests)}
    for request in requests:
        result = results[request.key]
        if request.schema is not None:
            assert isinstance(result, Completion), result
            assert result.finish_reason == "stop"
            jsonschema.validate(json.loads(result.text), request.schema)
    drawn = {results[request.key].text for request in requests if request.schema is FINDINGS}  # type: ignore[union-attr]
    assert len(drawn) > 5


def test_an_answer_ends_at_a_stop_string_an_end_token_or_its_limit(opened: Opened) -> None:
    engine = opened(fresh=True)
    free = answers(engine.generate([ask("Describe", max_tokens=20)])).popitem()[1]
    assert (free.finish_reason, free.completion_tokens) == ("length", 20)
    tokens = engine.checkpoint.tokenizer(free.text, add_special_tokens=False)["input_ids"]
    stop = free.text[len(free.text) // 2 :][:3]
    stopped = answers(engine.generate([ask("Describe", max_tokens=20, stop=("never said", stop))])).popitem()[1]
    assert stopped.finish_reason == "stop" and stopped.text == free.text[: free.text.index(stop)]
    assert stopped.completion_tokens < 20
    engine.checkpoint = replace(engine.checkpoint, ends=(tokens[5],))
    ended = answers(engine.generate([ask("Describe", max_tokens=20)])).popitem()[1]
    assert ended.finish_reason == "stop" and free.text.startswith(ended.text) and ended.completion_tokens <= 6


@pytest.mark.parametrize("decoding", [False, True])
def test_what_does_not_fit_into_memory_is_tried_in_smaller_batches(opened: Opened, decoding: bool) -> None:
    requests = varied(14, images=False, temperature=0.7)
    roomy = texts(opened(most_rows=8).generate(requests))
    engine, seen = opened(most_rows=8), []
    with memory_for(engine, 300, seen, decoding):
        assert texts(engine.generate(requests)) == roomy
    assert 1 <= max(seen[20:]) < 8


def test_a_request_that_does_not_fit_alone_fails_and_no_other(opened: Opened) -> None:
    requests = varied(6, images=False)
    large = ask("Describe the lesion. " * 150)
    engine, seen = opened(), []
    with memory_for(engine, 500, seen):
        results = {result.key: result for result in engine.generate([*requests[:3], large, *requests[3:]])}
    failed = results.pop(large.key)
    assert isinstance(failed, Failure) and failed.kind == "out_of_memory" and "even alone" in failed.detail
    assert texts(results.values()) == texts(opened().generate(requests))


@pytest.mark.parametrize("at", [1, 2])  # the second layer fails when the first was already rebuilt
def test_memory_that_ends_while_rows_join_costs_no_answer(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    requests = varied(12, images=False)
    roomy = texts(opened().generate(requests))
    keep, calls = GrowingLayer.keep, []

    def short(layer: GrowingLayer, *args: Any) -> None:
        calls.append(1)
        if len(calls) == at:
            raise torch.OutOfMemoryError("no room")
        keep(layer, *args)

    monkeypatch.setattr(GrowingLayer, "keep", short)
    assert texts(opened().generate(requests)) == roomy
    assert len(calls) > at


def test_a_lowered_batch_size_rises_again(opened: Opened) -> None:
    engine, seen = opened(most_rows=4), []
    with memory_for(engine, 60, seen):
        begun = engine.generate(ask(f"Describe {nth}", max_tokens=2) for nth in range(80))
        next(begun)
    assert max(seen) < 4
    with memory_for(engine, 10**9, seen := []):
        answers(begun)
    assert max(seen[:10]) < 4 and max(seen) == 4


@pytest.mark.parametrize("scores", [[0.0, math.nan], [0.0, math.inf], [-math.inf, -math.inf]])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_token_is_chosen_by_what_is_no_number(scores: list[float], temperature: float) -> None:
    rows = [Row(ask("x", temperature=temperature, top_p=0.9), 1, 9, None, 0.0) for _ in range(2)]
    assert choose(torch.tensor([scores, [-math.inf, 1.0]]), rows, None) == [None, 1]


def test_scores_that_are_no_numbers_fail_their_request_alone(opened: Opened) -> None:
    requests = varied(8, images=False)
    poisoned = ask("Describe ~ the lesion")
    engine = opened(fresh=True)
    (token,) = engine.checkpoint.tokenizer("~", add_special_tokens=False)["input_ids"]
    healthy = texts(engine.generate(requests))
    with torch.no_grad():
        engine.checkpoint.model.get_input_embeddings().weight[token] = math.nan
    results = {result.key: result for result in engine.generate([*requests[:2], poisoned, *requests[2:]])}
    failed = results.pop(poisoned.key)
    assert isinstance(failed, Failure) and failed.kind == "not_a_number"
    assert texts(results.values()) == healthy


def _broken() -> bytes:
    raise OSError("the pack is cut short")


@pytest.mark.parametrize(
    ("request_of", "kind", "says"),
    [
        (lambda: ask(Image("d1", _broken), "Describe"), "image_unusable", "OSError: the pack is cut short"),
        (lambda: ask(Image("d2", lambda: b"no image"), "Describe"), "image_unusable", "image d2 cannot be read"),
        (lambda: ask("Describe the lesion. " * 2000), "bad_request", "the model's context 4096"),
        (lambda: ask("Describe", schema={"type": "unknown"}), "bad_request", "cannot be forced"),
    ],
)  # fmt: skip
def test_a_bad_request_fails_and_no_other(
    opened: Opened, request_of: Callable[[], Request], kind: str, says: str
) -> None:
    good, bad = varied(4), request_of()
    results = {result.key: result for result in opened().generate([good[0], bad, *good[1:]])}
    failed = results.pop(bad.key)
    assert isinstance(failed, Failure) and failed.kind == kind and says in failed.detail
    assert set(texts(results.values())) == {request.key for request in good}


def test_a_control_token_in_metadata_is_text_or_refused(opened: Opened) -> None:
    forged = ask(picture(1, 60, 60), "Describe <image>")
    (answered,) = opened("llava").generate([forged])
    assert getattr(answered, "completion", answered) is not None
    (refused,) = opened("idefics3").generate([forged])
    assert isinstance(refused, Failure) and refused.kind == "bad_request" and "<image>" in refused.detail


def test_large_images_are_scaled_down_keeping_their_form(opened: Opened) -> None:
    request = ask(picture(1, 120, 60), "Describe")
    large, small = (
        answers(opened("qwen3_vl", most_pixels=most).generate([request])).popitem()[1] for most in (None, 80 * 40)
    )
    assert (large.prompt_tokens, small.prompt_tokens) == (29, 27)  # 4 x 2 and 3 x 2 cells of 32 pixels
    assert opened_picture(picture(1, 400, 201), 3200).size == (79, 40)
    assert opened_picture(picture(1, 400, 201), None).size == (400, 201)
    assert opened(most_pixels=3200).shaped_by != opened().shaped_by == opened().shaped_by


def test_requests_are_read_as_they_are_needed_and_closing_stops(opened: Opened) -> None:
    read, kept = [], []
    threads = threading.active_count()

    def endless() -> Iterator[Request]:
        for nth in range(10**9):
            read.append((nth, threading.current_thread()))
            yield ask(f"Describe {nth}", max_tokens=3)

    results = opened().generate(endless(), kept.append)
    for n_yielded in range(1, 40):
        result = next(results)
        assert result.key in {completion.key for completion in kept}
        assert len(read) <= n_yielded + 4 * 5
    results.close()  # type: ignore[attr-defined]
    assert {thread for _, thread in read} == {threading.current_thread()}
    assert threading.active_count() == threads


def test_an_answer_is_kept_though_nobody_fetches_it(opened: Opened) -> None:
    kept: list[Completion] = []
    results = opened().generate([ask(f"Describe {nth}", max_tokens=2) for nth in range(4)], kept.append)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(kept) == 4


def test_no_request_is_no_answer(opened: Opened) -> None:
    assert list(opened().generate([])) == []


def test_an_engine_says_what_it_is(opened: Opened, directories: Callable[[str], Path], tmp_path: Path) -> None:
    told = json.loads(json.dumps(opened("gemma3").describe()))
    assert (told["family"], told["dtype"], told["device"]) == ("gemma3", "float32", "cpu")
    assert told["attention"] in {"sdpa", "eager"} and len(told["revision"]) == 64
    same, other = build("gemma3", tmp_path / "same"), build("gemma3", tmp_path / "other", seed=1)
    assert TransformersEngine(same, device="cpu").describe()["revision"] == told["revision"]
    assert TransformersEngine(other, device="cpu").describe()["revision"] != told["revision"]


@pytest.mark.parametrize(
    ("missing", "says"),
    [("config.json", "holds no config.json"), ("model.safetensors", "holds no *.safetensors"),
     ("tokenizer.json", "cannot be opened"), ("chat_template.jinja", "no chat template")],
)  # fmt: skip
def test_what_is_no_checkpoint_is_named_in_a_sentence(tmp_path: Path, missing: str, says: str) -> None:
    directory = build("llava", tmp_path / "broken")
    (directory / missing).unlink()
    with pytest.raises(UserError, match="broken") as raised:
        TransformersEngine(directory, device="cpu")
    assert says in str(raised.value) and "\n" not in str(raised.value)


def test_shares_of_processes_are_all_requests_and_none_twice() -> None:
    requests = varied(40, images=False)
    shares = [list(share(requests, nth, 3)) for nth in range(3)]
    assert sorted(request.key for part in shares for request in part) == sorted(request.key for request in requests)
    assert all(shares) and set(share(requests[::-1], 1, 3)) == set(shares[1])
