"""Splits: which leakage group trains, which is held out, and that this never changes its mind.

New groups are assigned by salted hash, never by position. The ledger that travels with each release remembers every
group ever published: a group once held out is never in ``train`` again, and when new evidence joins a training group to
a held-out one, the training rows are withdrawn (``joined_benchmark_group``) while the held-out rows stay.
"""

from __future__ import annotations

import hashlib

import polars as pl

from corpus.ingest import lost_cases
from schemas.config import SplitSettings
from schemas.stage import StageResult, rejection, rejections_frame
from schemas.tables import LEDGER, polars_schema

#: When groups of several splits are joined, the first of these that occurs holds the whole.
PRECEDENCE = ("certified", "certify_queue", "calibration", "withdrawn", "train")
ASSIGNMENTS = pl.Schema({"image_id": pl.String, "group_id": pl.String, "split": pl.String})


def new_split(group_id: str, settings: SplitSettings) -> str:
    """The split of a group nobody has seen before: its salted hash as a number in [0, 1) against the shares."""
    digest = hashlib.sha256(f"{settings.salt}\0{group_id}".encode()).digest()
    number = int.from_bytes(digest[:8]) / 2**64
    if number < settings.calibration:
        return "calibration"
    return "certify_queue" if number < settings.calibration + settings.certify_queue else "train"


def assign_splits(
    groups: pl.DataFrame, cases: pl.DataFrame, ledger: pl.DataFrame, settings: SplitSettings
) -> tuple[StageResult, pl.DataFrame]:
    """Split of every clean image of ``groups`` (:data:`corpus.decontamination.GROUPS`), and the ledger's new entries.

    ``ledger``: of the latest release. ``kept`` is :data:`ASSIGNMENTS`; new entries have ``since`` empty, to be filled
    with the release's version.
    """
    known = {image: (group, split) for group, split, _, _, members in ledger.iter_rows() for image in members}
    first = {group: place for place, group in reversed(list(enumerate(ledger["group_id"].to_list())))}
    rows: list[tuple[str, str, str]] = []
    entries: list[tuple[str, str, str, str, list[str]]] = []
    rejected: dict[str, dict[str, str | None]] = {}
    for key, members in (
        groups.filter("clean").sort("image_id").group_by("group_key", maintain_order=True).agg("image_id").iter_rows()
    ):
        seen = {image: known[image] for image in members if image in known}
        splits = {split for _, split in seen.values()}
        split = next((name for name in PRECEDENCE if name in splits), None) or new_split(key, settings)
        holders = {group_id for group_id, name in seen.values() if name == split}
        group_id = min(holders, key=lambda name: first[name]) if holders else key
        fresh = [image for image in members if image not in seen]
        if fresh:
            reason = "grew" if seen else "new"
            entries.append((group_id, split, "", reason, fresh))
        out = members if split == "withdrawn" else [i for i in members if i in seen and seen[i][1] != split]
        for image in out:
            if image in seen and seen[image][1] != "withdrawn":
                entries.append((seen[image][0], "withdrawn", "", "joined_benchmark_group", [image]))
            rejected[image] = rejection(
                "image", image, "split", "joined_benchmark_group", threshold=split, detail=f"joined group {group_id}"
            )
        rows += [(image, group_id, split) for image in members if image not in rejected]
    kept = pl.DataFrame(rows, schema=ASSIGNMENTS, orient="row").sort("image_id")
    added = pl.DataFrame(entries, schema=polars_schema(LEDGER), orient="row").sort("group_id", "split", "reason")
    counts = kept.group_by("split").agg(pl.col("group_id").n_unique(), pl.len().alias("images")).sort("split")
    stats = {name: {"groups": n, "images": images} for name, n, images in counts.iter_rows()}
    stats["withdrawn"] = {"groups": 0, "images": len(rejected)}
    return StageResult(kept, rejections_frame([*rejected.values(), *lost_cases(cases, rejected)]), stats), added
