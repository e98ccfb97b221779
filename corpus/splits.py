"""Splits: which leakage group trains, which is held out, and that this never changes its mind.

New groups are assigned by salted hash, never by position. The ledger that travels with each release remembers every
group ever published: a group once held out is never in ``train`` again, and when new evidence joins a training group to
a held-out one, the training rows are withdrawn (``joined_benchmark_group``) while the held-out rows stay. What
dermatologists flagged is withdrawn for good, with their reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

import polars as pl

from corpus.ingest import lost_cases
from schemas.config import SplitSettings
from schemas.stage import StageResult, rejection, rejections_frame
from schemas.tables import LEDGER, polars_schema

#: When groups of several splits are joined, the first of these that occurs holds the whole.
PRECEDENCE = ("certified", "certify_queue", "calibration", "withdrawn", "train")
HELD_OUT = ("certify_queue", "calibration")
#: How the ledger's reasons for a removal that dermatologists asked for begin.
FLAGGED = "flagged_"
ASSIGNMENTS = pl.Schema({"image_id": pl.String, "group_id": pl.String, "split": pl.String})


def new_split(group_id: str, settings: SplitSettings) -> str:
    """The split of a group nobody has seen before: its salted hash as a number in [0, 1) against the shares."""
    digest = hashlib.sha256(f"{settings.salt}\0{group_id}".encode()).digest()
    number = int.from_bytes(digest[:8]) / 2**64
    if number < settings.calibration:
        return "calibration"
    return "certify_queue" if number < settings.calibration + settings.certify_queue else "train"


def assign_splits(
    groups: pl.DataFrame,
    cases: pl.DataFrame,
    ledger: pl.DataFrame,
    settings: SplitSettings,
    flagged: Mapping[str, str] = MappingProxyType({}),
) -> tuple[StageResult, pl.DataFrame]:
    """Split of every clean image of ``groups`` (:data:`corpus.decontamination.GROUPS`), and the ledger's new entries.

    ``ledger``: of the latest release. ``flagged``: image to the reason (``flagged_...``) for which dermatologists want
    it out of every split; what the ledger says of that already stays so. ``kept`` is :data:`ASSIGNMENTS`, in which
    ``certify_queue`` also stands for what is certified; new entries have ``since`` empty, to be filled with the
    release's version.
    """
    known, history = _known(ledger)
    first = {group: place for place, group in reversed(list(enumerate(ledger["group_id"].to_list())))}
    rows: list[tuple[str, str, str]] = []
    entries: list[tuple[str, str, str, str, list[str]]] = []
    rejected: dict[str, dict[str, str | None]] = {}
    for key, every in (
        groups.filter("clean").sort("image_id").group_by("group_key", maintain_order=True).agg("image_id").iter_rows()
    ):
        removed = {image: why for image in every if (why := _removal(image, known, flagged)) is not None}
        members = [image for image in every if image not in removed]
        seen = {image: known[image][:2] for image in members if image in known}
        # What went away was held out once: what is joined to it stays out of training all the same.
        gone = [history[image] for image in removed if image in history and history[image][1] in HELD_OUT]
        splits = {split for _, split in [*seen.values(), *gone]}
        split = next((name for name in PRECEDENCE if name in splits), None) or new_split(key, settings)
        holders = {group_id for group_id, name in [*seen.values(), *gone] if name == split}
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
        for image, why in removed.items():
            if image not in known or known[image][1] != "withdrawn":
                entries.append((known[image][0] if image in known else group_id, "withdrawn", "", why, [image]))
            rejected[image] = rejection("image", image, "split", why, detail="flagged by a rater")
        rows += [(image, group_id, split) for image in members if image not in rejected]
    kept = pl.DataFrame(rows, schema=ASSIGNMENTS, orient="row").sort("image_id")
    added = pl.DataFrame(entries, schema=polars_schema(LEDGER), orient="row").sort("group_id", "split", "reason")
    counts = kept.group_by("split").agg(pl.col("group_id").n_unique(), pl.len().alias("images")).sort("split")
    stats = {name: {"groups": n, "images": images} for name, n, images in counts.iter_rows()}
    stats["withdrawn"] = {"groups": 0, "images": len(rejected)}
    return StageResult(kept, rejections_frame([*rejected.values(), *lost_cases(cases, rejected)]), stats), added


def _known(ledger: pl.DataFrame) -> tuple[dict[str, tuple[str, str, str]], dict[str, tuple[str, str]]]:
    """Of every image of a ledger its group, split and reason as they stand, and group and split before it went away.

    What is certified is told as the queue it came from: one side of the split.
    """
    known: dict[str, tuple[str, str, str]] = {}
    history: dict[str, tuple[str, str]] = {}
    for group, split, _, reason, members in ledger.iter_rows():
        side = "certify_queue" if split == "certified" else split
        for image in members:
            known[image] = (group, side, reason)
            if side != "withdrawn":
                history[image] = (group, side)
    return known, history


def _removal(image: str, known: Mapping[str, tuple[str, str, str]], flagged: Mapping[str, str]) -> str | None:
    """Why dermatologists had an image removed, by the ledger or else by what they say now; None when they did not."""
    _, split, reason = known.get(image, ("", "", ""))
    return reason if split == "withdrawn" and reason.startswith(FLAGGED) else flagged.get(image)


def certified_entries(certified: pl.DataFrame) -> pl.DataFrame:
    """Ledger entries of certified cases (``group_id``, ``image_ids``): they never train, whatever becomes of them."""
    rows = [(group, "certified", "", "certified", images) for group, images in
            certified.sort("case_id").select("group_id", "image_ids").iter_rows()]  # fmt: skip
    return pl.DataFrame(rows, schema=polars_schema(LEDGER), orient="row")
