"""What a study is made of, from the latest build of a workspace: narratives to score, known ones, texts and images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import polars as pl

from annotators.label_studio.adjudication import disputes_of
from annotators.label_studio.faults import Planted, practice_feedback, with_fault
from annotators.label_studio.queue import CANDIDATES, EXTRAS
from annotators.label_studio.study import Material
from corpus.digests import first_by_digest
from corpus.packs import read_payloads
from flows.annotation_standing import latest_build, standing_of
from flows.plan import Build
from flows.rater_figures import gold_table
from schemas.config import AnnotateSettings, Config
from schemas.errors import UserError
from schemas.narrative import narrative_from_json, narrative_to_json
from schemas.taxonomy import load_taxonomy
from schemas.tone import tone_group

#: Kind of sensitive case -> the words, in site or diagnosis, that make one.
_SENSITIVE = {
    "genital": re.compile(r"genital|penis|penile|vulv|vagin|scrot|perine|perian|\banal\b|groin|pubi", re.IGNORECASE),
    "graphic": re.compile(r"gangren|necro|necrolysis|fournier|\bburns?\b|\bbite", re.IGNORECASE),
}
_ADULT_YEARS = 18
_WHERE = ["row_key", "part", "narrative_id", "case_id"]


def material(config: Config, pulled: pl.DataFrame | None) -> Material:
    """Gather it; :class:`UserError` when there is no finished build with a queue.

    ``pulled``: the latest annotations, None before the first pull. What they decide is asked no more.
    """
    build = latest_build(config)
    if build is None:
        raise UserError(f"there is no finished build in {config.workspace}: run `dermcot run` first")
    now = standing_of(build, pulled)
    columns = ["case_id", "node_id", "source", "site", "age_years", "split", "licence_class", "tone_observations",
               "image_digests"]  # fmt: skip
    cases = {row["case_id"]: row for row in build.table("split", "cases", columns).iter_rows(named=True)}
    known = build.table("standardise", "selection", _WHERE)
    everything = _candidates(build, cases, known)
    candidates = everything.filter(pl.col("narrative_id").is_in(now.queue["narrative_id"].implode()))
    texts: dict[tuple[str, str | None], str] = dict(_texts(build, known, candidates["narrative_id"]))
    extras = _extras(build, cases, known, everything, texts, config.annotate)
    named = [*candidates["case_id"], *extras["case_id"]]
    images = {case: cases[case]["image_digests"][0] for case in named}
    labels = {case: load_taxonomy().node(cases[case]["node_id"]).name for case in named}
    disputes = disputes_of(now.answers, now.found, config.certification, simulated=config.allows_simulated_raters())
    return Material(
        candidates, extras, texts, images, labels, partial(_payloads, build), partial(_endings, build), disputes
    )


def _payloads(build: Build, digests: Iterable[str]) -> dict[str, bytes]:
    wanted = sorted(set(digests))
    places = build.rows("inspect", ["image_digest", "pack", "pack_offset", "stored_bytes"])
    places = places.filter(pl.col("image_digest").is_in(wanted)).unique("image_digest").sort("image_digest")
    folder = build.store.folder
    order = [(pack, offset, size, digest) for digest, pack, offset, size in places.iter_rows()]
    return dict(zip(places["image_digest"], read_payloads(folder.fs, folder.path("rows/inspect"), order), strict=True))


def _endings(build: Build) -> dict[str, str]:
    told = build.rows("inspect", ["image_digest", "stored_format"]).unique("image_digest")
    return {digest: "." + name.lower().replace("jpeg", "jpg") for digest, name in told.iter_rows()}


def _candidates(build: Build, cases: Mapping[str, Any], known: pl.DataFrame) -> pl.DataFrame:
    """The whole queue, what is decided included, and every correction."""
    chance = pl.when("random").then("random_probability").alias("chance")
    queue = build.table("select", "queue").select("narrative_id", "case_id", chance)
    authors = build.table("correct", "authors").group_by("narrative_id").agg(pl.col("rater").sort().alias("authors"))
    written = known.join(authors, on="narrative_id", how="semi").select("narrative_id", "case_id")
    queue = pl.concat([queue, written], how="diagonal").join(authors, on="narrative_id", how="left")
    overall = build.rows("evaluate", ["narrative_id", "overall"])
    spread = known.join(overall, on="narrative_id").group_by("case_id").agg(
        pl.col("overall").std(ddof=0).alias("spread")
    )  # fmt: skip
    told = queue.join(overall, on="narrative_id", how="left").join(spread, on="case_id", how="left")
    rows: list[tuple[Any, ...]] = [
        (
            row["narrative_id"], row["case_id"], case["node_id"], case["source"], tone_group(case["tone_observations"]),
            row["overall"], row["spread"], row["chance"], _sensitive(case), row["authors"] or [],
        )
        for row in told.sort("narrative_id").iter_rows(named=True)
        for case in [cases[row["case_id"]]]
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=CANDIDATES, orient="row")


def _sensitive(case: Mapping[str, Any]) -> list[str]:
    words = f"{case['site'] or ''} {load_taxonomy().node(case['node_id']).name}"
    kinds = [kind for kind, pattern in _SENSITIVE.items() if pattern.search(words)]
    return [*kinds, *(["paediatric"] if case["age_years"] is not None and case["age_years"] < _ADULT_YEARS else [])]


def _texts(build: Build, known: pl.DataFrame, wanted: pl.Series) -> dict[tuple[str, str | None], str]:
    places = known.filter(pl.col("narrative_id").is_in(wanted.implode())).select("row_key", "part")
    rows = build.store.read_rows("standardise", places, ["narrative_id", "narrative_json"])
    return {(name, None): text for name, text in rows.select("narrative_id", "narrative_json").iter_rows()}


def _extras(
    build: Build,
    cases: Mapping[str, Any],
    known: pl.DataFrame,
    candidates: pl.DataFrame,
    texts: dict[tuple[str, str | None], str],
    settings: AnnotateSettings,
) -> pl.DataFrame:
    """Known narratives, those with planted faults, and practice; their texts are added to ``texts``.

    Practice and faults come from cases that nobody scores for certification, as far as there are enough of these;
    practice from cases that every rater may see. Every other practice narrative has a fault, and all of it is told.
    """
    asked, in_queue = set(candidates["narrative_id"]), set(candidates["case_id"])
    case_of = dict(known.select("narrative_id", "case_id").iter_rows())
    gold = _gold(settings, set(case_of) - asked)
    free = [
        name for name, case in case_of.items()
        if name not in asked and name not in gold and cases[case]["licence_class"] != "no-redistribution"
        and (cases[case]["split"] == "calibration" or case in in_queue)
    ]  # fmt: skip
    order = first_by_digest(free, f"{settings.salt}\0extras")
    order.sort(key=lambda name: case_of[name] in in_queue)
    first_of = {case_of[name]: name for name in reversed(order)}
    fit = [name for name in order if first_of[case_of[name]] == name]
    practice = sorted(fit, key=lambda name: bool(_sensitive(cases[case_of[name]])))[: settings.practice]
    others = [name for name in order if name not in practice]
    faulty = others[: round(settings.planted_share * candidates.height)]
    found = _texts(build, known, pl.Series([*gold, *practice, *faulty], dtype=pl.String))
    rows: list[tuple[Any, ...]] = []

    def add(name: str, occasion: str, planted: Planted | None = None) -> None:
        fault = None if planted is None else planted.fault
        texts[name, fault] = found[name, None] if planted is None else narrative_to_json(planted.narrative)
        told = practice_feedback(planted) if occasion == "practice" else None
        rows.append((name, case_of[name], occasion, fault, _sensitive(cases[case_of[name]]), told))

    def spoilt(name: str, number: int) -> Planted:
        recorded = cases[case_of[name]]["node_id"]
        return with_fault(narrative_from_json(found[name, None]), number, load_taxonomy(), recorded)

    for name in gold:
        add(name, "gold")
    for number, name in enumerate(practice):
        add(name, "practice", spoilt(name, number // 2) if number % 2 else None)
    for number, name in enumerate(faulty):
        add(name, "gold", spoilt(name, number))
    return pl.DataFrame(rows, schema=EXTRAS, orient="row")


def _gold(settings: AnnotateSettings, there: set[str]) -> list[str]:
    told = gold_table(settings)
    return [] if told is None else sorted(set(told["narrative_id"]) & there)
