"""What the request cache and the HTTP engine add to a request, beside what they replace: asking.

    python -m tests.benchmarks.bench_engine_overhead [--requests 13000]

An engine that answers at once, 13,000 requests of the size of a real prompt and answer: through the cache (all new),
again (all cached), and over loopback HTTP from a server in a process of its own. Limit: 5 ms of this process's CPU a
request for everything a run adds. Peer: the same engine without the cache, in the same call. Memory is this process's
own, at its peak; wall time is shown and not held to anything, as other work may share the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from annotators.engines.answers import checked
from annotators.engines.cache import RequestCache
from annotators.engines.cached import cached
from annotators.engines.http import HttpEngine
from annotators.engines.protocol import Completion, Engine, Failure, Image, Message, Request, Sampling
from schemas.engine_config import EndpointSettings, HttpSettings

LIMIT_MS = 5.0
ANSWER = "The lesion is a brown macule with an even border and a regular network. " * 45
INSTRUCTION = "Describe what is visible, then argue for and against each diagnosis of the differential. " * 40


class AtOnce:
    """Answers as soon as it is asked."""

    def describe(self) -> Mapping[str, Any]:
        return {"engine": "at once"}

    def generate(
        self, requests: Iterable[Request], keep: Callable[[Completion], None] | None = None
    ) -> Iterator[Completion | Failure]:
        for request in requests:
            completion = Completion(request.key, ANSWER, "stop", 900, 700, 0.0, "here")
            if keep is not None:
                keep(completion)
            yield checked(request, completion)


def prompts(count: int) -> Iterator[Request]:
    for n in range(count):
        image = Image(hashlib.sha256(str(n).encode()).hexdigest(), lambda: b"\xff\xd8\xff" + bytes(60_000))
        messages = (Message("system", (INSTRUCTION,)), Message("user", (image, f"Case {n}.")))
        yield Request("model", "revision", messages, Sampling(seed=n), shaped_by=("template",))


def serve(told: Connection) -> None:
    """A chat server that answers at once."""
    import json

    choice = {"message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 900, "completion_tokens": 700}
    data = json.dumps({"model": "model", "choices": [choice], "usage": usage}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.send(server.server_port)
    server.serve_forever()


def timed(what: str, engine: Engine, count: int) -> float:
    """Milliseconds of CPU a request."""
    begun, computed, seen = time.perf_counter(), time.process_time(), 0
    for result in engine.generate(prompts(count)):
        assert isinstance(result, Completion), result
        seen += 1
    assert seen == count
    each, wall = ((clock() - at) / count * 1e3 for clock, at in (
        (time.process_time, computed), (time.perf_counter, begun)
    ))  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    share = f"{each / LIMIT_MS:.0%} of {LIMIT_MS:g} ms"
    print(f"{what}: {each:.3f} ms a request ({share}), {wall:.3f} ms wall, {peak:.0f} MiB", flush=True)
    return each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=13_000)
    count = parser.parse_args().requests
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        bare = timed("no cache", AtOnce(), count)
        with RequestCache(Path(folder) / "completions") as cache:
            new = timed("cache, all new", cached(AtOnce(), cache), count)
            timed("cache, all there", cached(AtOnce(), cache), count)
        begun = time.perf_counter()
        with RequestCache(Path(folder) / "completions") as cache:
            print(f"cache of {len(cache):,} answers opened in {time.perf_counter() - begun:.2f} s")
            timed("reopened, all there", cached(AtOnce(), cache), count)
        endpoint = EndpointSettings(url=f"http://127.0.0.1:{here.recv()}/v1", max_in_flight=16)
        with RequestCache(Path(folder) / "over_http") as cache:
            engine = cached(HttpEngine(HttpSettings(endpoints=(endpoint,))), cache)
            http = timed("HTTP and cache, all new, with an image of 60 kB each", engine, count)
        print(f"the cache takes {new - bare:.3f} ms a new request, HTTP {http - new:.3f} ms more")
        assert http < LIMIT_MS, http
    server.kill()


if __name__ == "__main__":
    main()
