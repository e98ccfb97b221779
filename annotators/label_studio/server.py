"""A Label Studio of one's own on this machine, for as long as somebody wants it.

Everything it has lies in one folder: its environment, its database, its images, its first account. It answers on
loopback only, sends nothing anywhere, and ends with the process that started it, however that ends.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from annotators.label_studio.account import Account, account_in, token_of
from annotators.label_studio.connection import connect
from annotators.label_studio.installation import child_command, installed, only_one
from annotators.label_studio.tasks import IMAGES
from schemas.errors import UserError

__all__ = ["Server", "connect", "running_server"]

_START_SECONDS = 240.0
_STOP_SECONDS = 10.0
_TRIES = 5
_HOST = "127.0.0.1"
_BOUND = re.compile(rb"Starting development server at http://127\.0\.0\.1:(\d+)")
#: Nothing answers there: a way out for requests that no setting of Label Studio turns off.
_NOWHERE = f"http://{_HOST}:9"

#: Label Studio reads each of these with and without its prefix, so its environment holds nothing else of ours.
_SETTINGS: Mapping[str, str] = {
    "LATEST_VERSION_CHECK": "false",
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "DISABLE_SIGNUP_WITHOUT_LINK": "true",
    "TASK_LOCK_TTL": "3600",  # seconds that a case opened and left is kept from others; a day by default
    "MAX_SESSION_AGE": str(24 * 3600),
    "MAX_TIME_BETWEEN_ACTIVITY": str(8 * 3600),
    "CORS_ALLOW_ALL_ORIGINS": "false",
    "ALLOWED_HOSTS": f"{_HOST},localhost",
    "LOCAL_FILES_SERVING_ENABLED": "true",
}


@dataclass(frozen=True)
class Server:
    """A running Label Studio. ``document_root``: folder whose ``images`` it serves; ``log``: what it said."""

    url: str
    token: str = field(repr=False)
    account: Account = field(repr=False)
    document_root: Path
    log: Path


@contextmanager
def running_server(
    folder: Path,
    *,
    port: int | None = None,
    environment: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Server]:
    """A Label Studio with its data in ``folder`` for the length of the block; a second one there is refused.

    ``port``: a free one by default; ``environment``: where Label Studio is installed, or to be, by default in
    ``folder``. ``say`` is told what is going on, some sentences a second at most. Raises :class:`UserError`.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if port is not None and not _is_free(port):
        raise UserError(f"port {port} is taken by another program: choose another with --port, or leave it out")
    with only_one(folder / "lock", f"a Label Studio is running in {folder} already"):
        python = installed(environment or folder / "environment", say)
        root = folder / "files"
        (root / IMAGES).mkdir(parents=True, exist_ok=True)
        account = account_in(folder)
        child, bound = _started(folder, python, port, account, say)
        try:
            url = f"http://{_HOST}:{bound}"
            yield Server(url, token_of(folder, url, account), account, root, folder / "server.log")
        finally:
            _stop(child)


def _started(
    folder: Path, python: Path, port: int | None, account: Account, say: Callable[[str], None]
) -> tuple[subprocess.Popen[bytes], int]:
    """The child, and the port it really listens on: Label Studio silently takes the next one if its own is taken."""
    for _ in range(_TRIES):
        wanted = port or _free_port()
        child = _start(folder, python, wanted, account)
        try:
            bound = _wait_until_healthy(child, folder, say)
        except BaseException:
            _stop(child)
            raise
        if bound == wanted:
            return child, bound
        _stop(child)
        if port is not None:
            raise UserError(f"port {port} was taken by another program meanwhile: choose another with --port")
    raise UserError("other programs took every port that was tried: choose one with --port")


def _start(folder: Path, python: Path, port: int, account: Account) -> subprocess.Popen[bytes]:
    data = folder / "data"
    data.mkdir(exist_ok=True)
    arguments = ["start", "--no-browser", "--internal-host", _HOST, "--port", str(port), "--log-level", "INFO"]
    own = {
        **_SETTINGS,
        "BASE_DATA_DIR": str(data),
        "LOCAL_FILES_DOCUMENT_ROOT": str(folder / "files"),
        "USERNAME": account.email,
        "PASSWORD": account.password,
    }
    environment = {
        **{name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "TZ") if name in os.environ},
        "HOME": str(folder),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), _NOWHERE),
        **{f"LABEL_STUDIO_{name}": value for name, value in own.items()},
    }
    log = os.open(folder / "server.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return subprocess.Popen(
            child_command(python, "label_studio.server", arguments),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(log)


def _wait_until_healthy(child: subprocess.Popen[bytes], folder: Path, say: Callable[[str], None]) -> int:
    log = folder / "server.log"
    started = time.monotonic()
    while (passed := time.monotonic() - started) < _START_SECONDS and child.poll() is None:
        say(f"starting Label Studio (half a minute the first time): {passed:.0f} s")
        bound = _BOUND.search(log.read_bytes())
        if bound is not None and _is_healthy(int(bound[1])):
            return int(bound[1])
        time.sleep(0.2)
    if shutil.disk_usage(folder).free < 50_000_000:
        raise UserError(f"the disk is full: free some space for {folder}, and run the same command again")
    raise UserError(
        f"Label Studio did not start: see {log}; if its environment is damaged, remove {folder / 'environment'} and "
        "run the same command again"
    )


def _is_healthy(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{_HOST}:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError):
            return False
    return True
