"""Run in a process of its own, to be killed.

With ``generate URL CACHE OUT CASES`` it answers all cases and writes the results to OUT at the end; with ``write
CACHE`` it puts records for ever and names each one that is kept.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from annotators.engines.cache import RequestCache
from annotators.engines.cached import cached
from annotators.engines.http import HttpEngine
from annotators.engines.protocol import Completion, Request
from schemas.engine_config import EndpointSettings, HttpSettings
from tests.annotators.engines.prompts import SCHEMA, scripted

IN_FLIGHT = 4


def requests(cases: int) -> Iterator[Request]:
    """Mostly answered soon; some only when asked again, some structured, some unusable, some alike."""
    for n in range(cases):
        if n % 10 == 3:
            yield scripted(f"k{n}", "500, slow 0.01")
        elif n % 10 == 5:
            yield scripted(f"k{n}", "slow 0.01", schema=SCHEMA)
        elif n % 10 == 7:
            yield scripted(f"k{n}", "cut")
        else:
            yield scripted(f"k{n - n % 10 if n % 10 == 1 else n}", "slow 0.01")


def generate(url: str, folder: str, out: Path, cases: int) -> None:
    endpoint = EndpointSettings(url=url, max_in_flight=IN_FLIGHT)
    engine = HttpEngine(HttpSettings(endpoints=(endpoint,), backoff_seconds=0.01))
    with RequestCache(folder, seal_bytes=20_000) as cache:
        results = {result.key: repr(result) for result in cached(engine, cache).generate(requests(cases))}
    out.write_text(json.dumps({key: text.split(" seconds=")[0] for key, text in results.items()}))


def write(folder: str) -> None:
    with RequestCache(folder, seal_bytes=30_000) as cache:
        n = len(cache)
        while True:
            key = hashlib.sha256(str(n).encode()).hexdigest()
            cache.put(Completion(key, "text " * (n % 400), "stop", n, n, 0.0, "here"))
            sys.stdout.write(f"{n}\n")
            sys.stdout.flush()
            n += 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["generate", url, folder, out, cases]:
            generate(url, folder, Path(out), int(cases))
        case ["write", folder]:
            write(folder)
