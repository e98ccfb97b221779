"""Shared parts of the tests: the drawn sample (once per session), a configuration over it, and the real data folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from schemas.config import Config
from schemas.config_file import load_config

settings.register_profile("untimed", deadline=None)  # how long an example takes is the machine's affair, never a test's
settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = Path(os.environ.get("DERMCOT_SHARED_DATA", REPOSITORY / ".." / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; the test is skipped, saying so, where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"{SHARED_DATA} is not here: real-data test")
    return SHARED_DATA.resolve()


@pytest.fixture(scope="session")
def drawn_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn sample of 90 images with all its plants; read only."""
    from corpus.sample.draw import draw_sample

    folder = tmp_path_factory.mktemp("drawn") / "sample"
    draw_sample(folder, n_images=90, seed=11, workers=2)
    return folder


def write_config(path: Path, sample: Path, **changes: object) -> Path:
    """A configuration file over a drawn sample, with top-level fields changed."""
    document = yaml.safe_load((REPOSITORY / "dermcot.yaml").read_text())
    for source in document["sources"]:
        source["path"] = str(sample / Path(source["path"]).name)
    document["decontaminate"]["manifests"] = [str(sample / "benchmark_manifest.csv")]
    document["execution"]["rows_per_shard"] = 16
    document["execution"]["workers"] = 2
    document.update(changes)
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def config_for(tmp_path: Path) -> Callable[..., Config]:
    """``config_for(sample, "key=value", ...)``: a loaded configuration with workspace and releases in tmp_path."""

    def make(sample: Path, *overrides: str, **changes: object) -> Config:
        file = write_config(tmp_path / "config.yaml", sample, **changes)
        return load_config(file, overrides)

    return make


class Quiet:
    """A reporter that keeps what it was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []
        self.steps: list[object] = []

    def progress(self, step: str, done: int, total: int, note: str = "") -> None:
        self.seen.append((step, done, total))

    def finished(self, report: object) -> None:
        self.steps.append(report)


@pytest.fixture(scope="session")
def trainer_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a plain environment: datasets and Pillow, none of our code."""
    folder = tmp_path_factory.mktemp("trainer") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin/python"
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*install, "-c", str(REPOSITORY / "constraints.txt"), "datasets", "pillow"], check=True)
    return python


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Under continuous integration a test may be skipped for want of real data, never for want of a package."""
    report = yield
    if os.environ.get("CI") and report.skipped and "real-data test" not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real server that speaks the S3 protocol, on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the S3 server did not start"
                assert server.poll() is None
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def s3_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a fresh bucket, with the environment that reaches it."""
    import boto3

    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**keys, "AWS_ENDPOINT_URL": s3_endpoint}.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{time.monotonic_ns()}"
    boto3.client("s3", endpoint_url=s3_endpoint).create_bucket(Bucket=bucket)
    return f"s3://{bucket}"
