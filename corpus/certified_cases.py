"""What becomes of held-out cases once raters have spoken: which are certified, by which text, and what is still asked.

Outcomes are about narratives (:mod:`corpus.certified`); a release is about cases. A case has one certified narrative,
the one that raters liked best, and its split is what the outcomes say now: a stricter rule or a new answer takes it
back into the queue, never into training.
"""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from corpus.certified import DECIDED
from corpus.selection import SELECTED
from schemas.config import SelectSettings
from schemas.stage import rejection
from schemas.tables import DIMENSIONS
from schemas.tone import tone_group

_STAGE = "certify"
Rejections = list[dict[str, str | None]]


def certified_choice(found: pl.DataFrame) -> pl.DataFrame:
    """Of each case's certified narratives the one that raters scored best; of equals the one more raters saw.

    ``found``: rows of :data:`corpus.certified.OUTCOMES`; gives them back for the chosen, by case.
    """
    ranked = found.filter(pl.col("state") == "certified").sort(
        ["case_id", "human_overall", "n_raters", "narrative_id"], descending=[False, True, True, False]
    )
    return ranked.unique("case_id", keep="first", maintain_order=True)


def with_certified(
    selected: pl.DataFrame,
    found: pl.DataFrame,
    scored: pl.DataFrame,
    cases: pl.DataFrame,
    planted: Collection[str],
    settings: SelectSettings,
) -> tuple[pl.DataFrame, Rejections]:
    """:data:`corpus.selection.SELECTED` with the certified cases in split ``certified`` under their certified text.

    ``scored``: ``narrative_id``, ``candidate``, ``trajectory``, ``synthetic_trajectory`` and the evaluator's scores;
    ``cases``: live cases; ``planted``: narratives with a planted fault, which are never released (``planted_fault``).
    """
    aggregate = pl.col("overall") if settings.aggregate == "mean" else pl.min_horizontal(DIMENSIONS)
    chosen = certified_choice(found).select("case_id", "narrative_id", pl.lit("certified").alias("split"))
    of_chosen = cases.join(chosen, on="case_id", how="semi")
    tones = [tone_group(seen) for seen in of_chosen["tone_observations"].to_list()]
    told = of_chosen.select("case_id", pl.Series("tone_group", tones, dtype=pl.String))
    chosen = chosen.join(scored.with_columns(aggregate.alias("aggregate")), on="narrative_id").join(told, on="case_id")
    others = selected.filter(~pl.col("case_id").is_in(chosen["case_id"].implode()))
    rows = pl.concat([others, chosen.select(list(SELECTED))]).sort("case_id")
    is_planted = pl.col("narrative_id").is_in(pl.Series(sorted(planted), dtype=pl.String).implode())
    rejected: Rejections = []
    for case_id, narrative_id in rows.filter(is_planted).select("case_id", "narrative_id").iter_rows():
        rejected += [
            rejection("case", case_id, _STAGE, "planted_fault", value=narrative_id),
            rejection("narrative", narrative_id, _STAGE, "planted_fault"),
        ]
    return rows.filter(~is_planted), rejected


def refusals(found: pl.DataFrame, annotated: pl.Series, written: pl.Series) -> Rejections:
    """Rejections of narratives that raters or rules refused for good, and of ``annotated`` ones that nobody wrote.

    ``written``: every narrative of this build. A rejection counts raters and names none.
    """
    refused = found.filter(pl.col("state").is_in(DECIDED) & (pl.col("state") != "certified"))
    told = [
        rejection(
            "narrative", row["narrative_id"], _STAGE, row["state"],
            value=f"{row['n_raters']} raters", detail="; ".join(row["reasons"]),
        )
        for row in refused.iter_rows(named=True)
    ]  # fmt: skip
    strange = sorted(set(annotated) - set(written))
    return told + [rejection("narrative", name, _STAGE, "not_in_this_build") for name in strange]


def open_queue(queue: pl.DataFrame, found: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """The certification queue less what is decided, and with the corrections that wait.

    ``queue``: :data:`corpus.certification.QUEUE`; ``held``: held-out cases of
    :func:`corpus.certification.strata_of`. Of a certified case nothing more is asked, save what was drawn at random:
    that measures.
    """
    decided = found.filter(pl.col("state").is_in(DECIDED))["narrative_id"]
    done = found.filter(pl.col("state") == "certified")["case_id"]
    of_done = pl.col("case_id").is_in(done.implode())
    left = queue.filter(~pl.col("narrative_id").is_in(decided.implode()) & (pl.col("random") | ~of_done))
    waiting = found.filter(pl.col("correction") & ~pl.col("state").is_in(DECIDED) & ~of_done)
    added = waiting.select("narrative_id", "case_id").join(held, on="case_id").with_columns(
        pl.lit(False).alias("stratified"),
        pl.lit(False).alias("random"),
        pl.lit(None, pl.Float64).alias("stratified_probability"),
        pl.lit(None, pl.Float64).alias("random_probability"),
        pl.lit(True).alias("correction"),
    )  # fmt: skip
    return pl.concat([left, added.select(left.columns)]).sort("narrative_id")
