"""The engine for models in process against transformers' generate one by one, and against the memory it reads from.

Usage: ``python -m tests.benchmarks.bench_transformers [--shape tiny|7b] [--requests N] [--rows N] [--tokens N]``. The
weights are random, which changes no speed: ``tiny`` runs anywhere and shows a ratio only; ``7b`` has the shape of
Qwen2.5-VL-7B in bfloat16 and needs a GPU with 24 GB. Answers run to their length, drawn from a quarter to the whole of
``--tokens``. A decoding step must read the weights of the language model and the keys and values of its rows once; the
time that takes at the bandwidth of a copy in the same run, over the time it took, is the share of the limit.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch

from annotators.engines import transformers_engine
from annotators.engines.protocol import Request
from annotators.engines.transformers_batch import Batch
from annotators.engines.transformers_engine import TransformersEngine
from tests.annotators.engines.tiny_checkpoints import build
from tests.annotators.engines.transformers_cases import answers, ask, picture, prompted

_TEXT_7B = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 152064, "max_position_embeddings": 32768,
    "initializer_range": 0.02,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
}  # fmt: skip
_VISION_7B = {
    "depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420, "out_hidden_size": 3584,
    "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
}  # fmt: skip
_ALONE = 3  # requests answered one by one


@dataclass
class Step:
    """One decoding step: seconds, rows that were wanted, rows and columns that were read."""

    seconds: float
    live: int
    rows: int
    columns: int


class Watched(Batch):
    """A batch whose steps are timed."""

    steps: list[Step] = []

    def step(self) -> list[Any]:
        begun, live = time.perf_counter(), len(self.live)
        left = super().step()  # waits for the device: the tokens are on the host when it returns
        Watched.steps.append(Step(time.perf_counter() - begun, live, *self._mask.shape))
        return left


def engine_of(shape: str, device: str, rows: int) -> TransformersEngine:
    """An engine on random weights of a shape; its answers end by length alone."""
    engine = TransformersEngine(build("qwen2_5_vl", Path(tempfile.mkdtemp()) / shape), device=device, most_rows=rows)
    model, width = engine.checkpoint.model, engine.checkpoint.width
    if shape == "7b":
        import transformers as hf

        config = model.config.to_dict()
        config["text_config"] |= _TEXT_7B
        del config["text_config"]["layer_types"]  # one for each of the tiny model's layers
        config["vision_config"] |= _VISION_7B
        torch.set_default_dtype(getattr(torch, engine.dtype))
        with torch.device(device):
            model = hf.Qwen2_5_VLForConditionalGeneration(hf.Qwen2_5_VLConfig.from_dict(config)).eval()
        torch.set_default_dtype(torch.float32)
        width = _TEXT_7B["vocab_size"]
        engine.checkpoint.processor.image_processor.size = {"shortest_edge": 56 * 56, "longest_edge": 1024 * 1024}
    model.generation_config.eos_token_id = None
    engine.checkpoint = replace(engine.checkpoint, model=model, width=width, ends=(), context=32768)
    return engine


def drawn_requests(n: int, tokens: int, side: int, seed: int = 0) -> list[Request]:
    """Requests with one image each, about ``side`` pixels wide."""
    chance = random.Random(seed)
    return [
        ask(
            picture(nth, chance.randint(side // 2, side), chance.randint(side // 2, side)),
            "Describe the lesion, its border, colour and scale. " * chance.randint(2, 12),
            max_tokens=chance.randint(tokens // 4, tokens), temperature=0.7, top_p=0.95, seed=nth,
        ) for nth in range(n)
    ]  # fmt: skip


def bandwidth(device: str) -> float:
    """Bytes a second that a copy reads and writes."""
    source = torch.empty(2**31, dtype=torch.uint8, device=device)
    target, best = torch.empty_like(source), 0.0
    for _ in range(10):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        best = max(best, 2 * source.numel() / (time.perf_counter() - begun))
    return best


def share_of_limit(engine: TransformersEngine, steps: list[Step], rate: float) -> float:
    """Seconds that the bytes of these steps need at a bandwidth, over the seconds that they took."""
    model = engine.checkpoint.model
    text = model.config.get_text_config()
    read = model.get_input_embeddings().weight
    weights = sum(
        held.numel() * held.element_size()
        for name, held in model.named_parameters()
        if "visual" not in name and held is not read
    )
    column = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * read.element_size()
    needed = sum(weights + step.live * step.columns * column for step in steps)
    return needed / rate / sum(step.seconds for step in steps)


def one_by_one(engine: TransformersEngine, requests: list[Request]) -> float:
    """Tokens a second of transformers' own generate, reading of prompts included."""
    begun, n_tokens = time.perf_counter(), 0
    for request in requests:
        read = prompted(engine.checkpoint, request).to(engine.device, engine.checkpoint.model.dtype)
        made = engine.checkpoint.model.generate(
            **read, max_new_tokens=request.sampling.max_tokens, do_sample=True, temperature=0.7, top_p=0.95, top_k=0
        )
        n_tokens += made.shape[1] - read["input_ids"].shape[1]
    return n_tokens / (time.perf_counter() - begun)


def batched(engine: TransformersEngine, requests: list[Request]) -> float:
    """Tokens a second of the engine, everything included."""
    Watched.steps.clear()
    begun = time.perf_counter()
    found = answers(engine.generate(requests))
    assert len(found) == len(requests)
    return sum(completion.completion_tokens for completion in found.values()) / (time.perf_counter() - begun)


def profiled(engine: TransformersEngine, requests: list[Request]) -> str:
    """Where the time of a batch goes, by operation."""
    from torch.profiler import ProfilerActivity, profile

    gpu = engine.device.startswith("cuda")
    begun = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as seen:
        answers(engine.generate(requests))
    wall, told = time.perf_counter() - begun, seen.key_averages()
    table = told.table(sort_by="self_cuda_time_total" if gpu else "self_cpu_time_total", row_limit=12)
    if not gpu:
        return str(table)
    busy = sum(event.self_device_time_total for event in told) / 1e6
    bound = "kernels" if busy > 0.8 * wall else "the host, which does not launch kernels fast enough"
    return f"{table}\nthe GPU computes for {busy:.2f} s of {wall:.2f} s: bound by {bound}"


def short_of_memory(engine: TransformersEngine, requests: list[Request]) -> str:
    """The same requests when the weights and a third of what the run held beside them are all the memory there is."""
    held = sum(weights.numel() * weights.element_size() for weights in engine.checkpoint.model.parameters())
    peak, most = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((held + (peak - held) / 3) / most)
    rate = batched(engine, requests)
    torch.cuda.set_per_process_memory_fraction(1.0)
    rows = max(step.rows for step in Watched.steps[-50:])
    return f"all answered at {rate:,.0f} tokens/s, {rows} rows at once in the end"


def main() -> None:
    """Print tokens a second, the ratio, the share of the limit, memory, and a profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=("tiny", "7b"), default="tiny")
    parser.add_argument("--requests", type=int)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--tokens", type=int)
    asked = parser.parse_args()
    gpu = torch.cuda.is_available()
    if asked.shape == "7b" and not gpu:
        raise SystemExit("the shape 7b needs a GPU; run --shape tiny for a ratio")
    n, rows, tokens, side = (256, 64, 512, 768) if asked.shape == "7b" else (96, 32, 128, 120)
    rows, tokens = asked.rows or rows, asked.tokens or tokens
    engine = engine_of(asked.shape, "cuda:0" if gpu else "cpu", rows)
    transformers_engine.Batch = Watched  # type: ignore[misc]
    requests = drawn_requests(asked.requests or n, tokens, side)
    print({name: told for name, told in engine.describe().items() if name not in ("directory", "revision")})
    for warm in (batched, one_by_one):
        warm(engine, drawn_requests(2, 8, side, seed=1))
    alone, together = one_by_one(engine, requests[:_ALONE]), batched(engine, requests)
    steps = list(Watched.steps)
    print(f"one by one  {alone:10,.1f} tokens/s  ({_ALONE} requests)")
    print(f"engine      {together:10,.1f} tokens/s  ({len(requests)} requests, {rows} rows)")
    print(f"ratio       {together / alone:10.1f}")
    wanted = sum(step.live for step in steps) / sum(step.rows for step in steps)
    middle = sorted(step.seconds for step in steps)[len(steps) // 2]
    print(f"steps       {len(steps):10,}  median {1e3 * middle:.1f} ms, {wanted:.0%} of the rows in them wanted")
    if gpu:
        rate, full = bandwidth(engine.device), [step for step in steps if step.live >= 0.9 * rows]
        print(f"bandwidth   {rate / 1e12:10.2f} TB/s; full batches use {share_of_limit(engine, full, rate):.0%} of it")
        print(f"memory      {torch.cuda.max_memory_allocated() / 2**30:10.1f} GiB at most")
        print(f"short of it {short_of_memory(engine, requests[: len(requests) // 2])}")
    else:
        print(f"memory      {psutil.Process().memory_info().rss / 2**30:10.1f} GiB resident")
    print(profiled(engine, requests[:rows]))


if __name__ == "__main__":
    main()
