"""``dermcot explain ID``: everything that happened to a case, an image or a narrative, in the order it happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
from rich.markup import escape
from rich.tree import Tree

from corpus.filesystem import Folder
from corpus.releases import published_releases
from corpus.store import StepOutput, Store
from flows.build import last_build
from flows.execute import rejections_of
from flows.explain_attempts import attempts_story
from flows.explain_certification import certification_story
from schemas.errors import UserError
from schemas.tables import DIMENSIONS
from schemas.taxonomy import load_taxonomy


@dataclass(frozen=True)
class _Story:
    store: Store
    outputs: dict[str, StepOutput]

    def rows(self, step: str, table: str, column: str, value: str) -> list[dict[str, Any]]:
        """Rows of a step's table where a column has (or a list column contains) a value."""
        if step not in self.outputs or table not in self.outputs[step].tables:
            return []
        frame = self.store.table(self.outputs[step], table)
        is_list = isinstance(frame.schema[column], pl.List)
        match = pl.col(column).list.contains(value) if is_list else pl.col(column) == value
        return frame.filter(match).to_dicts()

    def made(self, step: str, column: str, value: str, columns: list[str]) -> list[dict[str, Any]]:
        """Rows a row step made for the selection rows where a column has a value."""
        if step not in self.outputs:
            return []
        selection = self.store.table(self.outputs[step], "selection").filter(pl.col(column) == value)
        return self.store.read_rows(step, selection, columns).drop("row_key").to_dicts() if selection.height else []

    def why(self, kind: str, record_id: str) -> list[dict[str, Any]]:
        """All rejections of a record, in the order of the steps."""
        found: list[dict[str, Any]] = []
        for output in self.outputs.values():
            rejected = rejections_of(output, self.store)
            found += rejected.filter((pl.col("record_kind") == kind) & (pl.col("record_id") == record_id)).to_dicts()
        return found


def explain(workspace: str, wanted: str) -> Tree:
    """The story of an id: a case or image id, a bare image id or file name of a source, a narrative id, or a digest.

    Raises :class:`UserError` when there is no build or nothing of that name.
    """
    last = last_build(workspace)
    if last is None:
        raise UserError(
            f"there is no finished build in {workspace}: run `dermcot run` first, or name it with --workspace"
        )
    store, outputs, record = last
    story = _Story(store, outputs)
    images, cases = _find(story, wanted)
    if not images and not cases:
        raise UserError(
            f"nothing called {wanted!r} occurs in the latest build of {workspace}: give a case or image id such as "
            "ham10000:ISIC_0024306, a file name, a narrative id or a digest"
        )
    tree = Tree(f"[bold]{wanted}[/]")
    for image_id in sorted(images):
        _tell_image(tree.add(f"[bold]image {image_id}[/]"), story, image_id)
    for case_id in sorted(cases):
        _tell_case(tree.add(f"[bold]case {case_id}[/]"), story, case_id, record)
    return tree


def _find(story: _Story, wanted: str) -> tuple[set[str], set[str]]:
    """Image and case ids that an id stands for; rejected records are found by their rejections alone."""
    images: set[str] = set()
    for step, table, columns in (
        ("ingest", "images", ("image_id", "source_image_id", "file_digest", "file_path")),
        ("inspect", "selection", ("file_digest",)),
    ):
        for column in columns:
            images |= {row["image_id"] for row in story.rows(step, table, column, wanted) if "image_id" in row}
    tail = pl.col("file_path").str.split("/").list.last() == wanted
    if "ingest" in story.outputs:
        frame = story.store.table(story.outputs["ingest"], "images", ["image_id", "file_path", "file_digest"])
        images |= set(frame.filter(tail)["image_id"])
        for column in ("image_digest", "pixel_digest"):
            for row in _inspected(story, column, wanted):
                images |= set(frame.filter(pl.col("file_digest") == row["file_digest"])["image_id"])
    cases = {row["case_id"] for row in story.rows("ingest", "cases", "case_id", wanted)}
    for image_id in images:
        cases |= {row["case_id"] for row in story.rows("ingest", "cases", "image_ids", image_id)}
    named_in = (("propose", "selection"), ("propose", "lost"), ("correct", "narratives"), ("standardise", "selection"))
    for step, table in named_in:
        cases |= {row["case_id"] for row in story.rows(step, table, "narrative_id", wanted)}
    for case_id in list(cases):
        for row in story.rows("ingest", "cases", "case_id", case_id):
            images |= set(row["image_ids"])
    for kind, found in (("image", images), ("case", cases)):
        for output in story.outputs.values():
            rejected = rejections_of(output, story.store).filter(pl.col("record_kind") == kind)
            named = (pl.col("record_id") == wanted) | pl.col("record_id").str.ends_with(f":{wanted}")
            found |= set(rejected.filter(named)["record_id"])
    return images, cases


def _inspected(story: _Story, column: str, value: str) -> list[dict[str, Any]]:
    if "inspect" not in story.outputs or len(value) != 64:
        return []
    selection = story.store.table(story.outputs["inspect"], "selection")
    rows = story.store.read_rows("inspect", selection, ["file_digest", "image_digest", "pixel_digest"])
    return rows.filter(pl.col(column) == value).to_dicts()


def _tell_image(branch: Tree, story: _Story, image_id: str) -> None:
    for row in story.rows("ingest", "images", "image_id", image_id):
        branch.add(
            f"from {row['source']}: {row['file_path']} ({row['file_bytes']:,} bytes, sha256 {row['file_digest']})"
        )
        branch.add(f"licence {row['licence']} ({row['licence_class']}); {row['attribution']}")
        if row["notes"]:
            branch.add("noted while reading: " + ", ".join(row["notes"]))
        for seen in story.made(
            "inspect",
            "file_digest",
            row["file_digest"],
            [
                "width",
                "height",
                "source_format",
                "stored_format",
                "reencoded",
                "image_digest",
                "sharpness",
                "low_variance",
            ],
        ):
            changed = f", re-encoded ({seen['reencoded']})" if seen["reencoded"] else ", payload kept, metadata cut"
            branch.add(
                f"{seen['width']} x {seen['height']} {seen['source_format']}{changed}; stored as "
                f"{seen['image_digest']}{'; low variance' if seen['low_variance'] else ''}"
            )
    for row in story.rows("deduplicate", "decisions", "image_id", image_id):
        _tell_cluster(branch, story, row)
    for row in story.rows("split", "assignments", "image_id", image_id):
        branch.add(f"leakage group {row['group_id']}, split {row['split']}")
    _tell_rejections(branch, story.why("image", image_id))


def _tell_cluster(branch: Tree, story: _Story, row: dict[str, Any]) -> None:
    if row["cluster_size"] == 1:
        branch.add("no duplicate of it is known")
        return
    cluster = branch.add(
        f"duplicate cluster {row['cluster_id']}: {row['cluster_size']} images, "
        f"diameter {row['cluster_diameter']} bits; survivor {row['survivor']}"
    )
    for other in story.rows("deduplicate", "decisions", "cluster_id", row["cluster_id"]):
        cluster.add(f"{other['image_id']}: {other['relation']}, {other['distance']} bits from the survivor")


def _tell_case(branch: Tree, story: _Story, case_id: str, record: dict[str, Any]) -> None:
    taxonomy = load_taxonomy()
    for row in story.rows("ingest", "cases", "case_id", case_id):
        branch.add(
            f"label as published: {row['raw_label']!r}, certainty {row['label_certainty']}; images "
            + ", ".join(row["image_ids"])
        )
        known = [f"{k} {row[k]}" for k in ("age_years", "sex", "site", "lesion_id", "patient_id") if row[k] is not None]
        if known:
            branch.add("; ".join(known))
    for row in story.rows("map_labels", "cases", "case_id", case_id):
        path = " > ".join(taxonomy.node(node).name for node in taxonomy.path(row["node_id"]))
        branch.add(f"diagnosis {row['node_id']} (rule {row['label_rule']}): {path}")
    for row in story.rows("split", "cases", "case_id", case_id):
        took = f"; label {row['node_id']} from {row['label_from']}" if row["label_from"] not in row["image_ids"] else ""
        branch.add(f"alive after deduplication and decontamination, split {row['split']}{took}")
    _tell_rejections(branch, story.why("case", case_id))
    _tell_attempts(branch, story, case_id)
    written = ["narrative_id", "candidate", "trajectory", "synthetic_trajectory", "author", "author_revision",
               "label_seen", "image_grounded", "post_hoc_findings"]  # fmt: skip
    corrected = story.rows("correct", "narratives", "case_id", case_id)
    for row in story.rows("propose", "lost", "case_id", case_id):
        how = "grounded" if row["label_seen"] else "blind"
        lost = branch.add(f"candidate {row['candidate']}, {how}: narrative {row['narrative_id']} never came about")
        _tell_attempts(lost, story, row["narrative_id"])
        _tell_rejections(lost, story.why("narrative", row["narrative_id"]))
    for row in [*story.made("propose", "case_id", case_id, written), *corrected]:
        _tell_narrative(branch, story, row)
    for row in story.rows("certify", "selected", "case_id", case_id):
        if row["split"] == "certified":
            branch.add(f"certified by its narrative {row['narrative_id']}")
            continue
        branch.add(f"chosen narrative {row['narrative_id']}, aggregate {row['aggregate']:.2f}")
    _tell_release(branch, case_id, record)


def _tell_narrative(branch: Tree, story: _Story, row: dict[str, Any]) -> None:
    constructed = ", its first impression constructed" if row["synthetic_trajectory"] else ""
    blind = "" if row["label_seen"] else ", blind"
    told = branch.add(
        f"candidate {row['candidate']}, {row['trajectory']}{constructed}{blind}: narrative {row['narrative_id']} by "
        f"{row['author']} ({row['author_revision']})"
    )
    _tell_attempts(told, story, row["narrative_id"])
    for finding in row["post_hoc_findings"] or []:
        told.add(f"claims a finding that the first look did not name: {escape(finding)}")
    for scores in story.made("evaluate", "narrative_id", row["narrative_id"], ["evaluator_id", *DIMENSIONS, "overall"]):
        told.add(
            ", ".join(f"{name} {scores[name]:.2f}" for name in (*DIMENSIONS, "overall"))
            + f" ({scores['evaluator_id']})"
        )
    if row.get("parent_narrative_id"):
        told.add(f"corrects narrative {row['parent_narrative_id']}")
    for outcome in story.rows("certify", "outcomes", "narrative_id", row["narrative_id"]):
        told.add(certification_story(outcome))
    for place in story.rows("certify", "queue", "narrative_id", row["narrative_id"]):
        chance = place["stratified_probability"]
        parts = [f"stratum {place['stratum']}, chance {chance:.3f}"] if place["stratified"] else []
        parts += [f"drawn at random, chance {place['random_probability']:.3f}"] if place["random"] else []
        parts += ["corrected by a rater"] if place["correction"] else []
        told.add(f"waits for certification: {'; '.join(parts)}")
    _tell_rejections(told, story.why("narrative", row["narrative_id"]))


def _tell_attempts(branch: Tree, story: _Story, slot: str) -> None:
    if "propose" in story.outputs:
        for line in attempts_story(rejections_of(story.outputs["propose"], story.store), slot):
            branch.add(line)


def _tell_rejections(branch: Tree, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        parts = [f"[yellow]rejected[/] at {row['stage']}: [bold]{row['rule']}[/]"]
        parts += [f"value {row['value']}"] if row["value"] is not None else []
        parts += [f"threshold {row['threshold']}"] if row["threshold"] is not None else []
        parts += [f"survivor {row['survivor']}"] if row["survivor"] is not None else []
        parts += [escape(row["detail"])] if row["detail"] else []
        branch.add("; ".join(parts))


def _tell_release(branch: Tree, case_id: str, record: dict[str, Any]) -> None:
    if record["release"] is None:
        branch.add("the latest build was not published")
        return
    import io

    folder = Folder(record["releases"])
    for release in published_releases(folder):
        if release.name != record["release"]:
            continue
        for table in ("index", "queue"):
            frame = pl.read_parquet(io.BytesIO(folder.read(f"{release.name}/{table}.parquet")))
            for row in frame.filter(pl.col("case_id") == case_id).iter_rows(named=True):
                where = row.get("file") or f"held out as {row['split']}, published by id and digest only"
                branch.add(f"[green]in {release.name}[/]: {where}")
                return
        branch.add(f"[red]not in {release.name}[/]")
