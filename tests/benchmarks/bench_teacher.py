"""What everything around an engine takes of a request in a build: prompts, cache, reading answers, ledger, Prefect.

    python -m tests.benchmarks.bench_teacher [--requests 13000]

A build of drawn cases under Prefect with 16 candidates a case, whose teacher asks an engine that answers at once. The
time of the step propose, less what the engine itself took, is shared out over the requests. Limit: 5 ms each. Peer: the
engine by itself, which makes up the same answers in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from annotators.engines.protocol import Completion, Engine, Failure, Request
from corpus.sample.draw import draw_sample
from schemas.teacher_config import VlmSettings
from tests.annotators.vlm.scripted import ScriptedModel
from tests.conftest import write_config
from tests.prefect_server import prefect_server

LIMIT_MS = 5.0
CANDIDATES = 16


class AtOnce:
    """Good answers, made up on the spot; ``seconds``: what that took."""

    def __init__(self) -> None:
        self.model, self.seconds, self._lock = ScriptedModel(), 0.0, threading.Lock()

    def describe(self) -> Mapping[str, Any]:
        return {"engine": "at once"}

    def generate(
        self, requests: Iterable[Request], keep: Callable[[Completion], None] | None = None
    ) -> Iterator[Completion | Failure]:
        for request in requests:
            with self._lock:
                begun = time.perf_counter()
                [result] = self.model([request])
                self.model.asked.clear()
                self.seconds += time.perf_counter() - begun
            if keep is not None and isinstance(result, Completion):
                keep(result)
            yield result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=13_000)
    wanted = parser.parse_args().requests
    engine = AtOnce()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        draw_sample(folder / "sample", n_images=max(30, round(wanted / (1 + 2 * CANDIDATES) * 1.35)), seed=7, workers=2)
        file = write_config(folder / "config.yaml", folder / "sample")
        told = yaml.safe_load(file.read_text())
        http = {"endpoints": [{"url": "http://127.0.0.1:1/v1"}]}
        vlm = {"model": "m", "terms": "CC0-1.0", "blind_share": 0.0, "http": http}
        told["propose"] = {"teacher": "vlm", "candidates": CANDIDATES, "vlm": vlm}
        told["execution"] = {"workers": 1}
        file.write_text(yaml.safe_dump(told))
        with prefect_server(folder / "prefect") as url:
            os.environ["PREFECT_API_URL"] = url
            import flows.teacher_steps
            from flows.pipeline import curate

            def at_once(settings: VlmSettings, device: str | None) -> tuple[Engine, tuple[str, ...], None]:
                return engine, (), None

            flows.teacher_steps._engine = at_once  # type: ignore[assignment]
            curate(str(file))
        [run] = (folder / "workspace/runs").glob("*/run.json")
        record = json.loads(run.read_text())
    [step] = [step for step in record["steps"] if step["step"] == "propose"]
    requests = record["teacher"]["results"]
    around, inside = ((seconds / requests) * 1e3 for seconds in (step["seconds"] - engine.seconds, engine.seconds))
    print(
        f"{requests:,.0f} requests of {step['rows_made']:,} cases in {step['seconds']:.1f} s: {around:.2f} ms a "
        f"request around the engine, {around / LIMIT_MS:.0%} of {LIMIT_MS:g} ms; making answers up takes {inside:.2f}"
    )
    assert around < LIMIT_MS, around


if __name__ == "__main__":
    main()
