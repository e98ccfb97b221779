"""Push and pull on a real Prefect server: registered, run, failing in plain words; and secrets in its blocks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from annotators.label_studio.connection import TOKEN_VARIABLE
from annotators.label_studio.ledger import Ledger
from annotators.label_studio.listing import tasks_of
from annotators.label_studio.raters import SECRET_VARIABLE, pseudonym, pseudonyms, read_raters
from annotators.label_studio.server import Server
from annotators.label_studio.session import opened
from annotators.label_studio.study import push_study
from flows.annotation import study_lease
from flows.annotation_credentials import KEY_VARIABLES, image_keys, study_secret, study_token
from flows.cli import app, guarded
from schemas.config import AnnotateSettings
from schemas.config_file import load_config
from schemas.errors import UserError
from tests.annotators.label_studio.study_parts import SECRET, answer, give, made_up, sign_up
from tests.conftest import REPOSITORY
from tests.prefect_server import prefect_server


@pytest.fixture(scope="module")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prefect server, with this process as its client."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        prefect_server(tmp_path_factory.mktemp("prefect")) as url,
        temporary_settings({PREFECT_API_URL: url}),
    ):
        yield url


def store(name: str, value: object) -> None:
    from prefect.blocks.system import Secret

    Secret(value=value).save(name, overwrite=True)


@pytest.fixture
def study(studio: Server, tmp_path: Path) -> Path:
    """A configuration whose one rater has tasks, and an answer that nobody has pulled yet."""
    rater = {"email": f"ada-{uuid.uuid4().hex}@example.org", "kind": "simulated", "credential": "other"}
    (tmp_path / "raters.yaml").write_text(yaml.safe_dump({"raters": [rater]}))
    told = {"url": studio.url, "server": "test", "raters": "raters.yaml", "raters_per_case": 1, "practice": 0,
            "document_root": str(studio.document_root), "token_block": "studio-token",
            "secret_block": "study-secret"}  # fmt: skip
    file = tmp_path / "config.yaml"
    source = {"name": "ham", "adapter": "ham10000", "path": "nowhere"}
    file.write_text(yaml.safe_dump({"sources": [source], "annotate": told}))
    config = load_config(file)
    raters = pseudonyms(read_raters(tmp_path / "raters.yaml"), SECRET)
    (token,) = sign_up(studio, raters.values()).values()
    with opened(studio.url, studio.token) as session:
        push_study(session, Ledger(config.workspace), config.annotate, raters, SECRET, made_up(3))
        (record,) = Ledger(config.workspace).projects()
        task = tasks_of(session, record.project_id, "id")[0]["id"]
    with opened(studio.url, token) as session:
        give(session, task, answer())
    return file


def eventually(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 120
    while not (found := what()):
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.2)
    return found


def test_served_flows_are_registered_pull_for_real_and_fail_in_plain_words(
    prefect_api: str, study: Path, studio: Server
) -> None:
    from prefect.client.orchestration import get_client

    store("studio-token", studio.token)
    store("study-secret", SECRET.decode())
    environment = {name: value for name, value in os.environ.items() if name not in (TOKEN_VARIABLE, SECRET_VARIABLE)}
    environment |= {"PREFECT_API_URL": prefect_api, "PYTHONPATH": str(REPOSITORY), "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    served = subprocess.Popen(
        [sys.executable, "-m", "flows", "annotate", "schedule", "-c", str(study), "--push", "0 6 * * *",
         "--pull", "*/15 * * * *", "--timezone", "Europe/Berlin", "--name", "a study"],
        cwd=study.parent, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with get_client(sync_client=True) as client:
            served_ones = eventually(lambda: len(found := client.read_deployments()) == 2 and found)
            times = {told.entrypoint.rpartition(".")[2]: told.schedules[0].schedule for told in served_ones}
            assert {name: told.cron for name, told in times.items()} == {
                "push_flow": "0 6 * * *", "pull_flow": "*/15 * * * *"
            }  # fmt: skip
            assert {told.timezone for told in times.values()} == {"Europe/Berlin"}
            assert not any(studio.token in str(told) or SECRET.decode() in str(told) for told in served_ones)
            (pull,) = [told for told in served_ones if told.entrypoint.endswith("pull_flow")]

            def run() -> Any:
                number = client.create_flow_run_from_deployment(pull.id).id
                ended = eventually(lambda: (r := client.read_flow_run(number)).state.is_final() and r)
                assert ended.name.startswith("pull 20")
                return ended.state

            assert run().is_completed()
            tables = {told.key: str(told.data) for told in client.read_artifacts()}
            ledger = Ledger(str(study.parent / "workspace"))
            tables_there = ledger.snapshot()
            assert tables_there is not None
            assert tables_there[0]["is_latest"].sum() == 1
            assert '"new": 1, "counted": 1, "set aside": 0' in tables["annotate-pull"]
            assert '"done": 1, "left": 2' in tables["annotate-raters"]
            assert "@" not in str(tables)
            with study_lease(ledger):
                state = run()
            assert state.is_failed()
            assert state.message.startswith("another push or pull is using workspace")
            assert f"(process {os.getpid()} on " in state.message
    finally:
        served.send_signal(signal.SIGINT)
        served.wait(60)
    assert served.returncode == 0


@pytest.mark.usefixtures("prefect_api")
def test_secrets_come_from_the_environment_then_a_file_then_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (TOKEN_VARIABLE, SECRET_VARIABLE, *KEY_VARIABLES.values()):
        monkeypatch.delenv(name, raising=False)
    pair = {"aws_access_key_id": "1234", "aws_secret_access_key": "5678"}
    for name, value in {"token": "0123", "long": "1" * 20, "pair": pair, "half": {"aws_access_key_id": "1"}}.items():
        store(name, value)
    settings = AnnotateSettings(token_block="token", secret_block="long", s3_block="pair")
    assert (study_token(settings), study_secret(settings), image_keys(settings)) == ("0123", b"1" * 20, pair)
    (tmp_path / "token").write_text("of-the-file")
    assert study_token(settings.model_copy(update={"token_file": str(tmp_path / "token")})) == "of-the-file"
    monkeypatch.setenv(TOKEN_VARIABLE, "of-the-environment")
    assert study_token(settings) == "of-the-environment"
    for field, block, ask, said in (
        ("s3_block", "half", image_keys, "no JSON of aws_access_key_id and aws_secret_access_key"),
        ("s3_block", "token", image_keys, "no JSON of"),
        ("secret_block", "token", study_secret, "shorter than 16"),
        ("secret_block", "missing", study_secret, "has no Secret block 'missing'"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            ask(settings.model_copy(update={field: block}))
        assert "1111" not in str(caught.value)
    for name, value in zip(KEY_VARIABLES.values(), ("a", "b"), strict=True):
        monkeypatch.setenv(name, value)
    assert list(image_keys(settings).values()) == ["a", "b"]
    monkeypatch.delenv(KEY_VARIABLES["aws_secret_access_key"])
    with pytest.raises(UserError, match="but not DERMCOT_LABEL_STUDIO_AWS_SECRET_ACCESS_KEY"):
        image_keys(settings)


@pytest.mark.parametrize(
    ("url", "arguments", "said"),
    [
        (None, ["--pull", "* * * * *"], "no Prefect server is configured: set PREFECT_API_URL"),
        ("http://127.0.0.1:9/api", ["--pull", "* * * * *"], "http://127.0.0.1:9/api does not answer"),
        ("http://127.0.0.1:9/api", [], "no time is given"),
        ("http://127.0.0.1:9/api", ["--push", "every day"], "--push 'every day' is no time that cron knows"),
        ("http://127.0.0.1:9/api", ["--push", "0 6 * * *", "--timezone", "Mars"], "--timezone 'Mars' is none"),
        ("http://127.0.0.1:9/api", ["--push", "0 6 * * *", "--name", "a/b"], "'a/b' holds a character"),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str | None,
    arguments: list[str],
    said: str,
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setenv(TOKEN_VARIABLE, "x")
    monkeypatch.setenv(SECRET_VARIABLE, SECRET.decode())
    (tmp_path / "config.yaml").write_text("sources: [{name: ham, adapter: ham10000, path: nowhere}]")
    with temporary_settings({PREFECT_API_URL: url}):
        command = ["annotate", "schedule", "-c", str(tmp_path / "config.yaml"), *arguments]
        assert guarded(lambda: app(command)) == 2
    assert said in capsys.readouterr().err


def test_prefect_is_asked_only_where_a_block_is_named() -> None:
    program = (
        "import sys\nfrom schemas.config import AnnotateSettings\n"
        "from flows import annotation, annotation_credentials as c\n"
        "s = AnnotateSettings(token_block='x', secret_block='y', s3_block='z')\n"
        "c.study_token(s), c.study_secret(s), c.image_keys(s)\nassert 'prefect' not in sys.modules"
    )
    given = {TOKEN_VARIABLE: "x", SECRET_VARIABLE: "y" * 16, **dict.fromkeys(KEY_VARIABLES.values(), "z")}
    environment = {**os.environ, **given, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=REPOSITORY)


def test_what_prefect_is_told_names_nobody() -> None:
    from flows.annotation_flows import _nameless

    told = "Ada.L@example.org has no account on the server yet: send the invitation"
    assert _nameless(told, SECRET) == told.replace(
        "Ada.L@example.org", f"rater {pseudonym('ada.l@example.org', SECRET)}"
    )
    assert _nameless(told) == told.replace("Ada.L@example.org", "a rater")
