"""A gateway in front of a server that loses patience: it answers 504 or drops the line, and may go away altogether."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx


@dataclass
class Gateway:
    """``impatient``: how many imports are still to be answered with 504; ``dropped``: with a line that breaks;
    ``late``: whether the server gets the import only after the 504; ``imports``: how many came; ``open_for``: how many
    requests of any kind still get through, None for all."""

    url: str = ""
    impatient: int = 0
    dropped: int = 0
    late: float = 0.0
    imports: int = 0
    open_for: int | None = None
    waiting: list[threading.Timer] = field(default_factory=list)


@contextmanager
def gateway(server: str) -> Iterator[Gateway]:
    state = Gateway()
    client = httpx.Client(base_url=server, trust_env=False, timeout=60)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            is_import = self.command == "POST" and "/import" in self.path
            state.imports += is_import
            if state.open_for is not None:
                state.open_for -= 1
                if state.open_for < 0:
                    self.close_connection = True
                    self.connection.close()
                    return
            if is_import and state.impatient:
                state.impatient -= 1
                if state.late:
                    told = (self.command, self.path)
                    timer = threading.Timer(state.late, lambda: client.request(*told, content=body, headers=headers))
                    timer.start()
                    state.waiting.append(timer)
                else:
                    client.request(self.command, self.path, content=body, headers=headers)
                self._answer(504, b"gateway time-out")
                return
            answer = client.request(self.command, self.path, content=body, headers=headers)
            if is_import and state.dropped:
                state.dropped -= 1
                self.close_connection = True
                self.connection.close()
                return
            self._answer(answer.status_code, answer.content, answer.headers.get("content-type", "text/plain"))

        def _answer(self, status: int, content: bytes, kind: str = "text/plain") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PATCH = _pass  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as front, client:
        thread = threading.Thread(target=front.serve_forever, daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{front.server_port}"
        try:
            yield state
        finally:
            front.shutdown()
            thread.join()
