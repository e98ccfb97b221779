"""The certification queue: which held-out narratives dermatologists are asked to score, and with what chance each.

It has two parts with two ends. The stratified part is work: the chosen narrative of held-out cases, spread over
diagnosis, source and skin tone. The random part is measurement: drawn from *every* standardised candidate of held-out
cases, those that the evaluator would have refused included, each with the same known chance, so that what raters say of
it, weighted by one over that chance, estimates what they would say of all. Cases are held out by salted hash, so that
estimate speaks for training cases too, none of which is ever scored for certification.

Draws are by salted digest against a chance or within a stratum, never by position: a grown corpus keeps what it drew,
save where a stratum's share or the chance itself moves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import polars as pl

from corpus.digests import first_by_digest
from schemas.config import CertificationSettings
from schemas.tone import tone_group

#: ``stratified_probability`` is null outside the stratified part; ``random_probability`` is every drawn narrative's
#: chance, null for a ``correction``, which is not drawn: it is there because a rater wrote it.
QUEUE = pl.Schema(
    {
        "narrative_id": pl.String(),
        "case_id": pl.String(),
        "image_digests": pl.List(pl.String()),
        "stratum": pl.String(),
        "stratified": pl.Boolean(),
        "random": pl.Boolean(),
        "stratified_probability": pl.Float64(),
        "random_probability": pl.Float64(),
        "correction": pl.Boolean(),
    }
)


def certification_queue(
    cases: pl.DataFrame, selected: pl.DataFrame, candidates: pl.DataFrame, settings: CertificationSettings, salt: str
) -> pl.DataFrame:
    """The queue as :data:`QUEUE`, one row a narrative, in the order of their ids.

    ``cases``: live cases (:func:`corpus.selection.live_cases`); ``selected``: rows of
    :data:`corpus.selection.SELECTED`; ``candidates``: ``narrative_id`` and ``case_id`` of every standardised narrative.
    Only cases of split ``certify_queue`` whose images may be passed on take part. ``salt`` makes another draw.
    """
    held = cases.filter((pl.col("split") == "certify_queue") & (pl.col("licence_class") != "no-redistribution"))
    strata = dict(strata_of(held).select("case_id", "stratum").iter_rows())
    chosen = dict(selected.filter(pl.col("case_id").is_in(held["case_id"].implode())).select(
        "case_id", "narrative_id").iter_rows())  # fmt: skip
    size = None if settings.size is None else round(settings.size * (1 - settings.random_share))
    stratified = _stratified(chosen, strata, size, salt)
    pool = candidates.filter(pl.col("case_id").is_in(held["case_id"].implode())).select("narrative_id", "case_id")
    chance = random_chance(len(stratified), pool.height, settings.random_share)
    rows = [
        (narrative, case, strata[case], narrative in stratified, drawn, stratified.get(narrative), chance)
        for narrative, case in pool.sort("narrative_id").iter_rows()
        if (drawn := _number(narrative, salt) < chance) or narrative in stratified
    ]
    columns = [name for name in QUEUE if name not in ("image_digests", "correction")]
    frame = pl.DataFrame(rows, schema={name: QUEUE[name] for name in columns}, orient="row").with_columns(
        pl.lit(False).alias("correction")
    )
    return frame.join(held.select("case_id", "image_digests"), on="case_id").select(list(QUEUE)).sort("narrative_id")


def strata_of(cases: pl.DataFrame) -> pl.DataFrame:
    """``case_id``, ``image_digests`` and ``stratum`` (diagnosis, source and skin tone) of live cases."""
    told = [
        f"{node_id} | {source} | {tone_group(seen)}"
        for node_id, source, seen in cases.select("node_id", "source", "tone_observations").iter_rows()
    ]
    return cases.select("case_id", "image_digests", pl.Series("stratum", told, dtype=pl.String))


def random_chance(n_stratified: int, n_candidates: int, share: float) -> float:
    """Each candidate's chance, so that the random part is expected to be ``share`` of both parts together."""
    if not n_candidates:
        return 0.0
    return min(1.0, share / (1 - share) * n_stratified / n_candidates)


def _number(narrative_id: str, salt: str) -> float:
    """A narrative's place in [0, 1), the same in every build."""
    digest = hashlib.sha256(f"{salt}\0certify\0{narrative_id}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _stratified(chosen: Mapping[str, str], strata: Mapping[str, str], size: int | None, salt: str) -> dict[str, float]:
    """narrative id -> its chance: a simple random sample in every stratum."""
    members: dict[str, list[str]] = {}
    for case_id, narrative_id in chosen.items():
        members.setdefault(strata[case_id], []).append(narrative_id)
    names = sorted(members)
    taken = allocate([len(members[name]) for name in names], size)
    return {
        narrative: count / len(members[name])
        for name, count in zip(names, taken, strict=True)
        for narrative in first_by_digest(members[name], f"{salt}\0stratum")[:count]
    }


def allocate(sizes: Sequence[int], total: int | None) -> list[int]:
    """How many of each stratum are taken, ``total`` in all (None: everything): one of each, then in proportion.

    With fewer places than strata the largest strata are served. Of equal claims the earlier stratum comes first.
    """
    everything = sum(sizes)
    if total is None or total >= everything:
        return list(sizes)
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
    taken = [0] * len(sizes)
    for i in order[:total]:
        taken[i] = min(1, sizes[i])
    left, room = total - sum(taken), everything - sum(taken)
    if left > 0:
        claims = [(sizes[i] - taken[i]) * left / room for i in range(len(sizes))]
        taken = [have + int(claim) for have, claim in zip(taken, claims, strict=True)]
        by_rest = sorted(range(len(sizes)), key=lambda i: (int(claims[i]) - claims[i], i))
        for i in by_rest[: total - sum(taken)]:
            taken[i] += 1
    return taken
