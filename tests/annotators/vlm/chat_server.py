"""A real chat server with a dermatologist of known honesty behind it: of every so many cases, some answers are bad.

What it answers hangs on the image alone, so that whoever asks, however often, meets the same good and bad cases.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from annotators.engines.protocol import Message, Request, Sampling
from tests.annotators.vlm.scripted import good_narrative, good_observation, good_rationale

#: step (observe, reason, write), image digest ("" where the step has no image) and body -> the answer's text.
#: A ConnectionError closes the connection without an answer, an InsteadError answers something else.
Answer = Callable[[str, str, dict[str, Any]], str]


class InsteadError(Exception):
    """Another status with these headers instead of an answer, or ``half`` of a body."""

    def __init__(self, status: int, *, half: bool = False, **headers: str) -> None:
        self.status, self.half = status, half
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass
class ChatServer:
    """``log``: step and digest of the body of every request, in order."""

    url: str = ""
    log: list[tuple[str, str]] = field(default_factory=list)


def honest(step: str, image: str, body: dict[str, Any]) -> str:
    """A good answer."""
    if step == "observe":
        return json.dumps(good_observation())
    said = "\n".join(part["text"] for message in body["messages"] for part in _parts(message) if "text" in part)
    if step == "reason":
        return f"image: {image[:8]}\n{good_rationale(said)}"
    schema = body["response_format"]["json_schema"]["schema"]
    request = Request("m", "r", (Message("user", (said,)),), Sampling(), schema)
    return json.dumps(good_narrative(request))


@contextmanager
def chat_server(
    answer: Answer = honest, *, models: tuple[str, ...] | None = None, key: str | None = None
) -> Iterator[ChatServer]:
    """Serves on loopback in a thread for as long as the block runs.

    ``models``: what it lists and serves, None for a server that keeps no list; ``key``: it serves nobody else, and
    says so rudely, with the key it was given.
    """
    known = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.admitted():
                listed = {"data": [{"id": name} for name in models or ()]}
                self.say(501 if models is None else 200, listed)

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if not self.admitted():
                return
            body = json.loads(data)
            if models is not None and body["model"] not in models:
                self.say(404, {"error": f"there is no model {body['model']}"})
                return
            step, image = _step(body), _image(body)
            known.log.append((step, hashlib.sha256(data).hexdigest()))
            try:
                text = answer(step, image, body)
            except ConnectionError:
                self.close_connection = True
                return
            except InsteadError as instead:
                self.say(instead.status, {"error": "as planned"}, instead.headers, instead.half)
                return
            said = {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 50, "completion_tokens": 20}, "model": "m"}  # fmt: skip
            self.say(200, said)

        def admitted(self) -> bool:
            given = self.headers.get("Authorization", "")
            if key is None or given == f"Bearer {key}":
                return True
            self.say(401, {"error": f"{given} is not the key"})
            return False

        def say(
            self, status: int, said: dict[str, Any], headers: Mapping[str, str] | None = None, half: bool = False
        ) -> None:
            payload = json.dumps(said).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload[: len(payload) // 2] if half else payload)
            self.close_connection |= half

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Whoever asked was killed."""

    server = Server(("127.0.0.1", 0), Handler)
    known.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _step(body: dict[str, Any]) -> str:
    if "response_format" not in body:
        return "reason"
    return "observe" if "quality" in body["response_format"]["json_schema"]["schema"]["properties"] else "write"


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"text": content}] if isinstance(content, str) else content


def _image(body: dict[str, Any]) -> str:
    for message in body["messages"]:
        if isinstance(message["content"], list):
            for part in message["content"]:
                if part["type"] == "image_url":
                    return hashlib.sha256(part["image_url"]["url"].encode()).hexdigest()
    return ""
