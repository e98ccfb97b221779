"""The local server: its own folder and port, nobody left behind, and one sentence for whatever goes wrong."""

from __future__ import annotations

import base64
import http.server
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from annotators.label_studio import server as server_module
from annotators.label_studio.connection import TOKEN_VARIABLE, token_from
from annotators.label_studio.server import Server, connect, running_server
from schemas.errors import UserError
from tests.conftest import REPOSITORY


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def jwt(**claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256'})}.{part(claims)}.c2lnbmF0dXJl"


def refused(url: str, token: str) -> str:
    with pytest.raises(UserError) as caught:
        connect(url, token)
    sentence = str(caught.value)
    assert token not in sentence
    assert "\n" not in sentence
    return sentence


def test_the_account_is_its_owners_alone(studio: Server) -> None:
    account = studio.document_root.parent / "account.json"
    assert stat.S_IMODE(account.stat().st_mode) == 0o600
    assert stat.S_IMODE(studio.log.stat().st_mode) == 0o600
    secrets = (studio.token, studio.account.password)
    assert not [secret for secret in secrets if secret in studio.log.read_text() or secret in repr(studio)]


def test_connecting_tells_who_one_is(studio: Server) -> None:
    assert connect(studio.url + "/", studio.token).users.whoami().email == studio.account.email


def test_signing_up_needs_a_link_and_other_sites_get_nothing(studio: Server) -> None:
    with httpx.Client(base_url=studio.url, trust_env=False) as http:
        http.get("/user/signup/")
        form = {"email": "a@example.org", "password": "long enough 1", "csrfmiddlewaretoken": http.cookies["csrftoken"]}
        assert http.post("/user/signup/", data=form).status_code == 403
        assert "access-control-allow-origin" not in http.get("/health", headers={"Origin": "http://evil.org"}).headers
        assert http.get("/health", headers={"Host": "evil.org"}).status_code == 400
        assert http.get("/data/local-files/?d=images/x.jpg").status_code in (302, 401, 403)


def test_it_listens_on_loopback_alone(studio: Server) -> None:
    port = int(studio.url.rpartition(":")[2])
    listening = [c for p in psutil.Process().children(recursive=True) for c in p.net_connections("inet")
                 if c.status == psutil.CONN_LISTEN and c.laddr.port == port]  # fmt: skip
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "url", ["", "labels.example.org", "ftp://127.0.0.1", "http://", "http://a/?b=c", "http://u:p@a"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    assert "address" in refused(url, "x" * 40)


def test_where_nothing_answers() -> None:
    assert "nothing answers at" in refused(f"http://127.0.0.1:{free_port()}", "x" * 40)
    assert "nothing answers at" in refused("http://no-such-host.invalid", "x" * 40)


def test_where_something_else_answers() -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        told = b"<html>hello</html>"

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.told)

        def log_message(self, *arguments: Any) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}"
        assert "is not Label Studio" in refused(url, "x" * 40)
        Other.told = b'{"release": "1.8.0", "edition": "Community"}'
        assert "runs Label Studio 1.8.0 (Community); 1.21 or newer is needed" in refused(url, "x" * 40)
        Other.told = b'{"release": "2.0.1", "edition": "Community"}'
        assert "runs Label Studio 2.0.1 (Community), and nothing from 2.0 on was tried" in refused(url, "x" * 40)
        other.shutdown()


def test_tokens_that_do_not_work(studio: Server) -> None:
    assert "does not know the token" in refused(studio.url, jwt(token_type="refresh", exp=time.time() + 999, jti="x"))
    assert "has expired" in refused(studio.url, jwt(token_type="refresh", exp=time.time() - 9, jti="x"))
    assert "for five minutes" in refused(studio.url, jwt(token_type="access", exp=time.time() + 99))
    assert "does not know" in refused(studio.url, "0123456789abcdef" * 2)
    assert "characters that no token has" in refused(studio.url, "tok en\n")


def test_a_token_of_the_old_kind_is_told_from_a_wrong_one(studio: Server, client: Any) -> None:
    with httpx.Client(base_url=studio.url, trust_env=False) as http:
        access = http.post("/api/token/refresh", json={"refresh": studio.token}).json()["access"]
        headers = {"Authorization": f"Bearer {access}"}
        legacy = http.get("/api/current-user/token", headers=headers).json()["token"]
    assert "tokens of the old kind" in refused(studio.url, legacy)


def test_a_token_replaced_by_a_newer_one(studio_folder: Path, environment: Path) -> None:
    with running_server(studio_folder, environment=environment) as server:
        with httpx.Client(base_url=server.url, trust_env=False) as http:
            access = http.post("/api/token/refresh", json={"refresh": server.token}).json()["access"]
            headers = {"Authorization": f"Bearer {access}"}
            answer = http.post("/api/token/rotate", json={"refresh": server.token}, headers=headers)
            newer = answer.raise_for_status().json()["refresh"]
        assert "revoked or replaced" in refused(server.url, server.token)
        assert connect(server.url, newer).versions.get().edition == "Community"
        with pytest.raises(UserError, match="a Label Studio is running in"), running_server(studio_folder):
            pass


def test_a_port_that_is_taken_is_refused(tmp_path: Path, taken: int) -> None:
    with pytest.raises(UserError, match=f"port {taken} is taken"), running_server(tmp_path / "x", port=taken):
        pass


def test_a_port_taken_meanwhile_is_left_for_another(
    studio_folder: Path, environment: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = iter([taken, free_port()])
    monkeypatch.setattr(server_module, "_free_port", lambda: next(ports))
    with running_server(studio_folder, environment=environment) as server:
        assert server.url != f"http://127.0.0.1:{taken}"
        assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200


def left_behind(folder: Path) -> list[str]:
    needle = str(folder)
    return [p.info["name"] for p in psutil.process_iter(["name", "cwd"]) if (p.info["cwd"] or "").startswith(needle)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_does_not_outlive_who_started_it(studio_folder: Path, environment: Path, how: int) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.annotators.label_studio.server_target", str(studio_folder), str(environment)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert parent.stdout is not None
    url = parent.stdout.readline().strip()
    assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
    assert left_behind(studio_folder)
    parent.send_signal(how)
    parent.wait(20)
    deadline = time.monotonic() + 20
    while left_behind(studio_folder):
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.1)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/health", trust_env=False)


def test_the_command_serves_and_ends_with_status_zero(studio_folder: Path, environment: Path) -> None:
    (studio_folder / "environment").symlink_to(environment)
    command = [sys.executable, "-m", "flows", "annotate", "serve", "--folder", str(studio_folder)]
    running = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert running.stdout is not None
    url = running.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 0, said
    assert "owner@dermcot.local" in said
    secrets = json.loads((studio_folder / "account.json").read_text())
    assert secrets["password"] not in said
    assert secrets["token"] not in said
    assert not left_behind(studio_folder)


def test_tokens_from_the_environment_and_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(UserError, match=TOKEN_VARIABLE):
        token_from()
    monkeypatch.setenv(TOKEN_VARIABLE, " abc ")
    assert token_from() == "abc"
    assert token_from(tmp_path / "missing", lambda: "stored") == "abc"
    monkeypatch.delenv(TOKEN_VARIABLE)
    assert token_from(None, lambda: " stored\n") == "stored"
    file = tmp_path / "token"
    for text, token in (("abc\n", "abc"), ('{"email": "a", "password": "b", "token": "abc"}', "abc")):
        file.write_text(text)
        assert token_from(file, lambda: "stored") == token
    for text in ("", "two words", '{"token": null}', "{broken"):
        file.write_text(text)
        with pytest.raises(UserError, match="token"):
            token_from(file)
    with pytest.raises(UserError, match="cannot be read"):
        token_from(tmp_path / "missing")
