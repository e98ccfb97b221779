"""What a release keeps for those who judge it: the candidates it chose from, and pictures of duplicates it dropped.

A release holds only what survived, so without these two tables nobody could look at its choices later. Held-out cases
are left out, since the benchmark must not be published, and so is what a licence forbids to pass on.
"""

from __future__ import annotations

import polars as pl

from corpus.digests import first_by_digest
from schemas.tables import DIMENSIONS

#: ``outcome``: published, or the rule of the rejection that kept the narrative or its case out. ``text`` and
#: ``critique`` are there for the worst refused ones.
CANDIDATES = pl.Schema(
    {
        "narrative_id": pl.String(),
        "case_id": pl.String(),
        "candidate": pl.Int64(),
        "trajectory": pl.String(),
        "taxonomy_id": pl.String(),
        "outcome": pl.String(),
        **{name: pl.Float64() for name in (*DIMENSIONS, "overall", "sibling_distance")},
        "text": pl.String(),
        "critique": pl.String(),
    }
)
#: ``distance``: bits to the survivor; ``picture``: a small JPEG.
DUPLICATES = pl.Schema(
    {
        "cluster_id": pl.String(),
        "image_id": pl.String(),
        "relation": pl.String(),
        "survivor": pl.String(),
        "distance": pl.Int64(),
        "cluster_size": pl.Int64(),
        "raw_label": pl.String(),
        "attribution": pl.String(),
        "picture": pl.Binary(),
    }
)
_WORST = 12
#: Clusters shown for each kind, and members of each.
_CLUSTERS = {"conflict": 4, "near_duplicate": 6, "exact": 2}
_MEMBERS = 4


def candidate_outcomes(
    cases: pl.DataFrame,
    proposed: pl.DataFrame,
    evaluations: pl.DataFrame,
    published: pl.DataFrame,
    rejected: pl.DataFrame,
) -> pl.DataFrame:
    """:data:`CANDIDATES` without ``text`` and ``critique``, by narrative id: every scored candidate of training cases.

    ``cases``: live cases; ``proposed``: ``narrative_id``, ``case_id``, ``candidate``, ``trajectory``,
    ``sibling_distance``; ``evaluations``: scores; ``published``: ``narrative_id``; ``rejected``: of selection.
    """
    training = cases.filter(pl.col("split") == "train").select("case_id", pl.col("node_id").alias("taxonomy_id"))
    why = rejected.select("record_id", "rule").unique("record_id", keep="first", maintain_order=True)
    rows = (
        proposed.join(training, on="case_id")
        .join(evaluations.select("narrative_id", *DIMENSIONS, "overall"), on="narrative_id")
        .join(why.rename({"record_id": "narrative_id", "rule": "own"}), on="narrative_id", how="left")
        .join(why.rename({"record_id": "case_id", "rule": "of_case"}), on="case_id", how="left")
        .join(published.select("narrative_id", pl.lit("published").alias("out")), on="narrative_id", how="left")
    )
    rows = rows.with_columns(pl.coalesce("out", "own", "of_case", pl.lit("not published")).alias("outcome"))
    return rows.select(name for name in CANDIDATES if name in rows.columns).sort("narrative_id")


def worst_refused(candidates: pl.DataFrame, withheld: pl.Series) -> pl.DataFrame:
    """The candidates of lowest overall score that were not published, below a threshold before merely not best; one a
    case. ``withheld``: ids of cases that may not be passed on."""
    refused = candidates.filter((pl.col("outcome") != "published") & ~pl.col("case_id").is_in(withheld.implode()))
    ranked = refused.sort(pl.col("outcome") != "below_threshold", "overall", "narrative_id")
    return ranked.unique("case_id", keep="first", maintain_order=True).head(_WORST)


def clusters_to_show(decisions: pl.DataFrame, images: pl.DataFrame, assignments: pl.DataFrame) -> pl.DataFrame:
    """Members of some duplicate clusters of training images, survivor first, as :data:`DUPLICATES` without pictures and
    with ``file_digest``.

    ``decisions``: of :mod:`corpus.duplicates`; ``images``: IMAGES with ``raw_label``; ``assignments``: image to split.
    """
    training = assignments.filter(pl.col("split") == "train")["image_id"]
    passed_on = images.filter(pl.col("licence_class") != "no-redistribution")["image_id"]
    members = decisions.filter(pl.col("cluster_size") > 1).with_columns(
        shown=pl.col("image_id").is_in(training.implode()) & pl.col("image_id").is_in(passed_on.implode())
    )
    members = members.filter(pl.col("shown").all().over("cluster_id"))
    if members.is_empty():
        return pl.DataFrame(schema={name: DUPLICATES[name] for name in DUPLICATES if name != "picture"}).with_columns(
            file_digest=pl.lit(None, dtype=pl.String)
        )
    some = {kind: (pl.col("relation") == kind).any() for kind in _CLUSTERS}
    kinds = pl.when(some["conflict"]).then(pl.lit("conflict")).otherwise(
        pl.when(some["near_duplicate"]).then(pl.lit("near_duplicate")).otherwise(pl.lit("exact"))
    )  # fmt: skip
    clusters = members.group_by("cluster_id").agg(kinds.alias("kind"), pl.col("distance").max().alias("widest"))
    drawn = {cluster: at for at, cluster in enumerate(first_by_digest(clusters["cluster_id"].to_list(), "pictures"))}
    ranked = clusters.with_columns(pl.col("cluster_id").replace_strict(drawn, return_dtype=pl.Int64).alias("drawn"))
    ranked = ranked.sort(pl.col("widest").fill_null(0), "drawn", descending=[True, False])
    chosen = [
        cluster
        for kind, most in _CLUSTERS.items()
        for cluster in ranked.filter(pl.col("kind") == kind).head(most)["cluster_id"].to_list()
    ]
    order = {cluster: at for at, cluster in enumerate(chosen)}
    rows = members.filter(pl.col("cluster_id").is_in(chosen)).join(
        images.select("image_id", "raw_label", "attribution", "file_digest"), on="image_id"
    )
    rows = rows.with_columns(pl.col("cluster_id").replace_strict(order, return_dtype=pl.Int64).alias("place")).sort(
        "place", ~pl.col("kept"), "distance", "image_id"
    )
    rows = rows.group_by("cluster_id", maintain_order=True).head(_MEMBERS)
    return rows.select(*(name for name in DUPLICATES if name != "picture"), "file_digest")
