"""What a run with this configuration needs, seen to before the night: ``dermcot doctor``.

Quick checks come first, what opens weights or asks servers last. Nothing is kept or changed: no lease is taken, no
segment of the request cache is sealed, and no image of a source is opened or sent anywhere.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl

from annotators.engines.local_segments import SUFFIX, counted
from annotators.engines.terms import is_own
from corpus.filesystem import Folder
from corpus.sources import read_source
from flows.doctor_trial import Check, refused
from flows.teacher_steps import CACHE
from schemas.config import Config
from schemas.engine_config import HttpSettings
from schemas.errors import UserError
from schemas.teacher_config import VlmSettings

_LITTLE_DISK = 5e9  # bytes


def examine(config: Config, say: Callable[[str], None]) -> Iterator[Check]:
    """Every check as soon as it is done; ``say`` is told what takes long."""
    if config.propose.teacher == "textbook":
        yield _textbook(config.propose.candidates)
    else:
        assert config.propose.vlm is not None
        yield from _teacher(config.propose.vlm, config.propose.candidates)
    yield from _workspace(config.workspace)
    if config.propose.teacher == "vlm" and (settings := config.propose.vlm) is not None:
        if settings.http is not None:
            from flows.doctor_servers import servers

            yield from _terms(config, settings.http, say)
            yield from servers(settings, say)
        else:
            from flows.doctor_model import model_in_process

            yield from model_in_process(settings, say)


def _textbook(candidates: int) -> Check:
    found = "textbook: writes from metadata and knowledge cards, and needs no weights, no GPU and no server; "
    return Check("teacher", "ok", f"{found}{candidates} candidate{'s' * (candidates != 1)} per case")


def _teacher(settings: VlmSettings, n: int) -> Iterator[Check]:
    where = "in this process (transformers)" if settings.http is None else "behind servers (http)"
    yield Check("teacher", "ok", f"vlm: looks at images; model {settings.model!r} {where}; its texts are under "
                                 f"{settings.terms}")  # fmt: skip
    least, most = math.floor(n * settings.blind_share), math.ceil(n * settings.blind_share)
    blind = f"{least}" if least == most else f"{least} or {most}"
    found = (
        f"{n} candidate{'s' * (n != 1)} per case, {blind} of them blind (blind_share {settings.blind_share:g}) and the "
        f"others grounded: {1 + 2 * n} requests if each succeeds, up to {settings.attempts} attempts each; temperature "
        f"{settings.temperature:g}, at most {settings.max_tokens:,} tokens an answer"
    )
    yield Check("mode", "ok", found)
    if settings.revision is None and settings.http is not None:
        todo = "set propose.vlm.revision, for instance to the version or date of the weights, and change it with them"
        yield Check("revision", "warning", "unnamed: after an exchange of the weights, what the old ones answered "
                                           "would be taken for theirs", todo)  # fmt: skip
    else:
        yield Check("revision", "ok", repr(settings.revision) if settings.revision else "a digest of the checkpoint")


def _workspace(place: str) -> Iterator[Check]:
    try:
        folder = Folder(place)
    except UserError as error:
        yield refused("workspace", error)
        return
    except Exception as error:  # an unknown scheme, or a filesystem whose package is missing
        todo = "see that the address is right; for s3:// it takes pip install 'dermcot[s3]'"
        yield Check("workspace", "missing", f"{_shown(place)} cannot be opened ({type(error).__name__})", todo)
        return
    writable = _writable(folder, place)
    yield writable
    if writable.state == "missing":
        return
    if folder.is_local:
        yield _disk(_nearest(folder))
    yield _cache(folder, place)


def _writable(folder: Folder, place: str) -> Check:
    probe = f"doctor-{uuid.uuid4().hex}.tmp"
    try:
        if folder.is_local:
            with tempfile.TemporaryFile(dir=_nearest(folder)) as file:
                file.write(b"1")
        else:
            folder.put_if_absent(probe, b"1")
            folder.delete(probe)
    except Exception as error:  # whatever an object store may raise, which may quote what it was given
        found = f"{_shown(place)} cannot be written to ({type(error).__name__})"
        return Check("workspace", "missing", found, "mend its rights or credentials, or name another with --workspace")
    there = folder.exists("")
    return Check("workspace", "ok", f"{_shown(place)} {'is writable' if there else 'can be made'}")


def _nearest(folder: Folder) -> Path:
    """The workspace, or the folder in which it will be made."""
    return next(path for path in (Path(folder.root), *Path(folder.root).parents) if path.exists())


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    if free < _LITTLE_DISK:
        todo = "free some, or name another place with --workspace: it holds a copy of every image that is used"
        return Check("disk", "warning", f"{free / 1e9:.1f} GB free", todo)
    return Check("disk", "ok", f"{free / 1e9:,.1f} GB free")


def _cache(folder: Folder, place: str) -> Check:
    try:
        if not folder.is_local:
            names = [name for name in folder.names(CACHE) if name.endswith(SUFFIX)]
            size = sum(folder.size(f"{CACHE}/{name}") or 0 for name in names)
            segments = f"{len(names):,} segment{'s' * (len(names) != 1)} of answers, {size / 1e6:,.1f} MB"
            return Check("request cache", "ok", f"{segments}; not counted here" if names else "empty")
        held = counted(Path(folder.path(CACHE)))
    except UserError as error:
        return refused("request cache", error)
    except Exception as error:  # as above
        found = f"{_shown(place)}/{CACHE} cannot be read ({type(error).__name__})"
        return Check("request cache", "missing", found, "mend its rights: without it every answer is asked for again")
    found = f"{held.answers:,} answers, {held.size / 1e6:,.1f} MB: none of them is asked for again"
    if held.damaged:
        return Check("request cache", "warning", f"{found}; {held.damaged:,} damaged ones are", "see to the disk")
    return Check("request cache", "ok", found if held.answers else "empty")


def _terms(config: Config, http: HttpSettings, say: Callable[[str], None]) -> Iterator[Check]:
    """Which sources' images no server may have, or only those of the house."""
    own = [endpoint for endpoint in http.endpoints if is_own(endpoint)]
    if len(own) == len(http.endpoints):
        yield Check("image terms", "ok", "every server is your own: no image leaves the house")
        return
    kept: dict[str, str] = {}
    images = held = 0
    for source in config.sources:
        say(f"reading the terms of {source.name}")
        try:
            records = read_source(source, Path(source.path)).records
        except UserError as error:
            yield refused(f"source {source.name}", error)
            continue
        shut = records.filter(~pl.col("external_processing"))
        images, held = images + records.height, held + shut.height
        if shut.height:
            licences = ", ".join(sorted(shut["licence"].unique()))
            kept[source.name] = f"{source.name} ({shut.height:,} of {records.height:,}, {licences})"
    what = f"{held:,} of {images:,} images, in {len(kept)} of {len(config.sources)} sources"
    listed = "; ".join(kept.values())
    if not kept:
        yield Check("image terms", "ok", "every image may be sent to every server")
    elif own:
        yield Check("image terms", "ok", f"to your own servers alone go {what}: {listed}")
    else:
        todo = "add a server of your own (on this machine, or own: true), or set external_processing where terms allow"
        state = "missing" if held == images else "warning"
        yield Check("image terms", state, f"nowhere can be sent {what}: {listed}", todo)  # type: ignore[arg-type]


def _shown(place: str) -> str:
    """A folder or URL without a name and password."""
    parts = urlsplit(place) if "://" in place else None
    return place if parts is None else parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
