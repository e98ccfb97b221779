"""What only the whole set tells: its commonest layout, usual length and duplicates, and evaluation sets it touches."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from quality.auditing.findings import FINDINGS, RULES
from quality.auditing.twins import near_twins

#: A length is unusual when its logarithm lies this many robust standard deviations from the median.
UNUSUAL = 3.5
_LEAST_TEXTS = 20
_TO_DEVIATION = 1.4826  # of a normal distribution, from its median absolute deviation
_ENDING = re.compile(r"\.(?:jpe?g|png|bmp|tiff?|webp)$")


@dataclass(frozen=True)
class EvaluationSets:
    """What evaluation sets list: stems of names, and digests, each with what a person calls it."""

    names: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)


def stem(name: str) -> str:
    """A file name as evaluation lists write it: no folder, ending or ``_downsampled`` mark, case-folded."""
    return _ENDING.sub("", name.replace("\\", "/").rsplit("/", 1)[-1].casefold()).removesuffix("_downsampled")


def set_findings(
    texts: pl.DataFrame, signatures: npt.NDArray[np.uint32], evaluation: EvaluationSets | None = None
) -> pl.DataFrame:
    """:data:`FINDINGS` rows about the set, each at the first sentence of its text; ``texts``: those of ``audit``."""
    rows = texts.to_dicts()
    found = [*_layouts(rows), *_lengths(rows), *_twins(rows, signatures)]
    if evaluation is not None:
        found += _listed(rows, evaluation)
    order = {rule: nth for nth, rule in enumerate(RULES)}
    made = [
        {"id": row["id"], "rule": rule, "severity": RULES[rule][1], "sentence": row["first_sentence"],
         "start": row["first_start"], "end": row["first_end"], "detail": detail}
        for row, rule, detail in sorted(found, key=lambda one: order[one[1]])
    ]  # fmt: skip
    return pl.DataFrame(made, schema=FINDINGS)


_Found = tuple[dict[str, Any], str, str]


def _layouts(rows: list[dict[str, Any]]) -> Iterator[_Found]:
    counts = Counter(row["layout"] for row in rows)
    if not counts:
        return
    common = min(counts, key=lambda layout: (-counts[layout], layout))
    for row in rows:
        if row["layout"] != common:
            yield row, "layout_drift", f"{row['layout']}; most are: {common}"


def _lengths(rows: list[dict[str, Any]]) -> Iterator[_Found]:
    if len(rows) < _LEAST_TEXTS:
        return
    logs = np.array([math.log(1 + row["words"]) for row in rows])
    median = float(np.median(logs))
    deviation = _TO_DEVIATION * float(np.median(np.abs(logs - median)))
    if deviation == 0:
        return
    for row, value in zip(rows, logs, strict=True):
        if abs(value - median) > UNUSUAL * deviation:
            yield row, "length_outlier", f"{row['words']:,} words; the median is {round(math.exp(median) - 1):,}"


def _twins(rows: list[dict[str, Any]], signatures: npt.NDArray[np.uint32]) -> Iterator[_Found]:
    first: dict[str, dict[str, Any]] = {}
    again: set[int] = set()
    for place, row in enumerate(rows):
        if (earlier := first.setdefault(row["text_digest"], row)) is not row:
            again.add(place)
            yield row, "exact_duplicate", f"the same text as {earlier['id']}"
    once = [place for place in range(len(rows)) if place not in again]
    for place, earlier_place, share in near_twins(signatures[once]):
        other = rows[once[earlier_place]]
        yield (
            rows[once[place]],
            "near_duplicate_text",
            f"about {share:.0%} of its runs of words stand in {other['id']} too",
        )


def _listed(rows: list[dict[str, Any]], evaluation: EvaluationSets) -> Iterator[_Found]:
    for row in rows:
        for what, name in (("picture", row["image_name"]), ("id", row["id"])):
            if name and (listed := evaluation.names.get(stem(name))) is not None:
                yield row, "in_evaluation_set", f"its {what} {name} is listed as {listed}"
                break
        else:
            if (listed := evaluation.digests.get(row["text_digest"])) is not None:
                yield row, "in_evaluation_set", f"its text is listed as {listed}"
