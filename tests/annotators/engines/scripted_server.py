"""A real chat server that answers as its prompts say: slowly, wrongly, half, not at all.

The text of a prompt's last message is ``case NAME: STEP, STEP, ...``; the n-th time that case is asked, the n-th step
happens, and the last one ever after. Steps: ``ok``, ``slow SECONDS``, ``429 [SECONDS]``, ``429 date SECONDS``, any
status, ``half``, ``drop``, ``notjson``, ``nochoices``, ``huge``, ``prose``, ``wrong``, ``fenced``, ``echo``,
``refusal``, ``refused``, ``filtered``, ``cut``, ``empty``, ``null``, ``parts``, ``quote``.
"""

from __future__ import annotations

import email.utils
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SYSTEM = "You describe skin lesions in plain words, and you answer in the asked layout alone."


@dataclass(frozen=True)
class Asked:
    """One request as it came: its case, when, and everything that was said."""

    case: str
    at: float
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass
class ScriptedServer:
    url: str
    log: list[Asked] = field(default_factory=list)
    most_in_flight: int = 0

    def times(self) -> Counter[str]:
        """How often each case was asked."""
        return Counter(asked.case for asked in self.log)

    def of(self, case: str) -> list[Asked]:
        return [asked for asked in self.log if asked.case == case]


def answer_text(case: str, body: dict[str, Any]) -> str:
    """What a case is answered: fixed by its name and seed; JSON when a schema is asked for."""
    digest = hashlib.sha256(f"{case} {body.get('seed')}".encode()).hexdigest()[:12]
    if "response_format" in body:
        return json.dumps({"finding": f"a brown macule ({case})", "score": int(digest[:2], 16) % 6})
    return f"A brown macule with an even border, case {case}, {digest}."


@contextmanager
def scripted_server(*, port: int = 0) -> Iterator[ScriptedServer]:
    """Serves on loopback in a thread for as long as the block runs."""
    known = ScriptedServer("")
    lock = threading.Lock()
    running = [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(length := int(self.headers["Content-Length"]))
            if len(data) < length:  # the client was killed
                self.close_connection = True
                return
            body = json.loads(data)
            content = body["messages"][-1]["content"]
            text = content if isinstance(content, str) else next(part["text"] for part in content if "text" in part)
            case, _, steps = text.split("\n")[0].removeprefix("case ").partition(": ")
            with lock:
                known.log.append(Asked(case, time.monotonic(), body, dict(self.headers)))
                nth = known.times()[case] if steps.count(",") else 1
                running[0] += 1
                known.most_in_flight = max(known.most_in_flight, running[0])
            script = steps.split(", ")
            try:
                self.act(script[min(nth, len(script)) - 1].split(), case, body, text)
            finally:
                with lock:
                    running[0] -= 1

        def act(self, step: list[str], case: str, body: dict[str, Any], text: str) -> None:
            match step:
                case ["slow", seconds]:
                    time.sleep(float(seconds))
                    self.say(body, answer_text(case, body))
                case ["429", "date", seconds]:
                    told = email.utils.formatdate(time.time() + float(seconds), usegmt=True)
                    self.send(429, b"{}", {"Retry-After": told, "Date": email.utils.formatdate(usegmt=True)})
                case ["429", seconds]:
                    self.send(429, b"slow down", {"Retry-After": seconds})
                case [status] if status.isdigit():
                    self.send(int(status), b'{"error": "as the script says"}')
                case ["half"]:
                    whole = self.answer(body, "half of this is missing")
                    self.send(200, whole[: len(whole) // 2], {"Content-Length": str(len(whole))})
                    self.close_connection = True
                case ["drop"]:
                    self.close_connection = True
                case ["notjson"]:
                    self.send(200, b"<html>a gateway says hello</html>")
                case ["nochoices"]:
                    self.send(200, b'{"choices": []}')
                case ["huge"]:
                    self.send(200, b" " * (17 * 2**20))
                case ["quote"]:
                    self.send(400, f"the key {self.headers['Authorization']} is odd".encode())
                case ["refused"]:
                    self.say(body, None, refusal="I will not look at this.")
                case ["filtered"]:
                    self.say(body, "", reason="content_filter")
                case ["cut"]:
                    self.say(body, '{"finding": "a bro', reason="length")
                case ["parts"]:
                    self.say(body, [{"type": "text", "text": "in "}, {"type": "text", "text": "parts"}])
                case [step]:
                    said = {
                        "ok": answer_text(case, body),
                        "prose": "A brown macule, and no JSON.",
                        "wrong": '{"finding": 3}',
                        "fenced": '```json\n{"finding": "x", "score": 1}\n```',
                        "echo": f"SYSTEM: {SYSTEM} {text}",
                        "refusal": "I'm sorry, but I can't help with medical images.",
                        "empty": " \n",
                        "null": None,
                    }[step]
                    self.say(body, said)

        def say(self, body: dict[str, Any], content: Any, *, reason: str = "stop", refusal: str | None = None) -> None:
            self.send(200, self.answer(body, content, reason, refusal))

        def answer(self, body: dict[str, Any], content: Any, reason: str = "stop", refusal: str | None = None) -> bytes:
            message = {"role": "assistant", "content": content, "refusal": refusal}
            return json.dumps(
                {
                    "model": f"{body['model']}-served",
                    "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                    "usage": {"prompt_tokens": 100, "completion_tokens": 10},
                }
            ).encode()

        def send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
            told = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
            head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
            try:
                self.wfile.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + data)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client was killed

        def handle(self) -> None:
            with suppress(ConnectionResetError):
                super().handle()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True

    with Server(("127.0.0.1", port), Handler) as server:
        known.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield known
        finally:
            server.shutdown()
            thread.join()
