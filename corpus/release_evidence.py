"""What a release keeps for those who judge it: the candidates it chose from, and pictures of duplicates it dropped.

A release holds only what survived, so without these two tables nobody could look at its choices later. Held-out cases
are left out, since the benchmark must not be published, and so is what a licence forbids to pass on.
"""

from __future__ import annotations

import polars as pl

from corpus.digests import first_by_digest
from schemas.attempts import ATTEMPT
from schemas.tables import DIMENSIONS

#: ``outcome``: published, or the rule of the rejection that kept the narrative or its case out. A candidate that never
#: came about has no ``trajectory``, and one that was never scored no scores. ``text`` and ``critique`` are there for
#: the worst refused ones. ``tone_group``: of the case. ``attempts``: at which attempt, counted from 1, each step of a
#: teacher that asks a model gave a usable answer. ``first_agrees``: of an author who was not told the diagnosis and
#: whose text a teacher held against it, whether the first conclusion lay on the label's branch.
CANDIDATES = pl.Schema(
    {
        "narrative_id": pl.String(),
        "case_id": pl.String(),
        "candidate": pl.Int64(),
        "trajectory": pl.String(),
        "taxonomy_id": pl.String(),
        "tone_group": pl.String(),
        "label_seen": pl.Boolean(),
        "image_grounded": pl.Boolean(),
        "post_hoc": pl.Int64(),
        "attempts": pl.List(pl.Int64()),
        "first_agrees": pl.Boolean(),
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
    """:data:`CANDIDATES` without ``text`` and ``critique``, by narrative id: every candidate of training cases.

    ``cases``: live cases with ``tone_group``; ``proposed``: what :func:`asked_for` gives; ``evaluations``: scores;
    ``published``: ``narrative_id``; ``rejected``: of the stages from proposal to selection, in their order.
    """
    training = cases.filter(pl.col("split") == "train")
    training = training.select("case_id", "tone_group", pl.col("node_id").alias("taxonomy_id"))
    why = rejected.select("record_id", "rule").unique("record_id", keep="first", maintain_order=True)
    rows = (
        proposed.join(training, on="case_id")
        .join(evaluations.select("narrative_id", *DIMENSIONS, "overall"), on="narrative_id", how="left")
        .join(why.rename({"record_id": "narrative_id", "rule": "own"}), on="narrative_id", how="left")
        .join(why.rename({"record_id": "case_id", "rule": "of_case"}), on="case_id", how="left")
        .join(published.select("narrative_id", pl.lit("published").alias("out")), on="narrative_id", how="left")
    )
    rows = rows.with_columns(pl.coalesce("out", "own", "of_case", pl.lit("not published")).alias("outcome"))
    return rows.select(name for name in CANDIDATES if name in rows.columns).sort("narrative_id")


#: What becomes of an answer that came to a conclusion, other than being kept.
_CONCLUDED = ("label_disagreement", "concludes_below_label", "too_many_post_hoc")


def asked_for(written: pl.DataFrame, lost: pl.DataFrame, attempts: pl.DataFrame) -> pl.DataFrame:
    """Every narrative that was asked for, with what :data:`CANDIDATES` tells of how it came about.

    ``written``: ``narrative_id``, ``case_id``, ``candidate``, ``trajectory``, ``sibling_distance``, ``label_seen``,
    ``image_grounded``, ``post_hoc``, ``sampling``; ``lost``: those of a teacher that looks and that never came about;
    ``attempts``: rejections of the kind ``attempt``. That a text claims too much is only found where it agrees.
    """
    slot, number = (pl.col("record_id").str.extract(ATTEMPT, group) for group in (1, 3))
    told = attempts.select(slot.alias("narrative_id"), number.cast(pl.Int64).alias("attempt"), "rule")
    concluded = told.filter(
        pl.col("rule").is_in(["label_disagreement", "concludes_below_label", "too_many_post_hoc"])
    ).sort("attempt")
    first = concluded.unique("narrative_id", keep="first", maintain_order=True).select(
        "narrative_id", (pl.col("rule") != "label_disagreement").alias("first")
    )
    tries = pl.col("sampling").str.json_path_match("$.attempts").str.json_decode(pl.List(pl.Int64))
    rows = pl.concat(
        [written.with_columns(tries.alias("attempts")), lost.with_columns(pl.lit(True).alias("image_grounded"))],
        how="diagonal_relaxed",
    ).join(first, on="narrative_id", how="left")
    agrees = pl.coalesce("first", pl.when(pl.col("attempts").is_not_null()).then(True))
    return rows.with_columns(pl.when(~pl.col("label_seen")).then(agrees).alias("first_agrees"))


def without_details(rejections: pl.DataFrame, owners: pl.DataFrame, hidden: pl.Series) -> pl.DataFrame:
    """Rejections of narratives and attempts, less what they quote about ``hidden`` cases: the rule stays.

    Such a rejection may hold a diagnosis or a sentence about a case that is published by id only, or whose licence
    forbids to pass it on. ``owners``: ``narrative_id`` and ``case_id``.
    """
    slot = pl.col("record_id").str.extract(ATTEMPT, 1)
    case_of = owners.select("narrative_id", pl.col("case_id").alias("of")).unique("narrative_id")
    told = rejections.with_columns(pl.coalesce(slot, "record_id").alias("slot"))
    told = told.join(case_of, left_on="slot", right_on="narrative_id", how="left", maintain_order="left")
    shut = pl.col("record_kind").is_in(["narrative", "attempt"]) & pl.coalesce("of", "slot").is_in(hidden.implode())
    quoted = [pl.when(~shut).then(pl.col(name)).alias(name) for name in ("value", "threshold", "detail")]
    return told.with_columns(quoted).select(rejections.columns)


def worst_refused(candidates: pl.DataFrame, withheld: pl.Series) -> pl.DataFrame:
    """The candidates of lowest overall score that were not published, below a threshold before merely not best; one a
    case. ``withheld``: ids of cases that may not be passed on."""
    scored = pl.col("overall").is_not_null()
    refused = candidates.filter(
        scored & (pl.col("outcome") != "published") & ~pl.col("case_id").is_in(withheld.implode())
    )
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
