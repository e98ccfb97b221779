"""How different texts are: the candidates of one case among themselves, and the sentences of a whole release.

Best of k is worth nothing when k texts are one text, and a sentence that stands in every row is learnt by heart. Both
are measured on words alone, so the figures hold for any teacher.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import polars as pl

_WORD = re.compile(r"\w+")
_SHINGLE = 3


def sibling_distances(texts: Sequence[str]) -> list[float | None]:
    """For each text its mean Jaccard distance to the others, 0 (the same) to 1, over runs of three words.

    None for a text without others.
    """
    shingles = [_shingles(text) for text in texts]
    if len(texts) < 2:
        return [None] * len(texts)
    return [
        sum(_distance(mine, other) for j, other in enumerate(shingles) if j != i) / (len(texts) - 1)
        for i, mine in enumerate(shingles)
    ]


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.casefold())
    return set(zip(*(words[at:] for at in range(_SHINGLE)), strict=False))


def _distance(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    shared = len(a & b)
    union = len(a) + len(b) - shared
    return 1 - shared / union if union else 0.0


def count_limitations(narratives: pl.Series) -> Counter[str]:
    """In how many of some narratives (``narrative_json``) each of their limitation sentences stands."""
    lists = narratives.str.json_path_match("$.limitations").str.json_decode(dtype=pl.List(pl.String))
    told = lists.list.unique().explode().drop_nulls().value_counts()
    return Counter(dict(told.iter_rows()))


def repeated_limitations(counts: Counter[str], total: int, most: int = 5) -> list[tuple[str, float]]:
    """The limitation sentences that most of ``total`` narratives hold, commonest first, each with its share of them."""
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [(text, n / total) for text, n in ranked[:most]]


def spread(distances: pl.Series) -> Iterator[float]:
    """Mean and quartiles of distances; nothing when there are none."""
    known = distances.drop_nulls()
    if not known.is_empty():
        yield float(known.mean())  # type: ignore[arg-type]
        for share in (0.25, 0.5, 0.75):
            yield float(known.quantile(share, "nearest"))  # type: ignore[arg-type]
