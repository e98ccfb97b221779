"""The steps of a build, in order: what each reads, and the thin glue between the store and the stage functions.

The stages themselves are plain functions in ``corpus``, ``annotators`` and ``quality``. Versions are raised by hand when
a stage's meaning changes, which makes its outputs be made again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from annotators import rubric, textbook
from annotators.standardise import standardise
from corpus.decontamination import MANIFEST_COLUMNS, decontaminate, read_manifest
from corpus.digests import digest_of, row_keys, table_digest
from corpus.duplicates import deduplicate
from corpus.ingest import fingerprint, ingest, list_files, lost_cases, read_sources
from corpus.inspection import inspect_shard
from corpus.labels import map_labels
from corpus.selection import live_cases, select
from corpus.splits import assign_splits
from corpus.store import Store
from flows.gating import gate_ingest, gate_narratives, gate_release
from flows.plan import Build, RowStep, ShardResult, Step, Tables, TableStep
from schemas.cards import cards_digest, load_cards
from schemas.config import Config
from schemas.errors import SourceError
from schemas.stage import rejection, rejections_frame
from schemas.tables import EVALUATIONS, INSPECTIONS, NARRATIVES, polars_schema
from schemas.taxonomy import load_taxonomy

Collected = tuple[Tables, dict[str, Any]]


def _shape(result_rows: pl.DataFrame, schema: Any) -> list[str]:
    return [name for name in polars_schema(schema).names() if name in result_rows.columns]


# -- ingest -----------------------------------------------------------------------------------------------------------


def _source_settings(config: Config) -> Any:
    return [source.model_dump(mode="json", exclude={"path"}) for source in config.sources]


def _listing(build: Build) -> Any:
    return [(source.name, source.path, table_digest(list_files(Path(source.path)))) for source in build.config.sources]


def _read(build: Build) -> Collected:
    records, files, rejected, notes = read_sources(build.config.sources, build.config.limit)
    kept = {"records": records.height}
    return {"records": records, "_files": files, "rejected": rejected}, {"kept": kept, "notes": notes}


def _fingerprint_items(build: Build) -> pl.DataFrame:
    files = build.table("read", "_files")
    return files.with_columns(row_keys(files.select("absolute", "size", "mtime_ns"), "fingerprint", 1))


def _fingerprint(items: pl.DataFrame, config: Config, store: Store, scratch: Path) -> ShardResult:
    rows, failed = fingerprint(items)
    return ShardResult(rows, failed)


def _fingerprint_collect(build: Build, items: pl.DataFrame, failed: list[dict[str, Any]]) -> Collected:
    return {}, {}


def _ingest(build: Build) -> Collected:
    prints = build.rows("fingerprint", ["source", "file_path", "file_bytes", "file_digest"])
    images, cases, result = ingest(build.table("read", "records"), prints, build.config.sources)
    kept = {"images": images.height, "cases": cases.height}
    return {"images": images, "cases": cases, "rejected": result.rejected}, {"kept": kept}


def _adapters(config: Config) -> dict[str, str]:
    return {source.name: source.adapter for source in config.sources}


def _map_labels(build: Build) -> Collected:
    result = map_labels(build.table("ingest", "cases"), _adapters(build.config), load_taxonomy())
    stats = {"kept": {"cases": result.kept.height}, "labels": dict(result.stats)}
    return {"cases": result.kept, "rejected": result.rejected}, stats


# -- images -----------------------------------------------------------------------------------------------------------


def _inspect_settings(config: Config) -> Any:
    return config.inspect.model_dump(mode="json")


def _inspect_items(build: Build) -> pl.DataFrame:
    roots = {source.name: source.path for source in build.config.sources}
    images = build.table("ingest", "images", ["image_id", "source", "file_path", "file_digest"])
    files = images.sort("image_id").unique("file_digest", keep="first", maintain_order=True)
    path = pl.col("source").replace_strict(roots, return_dtype=pl.String) + "/" + pl.col("file_path")
    files = files.select("file_digest", "image_id", path.alias("absolute"))
    return files.with_columns(row_keys(files.select("file_digest"), "inspect", 1, _inspect_settings(build.config)))


#: Refusals that tell of a path at a moment, not of the bytes; they must not be remembered under the file's digest.
_OF_THE_MOMENT = ("file_missing", "file_changed", "file_unreadable")


def _inspect(items: pl.DataFrame, config: Config, store: Store, scratch: Path) -> ShardResult:
    pack = scratch / "pack.tar"
    wanted = items.select("file_digest", "absolute", "image_id").rows()
    rows, refused = inspect_shard(wanted, config.inspect, pack)
    paths = dict(items.select("file_digest", "absolute").iter_rows())
    for row in refused:
        if row["rule"] in _OF_THE_MOMENT:
            raise SourceError(f"{paths[row['file_digest']]} changed while the build was reading it: run again once "
                              "nothing writes to the source folders")
    keys = dict(items.select("file_digest", "row_key").iter_rows())
    frame = pl.DataFrame(rows, schema=polars_schema(INSPECTIONS))
    frame = frame.with_columns(pl.col("file_digest").replace_strict(keys, return_dtype=pl.String).alias("row_key"))
    return ShardResult(frame, [{**row, "row_key": keys[row["file_digest"]]} for row in refused], pack)


def _inspect_collect(build: Build, items: pl.DataFrame, refused: list[dict[str, Any]]) -> Collected:
    images = build.table("ingest", "images", ["image_id", "file_digest"])
    why = {row["file_digest"]: row for row in refused}
    bad = {
        image_id: rejection("image", image_id, "inspect", row["rule"], value=row["value"], threshold=row["threshold"],
                            detail=row["detail"])
        for image_id, digest in images.filter(pl.col("file_digest").is_in(pl.Series(list(why)).cast(pl.String).implode())).iter_rows()
        for row in [why[digest]]
    }
    lost = lost_cases(build.table("ingest", "cases", ["case_id", "image_ids"]), bad)
    return {"rejected": rejections_frame([*bad.values(), *lost])}, {"kept": {"images": images.height - len(bad)}}


_HASHED = ["file_digest", "pixel_digest", "width", "height", "phash_whole", "phash_centre"]


def _deduplicate(build: Build) -> Collected:
    result, edges = deduplicate(
        build.table("ingest", "images"), build.rows("inspect", _HASHED), _labelled(build),
        build.config.deduplicate, load_taxonomy(), build.parent.image_ids,
    )
    kept = {"images": result.kept.filter("kept").height}
    return {"decisions": result.kept, "edges": edges, "rejected": result.rejected}, {"kept": kept, **result.stats}


def _labelled(build: Build) -> pl.DataFrame:
    """All cases, with the label mapping's decision where there is one; unmapped ones still bind duplicates."""
    mapped = build.table("map_labels", "cases")
    rest = build.table("ingest", "cases").join(mapped.select("case_id"), on="case_id", how="anti")
    return pl.concat([mapped, rest.select(mapped.columns)]).sort("case_id")


def _manifests(build: Build) -> pl.DataFrame:
    tables = [read_manifest(Path(path)) for path in build.config.decontaminate.manifests]
    empty = pl.DataFrame(schema=dict.fromkeys(MANIFEST_COLUMNS, pl.String))
    return pl.concat([empty, *tables]).unique().sort(MANIFEST_COLUMNS)


def _decontaminate(build: Build) -> Collected:
    result = decontaminate(
        build.table("ingest", "images"), build.rows("inspect", _HASHED), _labelled(build),
        build.table("deduplicate", "edges"), _manifests(build), _adapters(build.config), build.config.decontaminate,
    )
    stats = {"kept": {"images": result.kept.filter("clean").height}, **result.stats}
    return {"groups": result.kept, "rejected": result.rejected}, stats


def _split(build: Build) -> Collected:
    cases = build.table("map_labels", "cases")
    result, entries = assign_splits(
        build.table("decontaminate", "groups"), _labelled(build), build.parent.ledger, build.config.split
    )
    alive = live_cases(
        cases, build.table("ingest", "images"),
        build.rows("inspect", ["file_digest", "image_digest", "pixel_digest"]),
        build.table("deduplicate", "decisions"), result.kept,
    )
    tables = {"assignments": result.kept, "cases": alive, "rejected": result.rejected, "_ledger": entries}
    return tables, {"kept": {"cases": alive.height}, "splits": dict(result.stats)}


# -- narratives -------------------------------------------------------------------------------------------------------

_CASE_FOR_CHECKS = ["case_id", "node_id", "label_certainty"]


def _propose_settings(config: Config) -> Any:
    return [config.propose.model_dump(mode="json"), textbook.teacher_revision(load_taxonomy(), load_cards())]


def _propose_items(build: Build) -> pl.DataFrame:
    cases = build.table("split", "cases")
    prompts = [textbook.case_prompt_digest(row) for row in cases.iter_rows(named=True)]
    keyed = pl.DataFrame({"case_id": cases["case_id"], "prompt": pl.Series(prompts, dtype=pl.String)})
    return cases.with_columns(row_keys(keyed, "propose", 1, _propose_settings(build.config)))


def _propose(items: pl.DataFrame, config: Config, store: Store, scratch: Path) -> ShardResult:
    result = textbook.propose(items.drop("row_key"), config.propose.candidates, load_taxonomy(), load_cards())
    keys = items.select("case_id", "row_key")
    rejected = result.rejected.join(keys, left_on="record_id", right_on="case_id").to_dicts()
    return ShardResult(result.kept.join(keys, on="case_id"), rejected)


def _plain_collect(build: Build, items: pl.DataFrame, rejected: list[dict[str, Any]]) -> Collected:
    rows = rejections_frame([{k: v for k, v in row.items() if k != "row_key"} for row in rejected])
    return {"rejected": rows}, {}


def _standardise_items(build: Build) -> pl.DataFrame:
    proposed = build.table("propose", "selection").rename({"row_key": "from_key", "part": "from_part"})
    items = proposed.join(build.table("split", "cases", _CASE_FOR_CHECKS), on="case_id").sort("case_id", "narrative_id")
    content = items.select("row_digest", "node_id", "label_certainty")
    return items.with_columns(row_keys(content, "standardise", 1, load_taxonomy().digest))


def _narratives_of(store: Store, step: str, items: pl.DataFrame) -> pl.DataFrame:
    """The narratives that items (``from_key``, ``from_part``, ``narrative_id``) refer to, as an earlier step made them."""
    places = items.select(pl.col("from_key").alias("row_key"), pl.col("from_part").alias("part")).unique()
    rows = store.read_rows(step, places, list(polars_schema(NARRATIVES)))
    return rows.drop("row_key").join(items.select("narrative_id"), on="narrative_id", how="semi")


def _by_narrative(kept: pl.DataFrame, rejected: pl.DataFrame, items: pl.DataFrame) -> ShardResult:
    keys = items.select("narrative_id", "row_key")
    failed = rejected.join(keys, left_on="record_id", right_on="narrative_id").to_dicts()
    return ShardResult(kept.join(keys, on="narrative_id"), failed)


def _standardise(items: pl.DataFrame, config: Config, store: Store, scratch: Path) -> ShardResult:
    cases = items.select(_CASE_FOR_CHECKS).unique()
    result = standardise(_narratives_of(store, "propose", items), cases, load_taxonomy())
    return _by_narrative(result.kept, result.rejected, items)


_CASE_FOR_RUBRIC = ["node_id", "label_certainty", "age_years", "sex", "site", "concepts", "caption", "facts", "raw_label",
                    "source", "image_ids", "label_rule", "lesion_id", "patient_id"]
#: What a score cannot hang on, so that it need not be made again when only this changes.
_NAMES_ONLY = ("image_ids", "label_rule", "lesion_id", "patient_id", "source")


def _evaluate_settings(config: Config) -> Any:
    return [config.evaluate.model_dump(mode="json"), rubric.EVALUATOR_ID, cards_digest(), load_taxonomy().digest]


def _evaluate_items(build: Build) -> pl.DataFrame:
    parsed = build.table("standardise", "selection").rename({"row_key": "from_key", "part": "from_part"})
    cases = build.table("split", "cases", ["case_id", *_CASE_FOR_RUBRIC])
    items = parsed.join(cases, on="case_id").sort("case_id", "narrative_id")
    content = items.select("row_digest", *(name for name in _CASE_FOR_RUBRIC if name not in _NAMES_ONLY))
    return items.with_columns(row_keys(content, "evaluate", 1, _evaluate_settings(build.config)))


def _evaluate(items: pl.DataFrame, config: Config, store: Store, scratch: Path) -> ShardResult:
    cases = items.select("case_id", *_CASE_FOR_RUBRIC).unique("case_id")
    narratives = _narratives_of(store, "standardise", items)
    result = rubric.evaluate(narratives, cases, load_taxonomy(), load_cards())
    return _by_narrative(result.kept, result.rejected, items)


def _select(build: Build) -> Collected:
    candidates = build.table("propose", "selection", ["narrative_id", "case_id", "candidate"])
    result = select(build.table("split", "cases"), candidates,
                    build.rows("evaluate", list(polars_schema(EVALUATIONS))), build.config.select, build.parent.case_ids)
    return {"selected": result.kept, "rejected": result.rejected}, {"kept": {"cases": result.kept.height},
                                                                    "splits": dict(result.stats)}


def _nothing(config: Config) -> Any:
    return None


def _taxonomy_digest(config: Config) -> Any:
    return [_adapters(config), load_taxonomy().digest]


STEPS: tuple[Step, ...] = (
    TableStep("read", 1, (), lambda c: [_source_settings(c), c.limit], _read, _listing),
    RowStep("fingerprint", 1, ("read._files",), _nothing, _fingerprint_items, _fingerprint, ("source", "file_path"),
            "files", _fingerprint_collect),
    TableStep("ingest", 1, ("read.records", "fingerprint.selection"), _source_settings, _ingest),
    TableStep("map_labels", 1, ("ingest.cases",), _taxonomy_digest, _map_labels),
    RowStep("inspect", 1, ("ingest.images", "ingest.cases"), _inspect_settings, _inspect_items, _inspect,
            ("file_digest",), "files", _inspect_collect),
    TableStep("gate_ingest", 1, ("read.records", "read.rejected", "ingest.images", "ingest.rejected", "map_labels.cases",
              "inspect.selection"), lambda c: c.gate.model_dump(mode="json"), gate_ingest),
    TableStep("deduplicate", 1, ("ingest.images", "ingest.cases", "map_labels.cases", "inspect.selection"),
              lambda c: [c.deduplicate.model_dump(mode="json"), load_taxonomy().digest], _deduplicate,
              lambda b: digest_of(sorted(b.parent.image_ids))),
    TableStep("decontaminate", 1, ("ingest.images", "ingest.cases", "map_labels.cases", "inspect.selection",
              "deduplicate.edges"), lambda c: c.decontaminate.model_dump(mode="json", exclude={"manifests"}),
              _decontaminate, lambda b: table_digest(_manifests(b))),
    TableStep("split", 1, ("ingest.images", "ingest.cases", "map_labels.cases", "inspect.selection",
              "deduplicate.decisions", "decontaminate.groups"), lambda c: c.split.model_dump(mode="json"), _split,
              lambda b: table_digest(b.parent.ledger)),
    RowStep("propose", 1, ("split.cases",), _propose_settings, _propose_items, _propose,
            ("case_id", "narrative_id", "candidate"), "narratives", _plain_collect),
    RowStep("standardise", 1, ("propose.selection", "split.cases"), lambda c: load_taxonomy().digest,
            _standardise_items, _standardise, ("case_id", "narrative_id"), "narratives", _plain_collect),
    RowStep("evaluate", 1, ("standardise.selection", "split.cases"), _evaluate_settings, _evaluate_items, _evaluate,
            ("narrative_id",), "evaluations", _plain_collect),
    TableStep("gate_narratives", 1, ("standardise.selection", "evaluate.selection"),
              lambda c: [c.gate.model_dump(mode="json"), load_taxonomy().digest], gate_narratives),
    TableStep("select", 1, ("split.cases", "propose.selection", "evaluate.selection"),
              lambda c: c.select.model_dump(mode="json"), _select,
              lambda b: digest_of(sorted(b.parent.case_ids))),
    TableStep("gate_release", 1, ("select.selected", "split.cases", "standardise.selection", "evaluate.selection"),
              lambda c: [c.gate.model_dump(mode="json"), c.select.model_dump(mode="json"), load_taxonomy().digest],
              gate_release),
)  # fmt: skip

#: Steps that read what the latest release remembers.
READS_PARENT = ("deduplicate", "split", "select")
