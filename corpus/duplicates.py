"""Deduplicate: ``exact`` copies and ``near_duplicate`` re-processings of one photograph; never other photographs.

Only these two relations drop images; another photograph of the same lesion or patient matters for splits, not here.
Union-find alone chains: A like B, B like C, and A goes though it is nothing like C. So a component whose diameter
exceeds ``max_diameter`` is cut into stars, in which every dropped image is within ``max_distance`` of its survivor; the
edges that were cut still bind the leakage group. Survivors follow a declared order, and a cluster whose labels
contradict each other is rejected whole unless configured otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from corpus.clusters import components, star_edges
from corpus.hamming_join import near_duplicate_pairs, pairwise_distances
from corpus.ingest import image_labels, lost_cases
from schemas.config import DeduplicateSettings
from schemas.licences import LICENCE_CLASSES
from schemas.stage import StageResult, rejection, rejections_frame
from schemas.tables import LABEL_CERTAINTIES
from schemas.taxonomy import Taxonomy

Distances = npt.NDArray[np.int16]
DECISIONS = pl.Schema(
    {
        "image_id": pl.String,
        "case_id": pl.String,
        "cluster_id": pl.String,
        "kept": pl.Boolean,
        "survivor": pl.String,
        "relation": pl.String,  # unique | survivor | exact | near_duplicate | conflict
        "distance": pl.Int64,  # bits to the survivor
        "cluster_size": pl.Int64,
        "cluster_diameter": pl.Int64,
        "node_id": pl.String,  # the label the cluster agrees on, its finest
        "label_certainty": pl.String,
        "label_from": pl.String,  # the image whose case gave that label
    }
)
EDGES = pl.Schema({"left": pl.String, "right": pl.String, "relation": pl.String, "distance": pl.Int64})


@dataclass(frozen=True)
class _Member:
    image_id: str
    case_id: str
    node_id: str | None
    certainty: str
    order: tuple[Any, ...]
    pixel_digest: str


def hash_array(column: pl.Series) -> npt.NDArray[np.uint8]:
    """A column of 256-byte oriented hashes as ``uint8[n, 8, 32]``."""
    return np.frombuffer(b"".join(column.to_list()), dtype=np.uint8).reshape(-1, 8, 32)


def duplicate_edges(frame: pl.DataFrame, max_distance: int) -> pl.DataFrame:
    """All duplicate edges (:data:`EDGES`) of images with digests and hashes; exact ones as stars, left < right."""
    frame = frame.sort("image_id")
    ids = frame["image_id"].to_list()
    exact = {*star_edges(frame["file_digest"].to_list(), ids), *star_edges(frame["pixel_digest"].to_list(), ids)}
    rows: list[tuple[str, str, str, int]] = [(a, b, "exact", 0) for a, b in sorted(exact)]
    distinct = frame.unique("pixel_digest", keep="first", maintain_order=True)
    names = distinct["image_id"].to_list()
    pairs = near_duplicate_pairs(
        hash_array(distinct["phash_whole"]), hash_array(distinct["phash_centre"]), max_distance
    )
    distances = pairs.distance.tolist()
    for left, right, distance in zip(pairs.left.tolist(), pairs.right.tolist(), distances, strict=True):
        a, b = sorted((names[left], names[right]))
        rows.append((a, b, "near_duplicate", distance))
    return pl.DataFrame(rows, schema=EDGES, orient="row").sort("left", "right")


def deduplicate(
    images: pl.DataFrame,
    inspections: pl.DataFrame,
    cases: pl.DataFrame,
    settings: DeduplicateSettings,
    taxonomy: Taxonomy,
    published: frozenset[str],
) -> tuple[StageResult, pl.DataFrame]:
    """Cluster images and decide what survives.

    ``images``, ``inspections`` (joined on ``file_digest``) and labelled ``cases`` in; ``kept`` is one :data:`DECISIONS`
    row per inspected image. ``published``: image ids of the latest release, which stay their clusters' survivors. Also
    returns the :data:`EDGES`.
    """
    frame = images.join(inspections, on="file_digest").join(image_labels(images, cases), on="image_id").sort("image_id")
    edges = duplicate_edges(frame, settings.max_distance)
    linked = edges.select("left", "right").rows()
    in_some = {image for edge in linked for image in edge}
    clustered = pl.col("image_id").is_in(sorted(in_some))
    members = {m.image_id: m for m in _members(frame.filter(clustered), settings, published)}
    rows_of = {image_id: index for index, image_id in enumerate(frame["image_id"].to_list())}
    decisions: list[dict[str, Any]] = []
    rejected: dict[str, dict[str, str | None]] = {}
    n_cut = conflicts = 0
    for component in components(sorted(in_some), linked):
        at = [rows_of[image_id] for image_id in component]
        matrix = _distances(frame[at])
        clusters = _cut([members[i] for i in component], matrix, settings)
        n_cut += len(clusters) > 1
        for cluster in clusters:
            made, dropped = _decide(
                [members[component[i]] for i in cluster], matrix[np.ix_(cluster, cluster)], settings, taxonomy
            )
            decisions += made
            rejected |= dropped
            conflicts += any(row["relation"] == "conflict" for row in made)
    kept = pl.concat([pl.DataFrame(decisions, schema=DECISIONS), _alone(frame.filter(~clustered))]).sort("image_id")
    case_of = dict(frame.select("image_id", "case_id").iter_rows())
    lost = lost_cases(cases, rejected)
    for row in lost:
        row["survivor"] = case_of.get(row["survivor"] or "")
    sizes = kept.filter(pl.col("cluster_size") > 1).unique("cluster_id")
    stats = {
        "clusters": sizes.height,
        "label_conflicts": int(conflicts),
        "cut_components": int(n_cut),
        "largest_cluster": int(kept["cluster_size"].max() or 0),  # type: ignore[arg-type]
        "largest_diameter": int(kept["cluster_diameter"].max() or 0),  # type: ignore[arg-type]
        "edges": {name: edges.filter(pl.col("relation") == name).height for name in ("exact", "near_duplicate")},
    }
    return StageResult(kept, rejections_frame([*rejected.values(), *lost]), stats), edges


def _distances(frame: pl.DataFrame) -> Distances:
    """All distances within a component, ``int16[n, n]``; images of equal pixels are at 0."""
    matrix = pairwise_distances(hash_array(frame["phash_whole"]), hash_array(frame["phash_centre"]))
    pixels = frame["pixel_digest"].to_numpy()
    matrix[pixels[:, None] == pixels[None, :]] = 0
    return matrix


def _members(frame: pl.DataFrame, settings: DeduplicateSettings, published: frozenset[str]) -> list[_Member]:
    priority = {name: index for index, name in enumerate(settings.source_priority)}
    columns = [
        "image_id",
        "case_id",
        "node_id",
        "label_certainty",
        "licence_class",
        "width",
        "height",
        "source",
        "pixel_digest",
    ]
    return [
        _Member(
            image_id,
            case_id,
            node_id,
            certainty,
            (
                image_id not in published,
                node_id is None,
                LABEL_CERTAINTIES.index(certainty),
                LICENCE_CLASSES.index(licence_class),
                -width * height,
                priority.get(source, len(priority)),
                image_id,
            ),
            pixel_digest,
        )
        for image_id, case_id, node_id, certainty, licence_class, width, height, source, pixel_digest in frame.select(
            columns
        ).iter_rows()
    ]


def _cut(members: Sequence[_Member], matrix: Distances, settings: DeduplicateSettings) -> list[list[int]]:
    """Positions of each cluster in survivor order: the component itself, or stars when it is too wide to be one."""
    order = sorted(range(len(members)), key=lambda i: members[i].order)
    if int(matrix.max()) <= settings.max_diameter:
        return [order]
    clusters, left = [], order
    while left:
        leader = left[0]
        star = [i for i in left if i == leader or matrix[leader, i] <= settings.max_distance]
        clusters.append(star)
        left = [i for i in left if i not in set(star)]
    return clusters


def _alone(frame: pl.DataFrame) -> pl.DataFrame:
    """Decisions on images that are like no other."""
    named = {
        "cluster_id": pl.col("image_id"),
        "survivor": pl.col("image_id"),
        "label_from": pl.col("image_id"),
        "kept": pl.lit(True),
        "relation": pl.lit("unique"),
        "distance": pl.lit(0),
        "cluster_size": pl.lit(1),
        "cluster_diameter": pl.lit(0),
    }
    return frame.with_columns(**named).select(pl.col(name).cast(kind) for name, kind in DECISIONS.items())


def _row(
    member: _Member,
    survivor: _Member,
    relation: str,
    distance: int,
    size: int,
    diameter: int,
    label: _Member,
    cluster_id: str,
) -> dict[str, Any]:
    return {
        "image_id": member.image_id,
        "case_id": member.case_id,
        "cluster_id": cluster_id,
        "kept": relation in ("unique", "survivor"),
        "survivor": survivor.image_id,
        "relation": relation,
        "distance": distance,
        "cluster_size": size,
        "cluster_diameter": diameter,
        "node_id": label.node_id,
        "label_certainty": label.certainty,
        "label_from": label.image_id,
    }


def _decide(
    cluster: Sequence[_Member],
    matrix: Distances,
    settings: DeduplicateSettings,
    taxonomy: Taxonomy,
) -> tuple[list[dict[str, Any]], dict[str, dict[str, str | None]]]:
    """Decisions and image rejections of one cluster, its members in survivor order."""
    survivor, size, diameter = cluster[0], len(cluster), int(matrix.max())
    cluster_id = min(member.image_id for member in cluster)
    if size == 1:
        return [_row(survivor, survivor, "unique", 0, 1, 0, survivor, cluster_id)], {}
    label = _finest(cluster, taxonomy.finer)
    if label is None and settings.on_label_conflict == "reject":
        value = " | ".join(sorted({member.node_id for member in cluster if member.node_id is not None}))
        rows = [
            _row(member, survivor, "conflict", int(matrix[0, i]), size, diameter, member, cluster_id)
            for i, member in enumerate(cluster)
        ]
        dropped = {
            m.image_id: rejection(
                "image",
                m.image_id,
                "deduplicate",
                "label_conflict",
                value=value,
                detail=f"cluster {cluster_id} of {size} images",
            )
            for m in cluster
        }
        return rows, dropped
    label = label or survivor
    rows = [_row(survivor, survivor, "survivor", 0, size, diameter, label, cluster_id)]
    dropped = {}
    for i, member in enumerate(cluster[1:], start=1):
        distance = int(matrix[0, i])
        exact = member.pixel_digest == survivor.pixel_digest
        relation = "exact" if exact else "near_duplicate"
        rows.append(_row(member, survivor, relation, distance, size, diameter, label, cluster_id))
        dropped[member.image_id] = rejection(
            "image",
            member.image_id,
            "deduplicate",
            "exact_duplicate" if exact else "near_duplicate",
            value=distance,
            threshold=0 if exact else settings.max_distance,
            survivor=survivor.image_id,
        )
    return rows, dropped


def _finest(cluster: Sequence[_Member], finer: Callable[[str, str], str | None]) -> _Member | None:
    """The member with the finest label when all labels lie on one branch (or none has one), else None."""
    labelled = [member for member in cluster if member.node_id is not None]
    if not labelled:
        return cluster[0]
    best = labelled[0]
    for member in labelled[1:]:
        assert best.node_id is not None and member.node_id is not None
        winner = finer(best.node_id, member.node_id)
        if winner is None:
            return None
        if winner != best.node_id:
            best = member
    return best
