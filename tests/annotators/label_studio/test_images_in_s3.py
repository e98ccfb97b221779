"""Images in a bucket: a real server of the S3 protocol, and a real Label Studio that signs their addresses."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from annotators.label_studio import server as server_module
from annotators.label_studio.server import Server, running_server
from annotators.label_studio.session import Session, opened
from annotators.label_studio.study import Outcome, push_study
from schemas.config import AnnotateSettings
from schemas.errors import UserError
from tests.annotators.label_studio.conftest import copied
from tests.annotators.label_studio.study_parts import SECRET, ledger_in, made_up, panel, settings_for

READER = {"aws_access_key_id": "reader-of-images", "aws_secret_access_key": "a secret that stays one"}


@pytest.fixture(scope="module")
def bucket_studio(
    template: Path, environment: Path, s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that knows where its buckets are, as one in a private network has to."""
    folder = copied(template, tmp_path_factory.mktemp("bucket") / "folder")
    own = {"S3_ENDPOINT": s3_endpoint, "AWS_ACCESS_KEY_ID": "own-key", "AWS_SECRET_ACCESS_KEY": "own-secret"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_module, "_SETTINGS", {**server_module._SETTINGS, **own})
        patch.setattr(server_module, "_NOWHERE", "")
        with running_server(folder, environment=environment) as server:
            yield server


class Bucket:
    """A study whose images lie in a bucket of their own."""

    def __init__(self, server: Server, session: Session, url: str, folder: Path) -> None:
        self.root, self.ledger, self.session = f"{url}/some/place", ledger_in(folder), session
        self.settings = settings_for(server, document_root=self.root, raters_per_case=1)
        self.raters = panel(1, uuid.uuid4().hex)
        self.client = boto3.client("s3")
        self.name = url.removeprefix("s3://")

    def push(self, cases: int = 5, keys: dict[str, str] = READER, **changes: Any) -> Outcome:
        settings: AnnotateSettings = self.settings.model_copy(update=changes)
        made = made_up(cases)
        return push_study(self.session, self.ledger, settings, self.raters, SECRET, made, image_keys=keys)

    def objects(self) -> list[str]:
        return [told["Key"] for told in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def tasks(self) -> list[dict[str, Any]]:
        """As they were pushed, youngest last; by default the server tells its own addresses of images."""
        (record,) = self.ledger.projects()
        found = self.session.get("api/tasks", project=record.project_id, include="id,data", resolve_uri="false")
        return sorted(found["tasks"], key=lambda task: int(task["id"]))

    def resolved(self, task: dict[str, Any]) -> httpx.Response:
        """What the rater's browser is told when it asks for the image of a task."""
        coded = base64.urlsafe_b64encode(task["data"]["image"].encode()).decode()
        headers = {"Authorization": self.session._authorization(False)}
        path = f"tasks/{task['id']}/resolve/?fileuri={coded}"
        return self.session._http.get(path, headers=headers, follow_redirects=False)


@pytest.fixture
def bucket(bucket_studio: Server, s3_bucket: str, tmp_path: Path) -> Iterator[Bucket]:
    with opened(bucket_studio.url, bucket_studio.token, 20) as session:
        yield Bucket(bucket_studio, session, s3_bucket, tmp_path)


def test_what_a_task_names_is_the_image_for_a_rater_and_nobody_else(bucket: Bucket, tmp_path: Path) -> None:
    outcome = bucket.push()
    assert not any("image" in note for note in outcome.notes)
    assignments = {row["key"]: row for row in bucket.ledger.assignments().iter_rows(named=True)}
    made = made_up(5)
    tasks = bucket.tasks()
    assert len(tasks) == 5
    for task in tasks:
        row = assignments[task["data"]["key"]]
        assert task["data"]["image"] == f"{bucket.root}/images/{row['image']}"
        answer = bucket.resolved(task)
        assert answer.status_code == 303
        assert "X-Amz-Signature=" in answer.headers["location"]
        shown = httpx.get(answer.headers["location"], trust_env=False)
        assert shown.headers["content-type"] == "image/jpeg"
        assert shown.content == made.payloads([row["image_digest"]])[row["image_digest"]]
    path = bucket.session.base + f"tasks/{tasks[0]['id']}/resolve/"
    assert httpx.get(path, params={"fileuri": tasks[0]["data"]["image"]}, trust_env=False).status_code in (401, 403)
    for file in (tmp_path / "workspace").rglob("*"):
        assert not file.is_file() or READER["aws_secret_access_key"].encode() not in file.read_bytes()


def test_pushed_again_only_what_is_new_is_uploaded_and_new_keys_are_used(bucket: Bucket) -> None:
    bucket.push(keys={})
    assert "X-Amz-Credential=own-key" in bucket.resolved(bucket.tasks()[0]).headers["location"]
    first = bucket.objects()[0]
    bucket.client.put_object(Bucket=bucket.name, Key=first, Body=b"left as it is")
    bucket.push(8)
    assert len(bucket.objects()) == 8
    assert bucket.client.get_object(Bucket=bucket.name, Key=first)["Body"].read() == b"left as it is"
    assert "X-Amz-Credential=reader-of-images" in bucket.resolved(bucket.tasks()[0]).headers["location"]
    (record,) = bucket.ledger.projects()
    (storage,) = bucket.session.get("api/storages/s3", project=record.project_id)
    assert not storage["synchronizable"]
    assert not set(READER.values()) & {str(value) for value in storage.values()}


def test_an_image_that_is_not_to_be_had_is_noted(bucket: Bucket) -> None:
    bucket.push(2)
    newest = bucket.tasks()[-1]["data"]["image"]
    bucket.client.put_object(Bucket=bucket.name, Key="some/place/images/x", Body=b"x")
    bucket.client.delete_object(Bucket=bucket.name, Key=newest.removeprefix(f"s3://{bucket.name}/"))
    bucket.settings = bucket.settings.model_copy(update={"document_root": f"{bucket.root}/elsewhere"})
    (note,) = [note for note in bucket.push(2).notes if "empty frame" in note]
    assert "127.0.0.1 answered with status 40" in note


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"s3_endpoint": "http://127.0.0.1:9"}, "set on the server itself, as S3_ENDPOINT"),
        ({"s3_endpoint": "http://no-such-host.invalid"}, "check annotate.s3_endpoint"),
        ({"document_root": "s3://no-such-bucket-anywhere/x"}, "images cannot be written to s3://no-such-bucket"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_one_sentence(bucket: Bucket, changes: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        bucket.push(**changes)
    assert not any(value in str(caught.value) for value in READER.values())
    assert bucket.push(keys={}).pushed[0].imported == 5
