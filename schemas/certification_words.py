"""Words for the figures of certification, the same on the dataset card and in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Measures of agreement and of alignment that people are shown, with their words; the manifest has all.
AGREEMENT = {
    "icc_2_1": "ICC(2,1), absolute agreement of one rater",
    "icc_2_k": "ICC(2,k), of the mean of all",
    "alpha_interval": "Krippendorff's alpha, interval",
    "alpha_nominal": "Krippendorff's alpha, nominal",
    "within_one_share": "pairs within one point",
    "exact_share": "pairs that say the same",
}
ALIGNMENT = {
    "bias": "DermEval less raters, points",
    "mae": "mean absolute difference, points",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
}
BASIS = {
    "drawn": "over narratives drawn with a known chance, weighted by it",
    "all": "over all scored narratives, which were not drawn with a known chance",
}


def figures(rows: Sequence[Mapping[str, Any]], words: Mapping[str, str]) -> list[tuple[Any, ...]]:
    """Dimension, measure in words, estimate, interval and number of narratives of the measures that have words."""
    return [
        (
            row["dimension"].replace("_", " "),
            words[row["measure"]],
            row["reason"] if row["estimate"] is None else f"{row['estimate']:.2f}",
            "" if row["low"] is None or row["high"] is None else f"{row['low']:.2f} to {row['high']:.2f}",
            row["n_items"],
        )
        for row in rows
        if row["measure"] in words
    ]
