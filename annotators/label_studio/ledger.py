"""What a workspace remembers of a study: what was assigned to whom, in which projects, and what came back.

Everything is a file that is written whole, once, and never changed; its name is the digest of what it holds, so that
writing it twice is writing it once. An assignment is written before its task goes to the server: a key that is found
there can always be explained.

- ``study.json``: an id that tells this study's projects from others', and a mark of the secret behind its keys
- ``assignments/DIGEST.parquet``: rows of :data:`ASSIGNMENTS`
- ``projects/SERVER-ID.json``: :class:`ProjectRecord`
- ``accounts/SERVER-ID.json``: the rater to whom an account belongs, which outlives the account
- ``screens/DIGEST.xml``: the labelling screens in use
- ``raw/SERVER-ID/DIGEST.parquet``: rows of :data:`RAW`, what was seen on the server
- ``snapshots/DIGEST.parquet``, ``quarantine/DIGEST.parquet`` and ``LATEST``
- ``readings``: a digest and a table, kept by a pull to spare the next one work; to delete it loses nothing
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from annotators.label_studio.queue import PLAN
from corpus.digests import canonical_json, digest_bytes, table_digest
from corpus.filesystem import Folder
from schemas.errors import StoreError, UserError

#: :data:`annotators.label_studio.queue.PLAN` and: ``key``: the task's opaque key; ``image_digest`` and ``image``: the
#: image and the file name it is shown under; ``pre_edit``: JSON of the narrative as it is shown; ``label``: what the
#: case is recorded as; ``note``: what the rater is told along with the case, null for nothing.
ASSIGNMENTS = pl.Schema(
    {
        "key": pl.String(),
        **PLAN,
        "image_digest": pl.String(),
        "image": pl.String(),
        "pre_edit": pl.String(),
        "label": pl.String(),
        "note": pl.String(),
    }
)
#: One annotation as it was seen; ``raw``: its JSON, null for one seen to be deleted. Times are the server's, as text.
RAW = pl.Schema(
    {
        "server": pl.String(),
        "project_id": pl.Int64(),
        "task_id": pl.Int64(),
        "key": pl.String(),
        "server_annotation_id": pl.Int64(),
        "created_at": pl.String(),
        "updated_at": pl.String(),
        "task_updated_at": pl.String(),
        "raw": pl.String(),
    }
)
#: The rater of a project that is shared by all.
SHARED = "shared"
SCORING, ADJUDICATION = "scoring", "adjudication"


@dataclass(frozen=True)
class ProjectRecord:
    """A project that was made: for which rater (:data:`SHARED` for all), with which labelling screen, for what."""

    server: str
    project_id: int
    rater: str
    config_digest: str
    title: str
    purpose: str = SCORING


class Ledger:
    """Opened on the folder ``annotation`` of a workspace (a path or an fsspec URL)."""

    def __init__(self, workspace: str) -> None:
        self.folder = Folder(f"{workspace.rstrip('/')}/annotation")

    def study(self, mark: str) -> str:
        """The study's id, made on first use; ``mark`` of the secret must be the one it was begun with."""
        self.folder.put_if_absent("study.json", canonical_json({"study": uuid.uuid4().hex[:12], "secret_mark": mark}))
        told = self._json("study.json")
        if told["secret_mark"] != mark:
            raise UserError(
                f"{self.folder.url} was begun with another secret: give that one as DERMCOT_ANNOTATION_SECRET, or put "
                "its file back"
            )
        return str(told["study"])

    def begun(self) -> bool:
        """Whether anything was ever pushed from here."""
        return self.folder.exists("study.json")

    def assignments(self) -> pl.DataFrame:
        """Everything that was ever assigned, one row a key."""
        return self._frames("assignments", ASSIGNMENTS).unique("key", maintain_order=True).sort("rater", "place", "key")

    def assign(self, rows: pl.DataFrame) -> None:
        """Write new rows; nothing for none."""
        if rows.height:
            self._put("assignments", rows.select(list(ASSIGNMENTS)).sort("key"))

    def projects(self, server: str | None = None) -> list[ProjectRecord]:
        """The projects made on a server, by default on any, oldest first."""
        names = [name for name in self.folder.names("projects") if name[-5:] == ".json"]
        names = [name for name in names if server is None or name.startswith(f"{server}-")]
        found = [ProjectRecord(**self._json(f"projects/{name}")) for name in names]
        return sorted(found, key=lambda record: (record.server, record.project_id))

    def accounts(self, server: str, now: Mapping[int, str]) -> dict[int, str]:
        """Number of an account -> its rater, for those of now, which are kept, and for those that are gone since."""
        for number, rater in sorted(now.items()):
            self.folder.put_if_absent(f"accounts/{server}-{number}.json", canonical_json({"rater": rater}))
        names = [
            name for name in self.folder.names("accounts") if name.startswith(f"{server}-") and name[-5:] == ".json"
        ]
        kept = {int(name[:-5].rpartition("-")[2]): self._json(f"accounts/{name}")["rater"] for name in names}
        return kept | dict(now)

    def add_project(self, record: ProjectRecord, config: str) -> None:
        """Remember a project and its labelling screen."""
        self.folder.put_if_absent(f"screens/{record.config_digest}.xml", config.encode())
        name = f"projects/{record.server}-{record.project_id}.json"
        new = self.folder.put_if_absent(name, canonical_json(asdict(record)))
        if not new and ProjectRecord(**self._json(name)) != record:
            raise UserError(
                f"project {record.project_id} is known as another one: did the server begin anew at its old address? "
                "If so, give it another name as annotate.server"
            )

    def screens(self) -> dict[str, str]:
        """Digest -> labelling screen."""
        names = [name for name in self.folder.names("screens") if name.endswith(".xml")]
        return {name[:-4]: self.folder.read(f"screens/{name}").decode() for name in names}

    def raw(self, server: str, project: int) -> pl.DataFrame:
        """What was seen of a project, in a fixed order."""
        rows = self._frames(f"raw/{server}-{project}", RAW)
        return rows.unique(maintain_order=True).sort("key", "server_annotation_id", "updated_at", "raw")

    def add_raw(self, server: str, project: int, rows: pl.DataFrame) -> None:
        """Write what was newly seen; nothing for none."""
        if rows.height:
            self._put(f"raw/{server}-{project}", rows.select(list(RAW)).sort(list(RAW)))

    def save_snapshot(self, annotations: pl.DataFrame, quarantine: pl.DataFrame) -> str:
        """Write both tables and point to them; returns the path of the annotations."""
        names = {"snapshot": self._put("snapshots", annotations), "quarantine": self._put("quarantine", quarantine)}
        if self._latest() != names:
            self.folder.write("LATEST", canonical_json(names))
        return self.folder.path(names["snapshot"])

    def snapshot(self) -> tuple[pl.DataFrame, pl.DataFrame] | None:
        """The latest annotations and quarantine; None before the first pull."""
        names = self._latest()
        if names is None:
            return None
        return self._frame(names["snapshot"]), self._frame(names["quarantine"])

    def readings(self, schema: pl.Schema) -> pl.DataFrame:
        """What was kept by :meth:`keep_readings`; nothing when there is none, or it is damaged or of another kind."""
        try:
            digest, data = (kept := self.folder.read("readings"))[:64], kept[64:]
        except FileNotFoundError:
            return pl.DataFrame(schema=schema)
        frame = pl.read_parquet(io.BytesIO(data)) if digest == digest_bytes(data).encode() else pl.DataFrame()
        return frame if frame.schema == schema else pl.DataFrame(schema=schema)

    def keep_readings(self, readings: pl.DataFrame) -> None:
        """Replace what is kept to spare the next pull work."""
        sink = io.BytesIO()
        readings.write_parquet(sink, compression="zstd", statistics=False)
        self.folder.write("readings", digest_bytes(sink.getvalue()).encode() + sink.getvalue())

    def _latest(self) -> Mapping[str, str] | None:
        try:
            return self._json("LATEST")
        except FileNotFoundError:
            return None

    def _put(self, place: str, frame: pl.DataFrame) -> str:
        name = f"{place}/{table_digest(frame)[:32]}.parquet"
        sink = io.BytesIO()
        frame.write_parquet(sink, compression="zstd", statistics=False)
        self.folder.put_if_absent(name, sink.getvalue())
        return name

    def _frames(self, place: str, schema: pl.Schema) -> pl.DataFrame:
        names = [f"{place}/{name}" for name in self.folder.names(place) if name.endswith(".parquet")]
        return pl.concat([pl.DataFrame(schema=schema), *map(self._frame, names)], how="diagonal").select(list(schema))

    def _frame(self, name: str) -> pl.DataFrame:
        try:
            return pl.read_parquet(io.BytesIO(self.folder.read(name)))
        except FileNotFoundError:
            raise StoreError(f"{self.folder.path(name)} is missing: put it back from a backup") from None
        except pl.exceptions.PolarsError as error:
            raise StoreError(f"{self.folder.path(name)} is damaged: put it back from a backup") from error

    def _json(self, name: str) -> dict[str, Any]:
        data = self.folder.read(name)
        try:
            told: dict[str, Any] = json.loads(data)
        except ValueError:
            raise StoreError(f"{self.folder.path(name)} is damaged: put it back from a backup") from None
        return told


def of_project(assignments: pl.DataFrame, rater: str, purpose: str) -> pl.DataFrame:
    """What belongs into a rater's project."""
    judging = pl.col("occasion") == "adjudication"
    return assignments.filter((pl.col("rater") == rater) & (judging if purpose == ADJUDICATION else ~judging))
