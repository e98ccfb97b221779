"""Blind against grounded: what a report tells of authors who were not told the diagnosis, beside those who were.

Whoever is told the diagnosis can argue for it whatever the image shows; whether a model sees it by itself, and for
whom, only a blind author shows. Counts are about candidates of training cases. Agreement is about cases: candidates of
one case look at the same image, so one of them speaks for it (the first that concluded, with its first conclusion,
since a further attempt is only made where it disagreed), and Wilson's interval (Wilson 1927) then holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from schemas.attempts import ATTEMPT, STEPS
from schemas.tables import DIMENSIONS
from schemas.taxonomy import load_taxonomy
from schemas.tone import TONE_GROUPS

#: What each mode is called, and whether its author was told the diagnosis.
MODES = (("grounded", True), ("blind", False))
_MOST_DIAGNOSES = 10
_OUTCOMES_OF_SCORED = {"published": "published", "below_threshold": "below a threshold",
                       "not_best": "not the best of its case"}  # fmt: skip


@dataclass(frozen=True)
class Agreement:
    """Of ``n`` cases, in how many the first blind conclusion agreed with the label; share and 95 % limits in percent.

    Without a case there is no share.
    """

    label: str
    agreed: int
    n: int
    share: float | None
    low: float
    high: float


def blind_figures(candidates: pl.DataFrame, rejections: pl.DataFrame) -> dict[str, Any] | None:
    """What the section shows; None where every author was told the diagnosis and none looked at the image.

    ``candidates``: :data:`corpus.release_evidence.CANDIDATES`; ``rejections``: the release's.
    """
    if candidates.filter(~pl.col("label_seen") | pl.col("image_grounded")).is_empty():
        return None
    modes = [candidates.filter(pl.col("label_seen") == seen) for _, seen in MODES]
    return {
        "modes": [name for name, _ in MODES],
        "fates": _fates(modes),
        "agreement": _agreements(candidates),
        "scores": _scores(modes),
        "post_hoc": _post_hoc(modes),
        "attempts": _attempts(candidates, modes),
        "failed": _failed(rejections),
    }


def _fates(modes: Sequence[pl.DataFrame]) -> list[tuple[str, bool, list[str]]]:
    """Lines of what became of the candidates of each mode: words, whether it is a sum of those below, and cells."""
    scored = [mode.filter(pl.col("overall").is_not_null()) for mode in modes]
    lost = [mode.filter(pl.col("overall").is_null()) for mode in modes]
    sums = [mode.height for mode in modes]

    def line(words: str, is_sum: bool, counts: Sequence[int]) -> tuple[str, bool, list[str]]:
        return words, is_sum, [_of(n, total) for n, total in zip(counts, sums, strict=True)]

    def parts(frames: Sequence[pl.DataFrame]) -> Iterator[tuple[str, bool, list[str]]]:
        rules = pl.concat([frame.select("outcome") for frame in frames])["outcome"].value_counts()
        for rule in rules.sort(["count", "outcome"], descending=[True, False])["outcome"]:
            counts = [frame.filter(pl.col("outcome") == rule).height for frame in frames]
            yield line(_OUTCOMES_OF_SCORED.get(rule, rule.replace("_", " ")), False, counts)

    return [
        ("asked for", True, [f"{n:,}" for n in sums]),
        line("lost", True, [frame.height for frame in lost]),
        *parts(lost),
        line("kept and scored", True, [frame.height for frame in scored]),
        *parts(scored),
    ]


def _agreements(candidates: pl.DataFrame) -> list[tuple[str, list[Agreement]]]:
    """Agreement over all cases, by row of the skin-tone table, and by the commonest diagnoses."""
    concluded = candidates.filter(pl.col("first_agrees").is_not_null()).sort("case_id", "candidate")
    cases = concluded.unique("case_id", keep="first", maintain_order=True)
    if cases.is_empty():
        return []
    taxonomy, nodes = load_taxonomy(), cases["taxonomy_id"].value_counts()
    order = nodes.sort(["count", "taxonomy_id"], descending=[True, False])["taxonomy_id"].to_list()
    names = {node: taxonomy.node(node).name if node in taxonomy else node for node in order}
    common, rest = order[:_MOST_DIAGNOSES], order[_MOST_DIAGNOSES:]
    diagnoses = [_agreement(names[node], cases.filter(pl.col("taxonomy_id") == node)) for node in common]
    if rest:
        diagnoses.append(_agreement(f"{len(rest)} others", cases.filter(pl.col("taxonomy_id").is_in(rest))))
    tones = [_agreement(tone, cases.filter(pl.col("tone_group") == tone)) for tone in TONE_GROUPS]
    return [
        ("", [_agreement("all cases", cases)]),
        ("By skin tone (Fitzpatrick)", tones),
        ("By diagnosis, commonest first", diagnoses),
    ]


def _agreement(label: str, cases: pl.DataFrame) -> Agreement:
    from scipy.stats import binomtest

    n, agreed = cases.height, int(cases["first_agrees"].sum())
    if not n:
        return Agreement(label, 0, 0, None, 0.0, 100.0)
    limits = binomtest(agreed, n).proportion_ci(method="wilson")
    return Agreement(label, agreed, n, 100 * agreed / n, 100 * float(limits.low), 100 * float(limits.high))


def _scores(modes: Sequence[pl.DataFrame]) -> list[tuple[str, list[str]]]:
    """Mean of each score per mode, and by how much the blind ones score more."""
    lines = []
    for name in (*DIMENSIONS, "overall"):
        known = [mode[name].drop_nulls() for mode in modes]
        means = [float(scores.sum()) / scores.len() if scores.len() else None for scores in known]
        cells = ["none" if mean is None else f"{mean:.2f}" for mean in means]
        told = [mean for mean in means if mean is not None]
        shift = f"{told[1] - told[0]:+.2f}" if len(told) == len(MODES) else ""
        shift = "0.00" if shift in ("+0.00", "-0.00") else shift
        lines.append((name.replace("_", " "), [*cells, shift]))
    return lines


def _post_hoc(modes: Sequence[pl.DataFrame]) -> list[tuple[str, list[str]]]:
    """How many narratives of each mode hold so many findings that the observation lacked."""
    known = [mode.filter(pl.col("overall").is_not_null())["post_hoc"].drop_nulls() for mode in modes]
    values = range(max((int(n) for counts in known for n in counts), default=-1) + 1)
    return [(str(value), [_of(int((counts == value).sum()), counts.len()) for counts in known]) for value in values]


def _attempts(candidates: pl.DataFrame, modes: Sequence[pl.DataFrame]) -> dict[str, Any] | None:
    """At which attempt each step gave what was used; the observation is one per case and mode-blind."""
    tried = [mode.filter(pl.col("attempts").is_not_null()) for mode in modes]
    looked = candidates.filter(pl.col("attempts").is_not_null()).unique("case_id", keep="first", maintain_order=True)
    counted = [(f"{STEPS[0]} (one per case)", looked["attempts"].list.get(0))]
    for (name, _), mode in zip(MODES, tried, strict=True):
        counted += [(f"{step}, {name}", mode["attempts"].list.get(at)) for at, step in enumerate(STEPS) if at]
    most = max((int(n) for _, numbers in counted for n in numbers), default=0)
    if not most:
        return None
    lines = [
        (words, [f"{int((numbers == at).sum()):,}" for at in range(1, most + 1)]) for words, numbers in counted
        if numbers.len()
    ]  # fmt: skip
    return {"numbers": list(range(1, most + 1)), "lines": lines}


def _failed(rejections: pl.DataFrame) -> list[tuple[str, str, int]]:
    """Attempts that gave nothing usable, by step and rule: step, rule in words, how many."""
    tried = rejections.filter(pl.col("record_kind") == "attempt")
    counts = tried.group_by(pl.col("record_id").str.extract(ATTEMPT, 2).alias("step"), "rule").len()
    order = {step: at for at, step in enumerate(STEPS)}
    rows = sorted(counts.iter_rows(), key=lambda row: (order[row[0]], -row[2], row[1]))
    return [(step, rule.replace("_", " "), n) for step, rule, n in rows]


def _of(n: int, total: int) -> str:
    return f"{n:,} ({100 * n / total:.1f} %)" if n else "0"
