"""Three simulated raters with known bias and noise score held-out narratives on a real server.

What comes back is what they said, figures lie where they truly are as often as their intervals say, and what is
certified is what the rules say.

The small study runs always, the one of 300 cases with the long rounds; both with the same tests.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, t

from annotators.label_studio.server import Server
from corpus.annotations import read_snapshot
from corpus.sample.draw import draw_sample
from flows.build import last_build, run_build
from flows.execute import InProcess
from flows.plan import FOOLED
from schemas.config_file import load_config
from schemas.errors import GateError
from schemas.narrative import narrative_from_json, render_sections
from schemas.tables import DIMENSIONS
from tests.annotators.label_studio import rules_by_hand
from tests.annotators.label_studio.simulated_study import Study, conduct, corrected, flags_of
from tests.conftest import Quiet
from tests.quality.simulated_raters import PANEL, Array, ratings
from tests.quality.true_figures import (
    aligned_figures,
    alpha,
    by_dimension,
    compared,
    first_places,
    found_figures,
    panel_scores,
    true_figures,
)

SMALL = {
    "split": {"certify_queue": 0.9},
    "annotate": {"practice": 2, "gold_share": 0.2, "planted_share": 0.2, "repeat_share": 0.25},
}
#: 300 cases, and beside them narratives drawn at random.
FULL = {"split": {"certify_queue": 0.8}, "certification": {"size": 375, "random_share": 0.2}}
#: Figures of one study go along with one another, so misses come in bunches: they scatter as if one figure in so many
#: were independent (python -m tests.benchmarks.bench_coverage).
ALIKE = 8
#: Fewer items than this say too little to be held to an interval.
LEAST_ITEMS = 10
#: States that a narrative which only first looks were given to is in; corrections beside them wait for raters.
SETTLED = ("certified", "needs_adjudication")


@pytest.fixture(scope="module", params=["small", pytest.param("full", marks=pytest.mark.soak)])
def study(
    request: pytest.FixtureRequest, studio: Server, drawn_sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> Study:
    folder = tmp_path_factory.mktemp("simulated", numbered=False)
    if request.param == "small":
        return conduct(drawn_sample, folder, studio, SMALL, by_command=False, n_gold=8, seed=1)
    draw_sample(folder / "sample", n_images=480, seed=12, workers=2, size=(160, 160))
    return conduct(folder / "sample", folder, studio, FULL, by_command=True, n_gold=20, seed=2)


def is_full(study: Study) -> bool:
    return study.told.filter(pl.col("occasion") == "first").height >= 900


def test_what_is_pulled_is_what_each_rater_answered(study: Study) -> None:
    """By key: the raters' own names of narrative, occasion and planted fault are what the opaque key stands for."""
    pulled = read_snapshot(str(study.pulled))
    assert pulled["is_latest"].all() and pulled["revision"].max() == 0
    key = ["narrative_id", "case_id", "rater", "occasion", "planted", "inclusion_probability", "pre_edit"]
    columns = [*key, *DIMENSIONS, "decision"]
    theirs = study.told.select(columns).sort(key)
    assert pulled.select(columns).sort(key).equals(theirs)
    said = {(r["narrative_id"], r["rater"], r["occasion"]): r for r in study.told.iter_rows(named=True)}
    assert len(said) == pulled.height == study.told.height
    for row in pulled.iter_rows(named=True):
        mine = said[row["narrative_id"], row["rater"], row["occasion"]]
        assert row["flags"] == flags_of(mine)
        assert row["cannot_judge"] == (["ungradable"] if mine["decision"] == "cannot_judge" else [])
        assert (row["critique"] is not None) == (mine["decision"] in ("revise", "reject"))
        if mine["decision"] != "revise":
            assert row["corrected"] is None
        else:
            assert render_sections(narrative_from_json(row["corrected"])) == corrected(mine["pre_edit"])
    assert set(pulled["rater_kind"]) == {"simulated"}
    assert set(pulled["occasion"]) == {"first", "repeat", "gold", "practice"}
    in_order = pulled.join(study.told.select("rater", "narrative_id", "occasion", "place"), on=key[:1] + key[2:4])
    for _, mine in in_order.sort("place").group_by("rater", maintain_order=True):
        assert mine["created_at"].is_sorted()


@pytest.fixture(scope="module")
def figures(study: Study) -> pl.DataFrame:
    """Estimate, interval and truth of every figure of the pulled answers, and of the alignment that was published."""
    many = 200_000 if is_full(study) else 20_000
    pulled = read_snapshot(str(study.pulled)).with_columns(place=pl.col("created_at").rank().over("rater") - 1)
    found = found_figures(ratings(pulled), study.levels)
    aligned = pl.DataFrame(certification(study)["alignment"], infer_schema_length=None).select(
        pl.lit(None, pl.String).alias("rater"), pl.lit(None, pl.String).alias("other"), *found.columns[2:]
    )  # fmt: skip
    truth = pl.concat([true_figures(study.told, PANEL, study.evaluator, many), true_alignment(study, many)])
    told = compared(pl.concat([found, aligned]), truth).filter(pl.col("n_items") >= LEAST_ITEMS)
    return told.with_columns(errors_away=_errors_away(told))


def _errors_away(told: pl.DataFrame) -> pl.Series:
    """How many standard errors the truth lies from each estimate, as far as the interval tells the error."""
    reach = t.ppf(0.975, told["n_items"].to_numpy() - 1)
    error = (told["high"] - told["low"]).to_numpy() / 2 / reach
    return pl.Series(np.abs(told["estimate"] - told["truth"]) / error)


def true_alignment(study: Study, many: int) -> pl.DataFrame:
    """What the evaluator's scores are beside the raters' over every narrative of the cases held out."""
    generator = np.random.default_rng(3)
    drawn = generator.integers(study.held.height, size=many)
    places = first_places(study.told)
    places = generator.choice(places[~np.isnan(places).any(1)], many)
    own = study.held.select(DIMENSIONS).to_numpy()[drawn]
    standardised = np.array([study.evaluator[name] for name in study.held["narrative_id"]])[drawn]
    return aligned_figures(own, panel_scores(places, PANEL, 4, standardised))


def test_figures_lie_where_they_truly_are_as_often_as_their_intervals_say(figures: pl.DataFrame) -> None:
    missed = figures.filter(~pl.col("held"))
    assert missed.height <= ALIKE * binom.ppf(0.999, figures.height // ALIKE, 0.05), missed
    sure = figures.filter(pl.col("n_items") >= 30)
    assert sure["errors_away"].max() < 4, sure.sort("errors_away").tail(3)  # type: ignore[operator]
    assert {"icc_2_1", "alpha_ordinal", "quadratic_kappa", "bias", "consensus_drift", "kappa"} <= set(sure["measure"])


def test_bias_and_drift_of_each_rater_are_found(study: Study, figures: pl.DataFrame) -> None:
    own = figures.filter((pl.col("dimension") == "mean") & pl.col("rater").is_not_null())
    for measure in ("bias", "consensus_drift"):
        told = own.filter(pl.col("measure") == measure)
        assert told["rater"].to_list() == list(study.raters)
        assert told["errors_away"].max() < 3.3, told  # type: ignore[operator]
    biases = own.filter(pl.col("measure") == "bias")
    assert biases["low"][0] > 0 and biases["high"][2] < 0
    if is_full(study):
        drifts = own.filter(pl.col("measure") == "consensus_drift")
        assert drifts["high"][1] < 0 < drifts["low"][2]


def certification(study: Study) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((study.release / "manifest.json").read_text())["certification"]
    return told


def test_what_is_published_of_agreement_are_the_textbook_figures(study: Study) -> None:
    """Alpha and the share of equal scores, counted anew from what raters said of the cases that stayed."""
    told = first_looks_that_count(study)
    published = {(row["dimension"], row["measure"]): row["estimate"] for row in certification(study)["agreement"]}
    _, values = scores_of(study, told)
    for dimension, of_raters in by_dimension(values):
        for metric in ("ordinal", "interval"):
            assert published[dimension, f"alpha_{metric}"] == pytest.approx(alpha(of_raters, metric), abs=1e-5)
    words = {"certify": 0.0, "revise": 1.0, "reject": 2.0, "cannot_judge": None}
    codes = told.with_columns(pl.col("decision").replace_strict(words, return_dtype=pl.Float64))
    table = codes.pivot("rater", index="narrative_id", values="decision").select(study.raters).to_numpy()
    assert published["decision", "alpha_nominal"] == pytest.approx(alpha(table, "nominal"), abs=1e-5)
    pairs = [(a, b) for row in table for a, b in combinations(row[~np.isnan(row)], 2)]
    share = sum(a == b for a, b in pairs) / len(pairs)
    assert published["decision", "exact_share"] == pytest.approx(share, abs=1e-5)


def test_what_is_published_of_the_evaluator_is_about_the_narratives_drawn_at_random(study: Study) -> None:
    drawn = first_looks_that_count(study).filter(pl.col("inclusion_probability").is_not_null())
    assert drawn["inclusion_probability"].n_unique() == 1  # so none counts more than another
    names, values = scores_of(study, drawn)
    own = pl.DataFrame({"narrative_id": names}).join(study.held, on="narrative_id", maintain_order="left")
    textbook = aligned_figures(own.select(DIMENSIONS).to_numpy(), values)
    for row in certification(study)["alignment"]:
        same = pl.col("dimension").eq(row["dimension"]) & pl.col("measure").eq(row["measure"])
        if row["estimate"] is not None:
            assert row["estimate"] == pytest.approx(textbook.filter(same)["truth"].item(), abs=1e-5)


def first_looks_that_count(study: Study) -> pl.DataFrame:
    gone = rules_by_hand.flagged(by_hand(study))
    return study.told.filter((pl.col("occasion") == "first") & ~pl.col("case_id").is_in(list(gone)))


def scores_of(study: Study, told: pl.DataFrame) -> tuple[list[str], Array]:
    """The narratives, and their scores: (narratives, raters, 6)."""
    wide = told.sort("narrative_id").pivot("rater", index="narrative_id", values=DIMENSIONS, separator="/")
    columns = [[f"{name}/{rater}" for rater in study.raters] for name in DIMENSIONS]
    return wide["narrative_id"].to_list(), np.stack(
        [wide.select(names).cast(pl.Float64).to_numpy() for names in columns], 2
    )


def test_planted_faults_that_were_certified_are_counted_exactly(study: Study, figures: pl.DataFrame) -> None:
    strewn = study.told.filter(pl.col("planted").is_not_null() & (pl.col("occasion") != "practice"))
    shown = strewn.filter(pl.col("decision") != "cannot_judge")
    fooled = shown.filter(pl.col("decision") == "certify")
    told = {"shown": shown.height, "certified": fooled.height}
    assert certification(study)["counts"]["planted"] == told
    assert fooled.height
    last = last_build(str(study.config.parent / "workspace"))
    assert last is not None
    assert last[1]["certify"].stats[FOOLED] == dict(fooled.group_by("rater").len().sort("rater").iter_rows())
    published = pl.read_parquet(study.release / "data/*/*.parquet", columns=["narrative_id"])["narrative_id"]
    assert not set(published) & set(strewn["narrative_id"])


def by_hand(study: Study) -> list[dict[str, Any]]:
    return [{**row, "flags": flags_of(row)} for row in study.told.iter_rows(named=True)]


def test_what_is_certified_is_what_the_rules_say(study: Study) -> None:
    told = by_hand(study)
    expected = rules_by_hand.certified(told)
    rows = pl.read_parquet(study.release / "data/certified/*.parquet").drop("images")
    assert dict(rows.select("case_id", "narrative_id").iter_rows()) == expected
    assert 0.2 < len(expected) / study.told.filter(pl.col("occasion") == "first")["case_id"].n_unique() < 0.7
    looks = rules_by_hand.first_looks(told)
    for row in rows.iter_rows(named=True):
        mine = looks[row["narrative_id"]]
        assert (row["n_raters"], row["simulated"]) == (len(mine), True)
        for name in DIMENSIONS:
            assert row[f"human_{name}"] == pytest.approx(rules_by_hand.mean(mine, name))
        assert row["human_overall"] == pytest.approx(rules_by_hand.overall(mine))
    gone = rules_by_hand.flagged(told)
    assert not gone.keys() & set(pl.read_parquet(study.release / "index.parquet")["case_id"])
    removed = Counter(f"flagged_{flag}" for flag in gone.values())
    assert certification(study)["counts"].get("removed", {}) == removed
    states = Counter(rules_by_hand.state(mine) for mine in looks.values() if mine[0]["case_id"] not in gone)
    counts = certification(study)["counts"]["state"]
    assert {name: counts.get(name, 0) for name in SETTLED} == {name: states[name] for name in SETTLED}


def test_the_release_says_that_its_raters_were_programs(study: Study) -> None:
    manifest = json.loads((study.release / "manifest.json").read_text())
    assert manifest["simulated"] is True
    card = (study.release / "README.md").read_text()
    assert "simulated: true" in card.split("---")[1]
    assert "No dermatologist certified" in card
    train = pl.read_parquet(study.release / "data/train/*.parquet", columns=["simulated"])
    assert not train["simulated"].any()


@pytest.mark.parametrize("study", [pytest.param("full", marks=pytest.mark.soak)], indirect=True)
def test_simulated_raters_certify_no_photograph_unless_that_is_allowed(study: Study, tmp_path: Path) -> None:
    real = [f"sources.{at}.synthetic=false" for at in range(3)]
    real += ["release.allow_text_only=true", f"certification.annotations={study.pulled}", f"releases={tmp_path}"]
    with pytest.raises(GateError, match=r"release\.counts\.simulated"):
        run_build(load_config(study.config, real), InProcess(), Quiet())
    assert not list(tmp_path.glob("dermcot-*"))
    allowed = load_config(study.config, [*real, "certification.allow_simulated=true"])
    outcome = run_build(allowed, InProcess(), Quiet())
    assert outcome.release.manifest["simulated"] is True
    rows = pl.read_parquet(Path(outcome.path(allowed)) / "data/certified/*.parquet", columns=["simulated"])
    assert rows.height and rows["simulated"].all()
