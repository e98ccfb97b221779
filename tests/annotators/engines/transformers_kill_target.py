"""Imports torch once and then, for every name on its input, lives a life in a fork of itself, to be killed.

python -m tests.annotators.engines.transformers_kill_target CHECKPOINT FOLDER CASES

A life answers all cases with a model in process behind the request cache FOLDER/NAME; the texts go to FOLDER/NAME.json.
Its process id is printed when it begins, ``kept`` for every answer that was kept, ``over`` at its end. A line may be
``NAME NTH OF``: then it answers its share alone, beside other processes, into FOLDER/NAME-NTH.json.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from annotators.engines.cache import RequestCache
from annotators.engines.cached import cached
from annotators.engines.protocol import Completion, Request
from annotators.engines.transformers_engine import TransformersEngine, share
from tests.annotators.engines.transformers_cases import varied

ROWS = 4


def requests(cases: int) -> list[Request]:
    return varied(cases, most_tokens=32)


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def live(checkpoint: Path, folder: Path, out: Path, asked: list[Request]) -> None:
    import torch

    torch.set_num_threads(1)
    say(str(os.getpid()))
    engine = TransformersEngine(checkpoint, device="cpu", most_rows=ROWS, threads=2)
    with RequestCache(folder, seal_bytes=5_000) as cache:
        told = {}
        for result in cached(engine, cache).generate(asked, lambda _: say("kept")):
            completion = result if isinstance(result, Completion) else result.completion
            assert completion is not None, result
            told[result.key] = completion.text
    out.write_text(json.dumps(told))


def main() -> None:
    import transformers

    for name in ("AutoModelForImageTextToText", "AutoProcessor", "Qwen3VLForConditionalGeneration", "Qwen3VLProcessor"):
        getattr(transformers, name)  # imports it, once for all lives
    checkpoint, folder, cases = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    for line in sys.stdin:
        name, *part = line.split()
        child = os.fork()
        if child == 0:
            asked = list(share(requests(cases), int(part[0]), int(part[1]))) if part else requests(cases)
            live(checkpoint, folder / name, folder / f"{'-'.join([name, *part[:1]])}.json", asked)
            os._exit(0)
        os.waitpid(child, 0)
        say("over")


if __name__ == "__main__":
    main()
