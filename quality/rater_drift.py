"""Whether a rater's scores wander while the work goes on: a straight line over the rater's own sequence."""

from __future__ import annotations

import numpy as np
import polars as pl

from quality.rating_tables import dimensions_of, first_occasion, long_scores, shared_dimensions
from quality.resampling import LEVEL, NO_VARIANCE, Floats

#: One row per rater and dimension (``mean`` among them). ``estimate``, ``low``, ``high``: points of the scale per 100
#: items of the rater's sequence and their 95 % interval; ``p_value``: against no drift, two-sided, for this one line
#: (many raters and dimensions make some small ones by chance); ``reason``: why the estimate, or the rest, is null.
COLUMNS = pl.Schema(
    {
        "rater": pl.String(),
        "dimension": pl.String(),
        "measure": pl.String(),
        "estimate": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "p_value": pl.Float64(),
        "n_items": pl.Int64(),
        "reason": pl.String(),
    }
)

TOO_FEW = "fewer than three items to compare with"
STANDING = "all at one place of the sequence"

_PER = 100


def drift(ratings: pl.DataFrame, gold: pl.DataFrame | None = None) -> pl.DataFrame:
    """The slope of (score - reference) over each rater's sequence, by least squares.

    The reference is the gold score where ``gold`` is given (only gold items count then), else the mean of the other
    raters of the item. The column ``sequence`` orders each rater's ratings; the place is counted over all of them, the
    repeats too, but only first occasions enter the line. Against the others, drift that all share stays unseen, and one
    rater's shows, weaker and turned round, in the rest: gold tells both.
    """
    places = ratings.with_columns((pl.col("sequence").rank("dense").over("rater") - 1).cast(pl.Float64).alias("place"))
    common = None if gold is None else shared_dimensions(ratings, gold)
    scored = long_scores(first_occasion(places), ("item", "rater", "place"), common)
    if gold is None:
        others = pl.len().over("item", "dimension") - 1
        total = pl.col("score").sum().over("item", "dimension")
        scored = scored.with_columns(reference=(total - pl.col("score")) / others).filter(
            pl.col("reference").is_finite()
        )
    else:
        truth = long_scores(gold, ("item",), common).rename({"score": "reference"})
        scored = scored.join(truth, on=["item", "dimension"])
    scored = scored.sort("place", "item")
    rows = []
    for dimension in dimensions_of(ratings):
        for rater in ratings["rater"].drop_nulls().unique().sort():
            own = scored.filter((pl.col("dimension") == dimension) & (pl.col("rater") == rater))
            gaps = (own["score"] - own["reference"]).to_numpy()
            measure = "consensus_drift" if gold is None else "gold_drift"
            rows.append((rater, dimension, measure, *_slope(own["place"].to_numpy() / _PER, gaps)))
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def _slope(
    places: Floats, gaps: Floats
) -> tuple[float | None, float | None, float | None, float | None, int, str | None]:
    """Slope, its limits, its p-value, how many points, and why something is missing."""
    from scipy.stats import linregress, t

    n = len(gaps)
    if n < 3:
        return None, None, None, None, n, TOO_FEW
    if np.ptp(places) == 0:
        return None, None, None, None, n, STANDING
    line = linregress(places, gaps)
    slope, error = float(line.slope), float(line.stderr)
    if not error > 1e-12:
        return slope, None, None, None, n, NO_VARIANCE
    reach = float(t.ppf((1 + LEVEL) / 2, n - 2)) * error
    return slope, slope - reach, slope + reach, float(line.pvalue), n, None
