"""Where the images that raters see lie: in a folder that the server shares with us, or in an S3 bucket.

Either way a file has an opaque name, is written once and never changed, and the task holds its address. Label Studio
turns the address of an object into one that is signed for a few minutes, whenever a rater opens the case. It signs with
keys of its own, or with those it is given here: they go into that one request and are kept nowhere on this side.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from annotators.label_studio.session import Lost, Refused, Session, backoff
from annotators.label_studio.tasks import IMAGES, export_image, image_url
from corpus.filesystem import Folder, sentence_when_full
from schemas.config import AnnotateSettings
from schemas.errors import UserError

#: What the server is given to sign with: both or none.
KEYS = ("aws_access_key_id", "aws_secret_access_key")
#: Minutes for which a signed address works; a case that is opened again gets a new one.
SIGNED_MINUTES = 5
_EXPORTED_AT_ONCE = 200
_UPLOADS = 8
#: Seconds for which a server is asked again that fails over a bucket: more often than not it will never read it.
_BUCKET_PATIENCE = 3.0


def image_address(root: str, name: str) -> str:
    """What a task holds for an image under the document root."""
    return f"{root.rstrip('/')}/{IMAGES}/{name}" if _in_bucket(root) else image_url(name)


def export_images(names: Mapping[str, str], root: str, payloads: Callable[[Mapping[str, str]], Any]) -> None:
    """Put the images that are not there yet where the server shows them.

    ``names``: image digest -> file name; ``payloads``: the bytes by digest of those that it is given.
    """
    with _writing(root):
        there, write = _opened(root)
    lacking = [(digest, name) for digest, name in sorted(names.items()) if name not in there]
    for at in range(0, len(lacking), _EXPORTED_AT_ONCE):
        some = dict(lacking[at : at + _EXPORTED_AT_ONCE])
        found = payloads(some)
        if missing := sorted(some.keys() - found.keys()):
            raise UserError(
                f"image {missing[0]} was assigned, but the latest build has it no more: run the build that had it"
            )
        with _writing(root), ThreadPoolExecutor(_UPLOADS if _in_bucket(root) else 1) as pool:
            list(pool.map(write, some.values(), [found[digest] for digest in some]))


def ensure_storage(session: Session, project: int, settings: AnnotateSettings, keys: Mapping[str, str]) -> None:
    """Let the server show the images of the document root in a project, with the keys and addresses of now.

    ``keys``: :data:`KEYS`, or nothing where the server has some of its own. Raises :class:`UserError` when it cannot
    read the bucket.
    """
    if _in_bucket(settings.document_root):
        with _bucket_refusals(settings.document_root):
            _ensure_bucket(session, project, settings, keys)
        return
    root = settings.document_root_there or settings.document_root
    path = f"{root.rstrip('/')}/{IMAGES}"
    waits = backoff(session.patience)
    while not any(told["path"] == path for told in session.get("api/storages/localfiles", project=project)):
        try:
            session.post("api/storages/localfiles", {"project": project, "path": path, "use_blob_urls": True})
        except Lost as error:
            session.wait(waits, error)


def image_problem(session: Session, project: int) -> str | None:
    """Why the image of the youngest task of the project is not shown, in words; None when it is, or there is none."""
    newest = json.dumps({"ordering": ["-tasks:id"]})
    tasks = session.get("api/tasks", project=project, include="id,data", query=newest, page=1, page_size=1)["tasks"]
    if not tasks:
        return None
    address = str(tasks[0]["data"].get("image"))
    if _in_bucket(address):
        return f"Label Studio has no storage for {address}"
    told = urlsplit(address)  # of the server, under whatever name it knows itself
    path = told.path.removeprefix(urlsplit(session.base).path).lstrip("/")
    try:
        answer = session.fetched(f"{path}?{told.query}")
    except Lost as error:
        return str(error)
    kind = answer.headers.get("content-type", "")
    if answer.status_code == 200 and kind.startswith("image/"):
        return None
    what = f"status {answer.status_code}" if answer.status_code != 200 else f"{kind or 'something'}, which is no image"
    return f"{answer.url.host} answered with {what}"


def _in_bucket(address: str) -> bool:
    return address.startswith("s3://")


def _opened(root: str) -> tuple[set[str], Callable[[str, bytes], object]]:
    """The names of the images that are there, and a function that writes one."""
    if _in_bucket(root):
        folder = Folder(root)
        return set(folder.names(IMAGES)), lambda name, data: folder.write(f"{IMAGES}/{name}", data)
    (Path(root) / IMAGES).mkdir(parents=True, exist_ok=True)
    there = {path.name for path in (Path(root) / IMAGES).iterdir()}
    return there, lambda name, data: export_image(data, Path(root), name)


def _ensure_bucket(session: Session, project: int, settings: AnnotateSettings, keys: Mapping[str, str]) -> None:
    bucket, _, prefix = settings.document_root.removeprefix("s3://").strip("/").partition("/")
    place = {"bucket": bucket, "prefix": f"{prefix}/{IMAGES}".lstrip("/")}
    access = {
        **dict.fromkeys(KEYS), **keys, "s3_endpoint": settings.s3_endpoint, "presign": True,
        "region_name": settings.s3_region or _region(), "presign_ttl": SIGNED_MINUTES, "use_blob_urls": True,
        "synchronizable": False,
    }  # fmt: skip
    waits = backoff(min(session.patience, _BUCKET_PATIENCE))
    while True:
        known = session.get("api/storages/s3", project=project)
        mine = [told["id"] for told in known if all(told[name] == value for name, value in place.items())]
        try:
            if mine:
                session.patch(f"api/storages/s3/{mine[0]}", access)
            else:
                session.post("api/storages/s3", {"project": project, "title": "images", **place, **access})
            return
        except Lost as error:
            wait = next(waits, None)
            if wait is None:
                raise (Refused(error.told) if error.told else session.silent(error)) from error
            time.sleep(wait)


def _region() -> str | None:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


@contextmanager
def _bucket_refusals(root: str) -> Iterator[None]:
    """Turn what the server says about a bucket into one sentence on what to look at."""
    try:
        yield
    except Refused as error:
        hint = "check annotate.s3_endpoint and annotate.s3_region, and that the keys it signs with may list and read it"
        if "reserved network" in str(error) or "not allowed" in str(error):
            hint = (
                "an address in a private network has to be set on the server itself, as S3_ENDPOINT in its "
                "environment, with annotate.s3_endpoint left empty"
            )
        raise UserError(f"Label Studio cannot show the images of {root}: {error}; {hint}") from error


@contextmanager
def _writing(root: str) -> Iterator[None]:
    """Turn whatever keeps images from being written into one sentence."""
    if not _in_bucket(root):
        with sentence_when_full(root):
            yield
        return
    try:
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise UserError("what reads S3 is not installed: pip install 'dermcot[s3,studio]'") from error
    try:
        yield
    except (OSError, BotoCoreError) as error:
        said = " ".join(str(error).split())
        raise UserError(
            f"images cannot be written to {root} ({said}): check the bucket, AWS_ENDPOINT_URL and the credentials of "
            "this machine, and run the same command again; nothing is lost"
        ) from error
