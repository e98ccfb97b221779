"""From raters' answers to a release: certified rows, removed cases, corrections, and what is told of them."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from corpus.certified import HUMAN, outcomes
from corpus.store import Store
from flows import certify_steps, image_steps
from flows.build import Outcome, finished_build, last_build, run_build
from flows.execute import InProcess
from flows.explain import explain
from flows.report import rater_warnings
from schemas.config import Config
from schemas.config_file import load_config
from schemas.errors import GateError
from schemas.narrative import narrative_from_json, narrative_to_json
from schemas.tables import DIMENSIONS
from tests.conftest import Quiet, write_config
from tests.corpus.answers import answer, snapshot

Row = dict[str, Any]
RATERS = ("rater-anna", "rater-bert", "rater-cora")


def build(folder: Path, rows: list[Row] | None = None, *overrides: str) -> tuple[Outcome, Config, Path]:
    """Build in a folder, counting these answers; the outcome, the configuration and the release's directory."""
    given = list(overrides)
    if rows is not None:
        snapshot(*rows).write_parquet(folder / "answers.parquet")
        given.append(f"certification.annotations={folder / 'answers.parquet'}")
    config = load_config(folder / "config.yaml", given)
    outcome = run_build(config, InProcess(), Quiet())
    return outcome, config, Path(outcome.path(config))


def ran(outcome: Outcome) -> set[str]:
    return {report.output.step for report in outcome.reports if report.state == "ran"}


def table(folder: Path, step: str, name: str) -> pl.DataFrame:
    found = last_build(str(folder / "workspace"))
    assert found is not None
    store, outputs, _ = found
    return store.table(outputs[step], name)


def story(folder: Path, identifier: str) -> str:
    console = Console(width=2000, file=io.StringIO())
    console.print(explain(str(folder / "workspace"), identifier))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def plain(drawn_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished build without answers; read only."""
    folder = tmp_path_factory.mktemp("plain")
    write_config(folder / "config.yaml", drawn_sample)
    build(folder)
    return folder


class World:
    """A copy of the build without answers, and ids of it to answer about."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        release = folder / "releases/dermcot-0.1.0"
        queue = pl.read_parquet(release / "certification.parquet").filter("stratified").sort("case_id")
        self.held = queue.select("narrative_id", "case_id").rows()
        train = pl.read_parquet(release / "data/train/open-*.parquet", columns=["narrative_id", "case_id", "image_ids"])
        self.trained = train.sort("case_id").rows()

    def answer(self, at: int, rater: int, decision: str = "certify", score: float | None = 5.0, **changes: Any) -> Row:
        """A simulated rater's answer about the ``at``-th held-out narrative."""
        narrative, case = self.held[at]
        told = {"case_id": case, "rater_kind": "simulated", **changes}
        return answer(narrative, RATERS[rater], decision, score, **told)

    def shown(self, narrative_id: str) -> str:
        """The JSON of a standardised narrative."""
        store = Store(self.folder / "workspace")
        places = table(self.folder, "standardise", "selection").filter(pl.col("narrative_id") == narrative_id)
        return str(store.read_rows("standardise", places, ["narrative_json"])["narrative_json"][0])

    def revision(self, at: int, rater: int) -> Row:
        """An answer that corrects the narrative by one limitation more."""
        shown = self.shown(self.held[at][0])
        narrative = narrative_from_json(shown)
        more = (*narrative.limitations, "Dermoscopy was not available to whoever wrote this.")
        corrected = narrative_to_json(narrative.model_copy(update={"limitations": more}))
        return self.answer(at, rater, "revise", 3.0, corrected=corrected, pre_edit=shown)

    def answers(self) -> list[Row]:
        """0 certified, 1 rejected, 2 corrected and in dispute; a training case flagged; a planted fault certified."""
        narrative, case, _ = self.trained[0]
        flags = answer(narrative, RATERS[0], "reject", 1.0, case_id=case, rater_kind="simulated", flags=["wrong_label"])
        gold = answer("planted-1", RATERS[1], occasion="gold", planted="wrong site", rater_kind="simulated")
        return [
            self.answer(0, 0), self.answer(0, 1, score=4.0), self.answer(1, 0), self.answer(1, 1, "reject", 1.0),
            self.revision(2, 0), self.answer(2, 1), flags, gold, self.answer(3, 0, occasion="practice"),
        ]  # fmt: skip


@pytest.fixture
def world(plain: Path, tmp_path: Path) -> World:
    shutil.copytree(plain, tmp_path / "world")
    return World(tmp_path / "world")


def test_certified_cases_are_a_split_of_their_own_with_the_scores_of_raters(world: World) -> None:
    outcome, _, release = build(world.folder, world.answers())
    assert outcome.release.name == "dermcot-0.2.0"
    rows = pl.read_parquet(release / "data/certified/*.parquet")
    [row] = rows.drop("images").to_dicts()
    assert (row["narrative_id"], row["case_id"]) == world.held[0]
    assert [row[name] for name in (*HUMAN, "human_overall")] == [4.5] * 7
    assert (row["n_raters"], row["simulated"], row["author_kind"]) == (2, True, "teacher")
    assert all(0 <= row[name] <= 5 for name in DIMENSIONS)
    assert not {name for name in rows.columns if name.endswith(("_at", "_date")) or name.startswith("rater")}
    train = pl.read_parquet(release / "data/train/*.parquet", columns=["case_id", "group_id", "simulated", *HUMAN])
    assert row["case_id"] not in set(train["case_id"]) and row["group_id"] not in set(train["group_id"])
    assert not train["simulated"].any() and train.select(pl.all_horizontal(pl.col(HUMAN).is_null())).to_series().all()
    assert outcome.release.manifest["counts"]["by_split"] == {"certified": 1, "train": train.height}
    ledger = pl.read_parquet(release / "splits.parquet").filter(pl.col("split") == "certified")
    assert ledger.select("since", "reason").rows() == [("0.2.0", "certified")]
    queue = pl.read_parquet(release / "queue.parquet")
    assert row["case_id"] not in set(queue["case_id"])


def test_a_flagged_case_leaves_train_for_good_and_says_why(world: World) -> None:
    _, case, images = world.trained[0]
    outcome, _, release = build(world.folder, world.answers())
    assert case not in set(pl.read_parquet(release / "data/train/*.parquet", columns=["case_id"])["case_id"])
    rejected = pl.read_parquet(release / "rejections.parquet").filter(pl.col("record_id") == case)
    assert rejected.select("record_kind", "stage", "rule").rows() == [
        (kind, "split", "flagged_wrong_label") for kind in ("case", "image")]  # fmt: skip
    last = pl.read_parquet(release / "splits.parquet").filter(pl.col("members").list.contains(images[0])).row(-1)
    assert last[1:4] == ("withdrawn", "0.2.0", "flagged_wrong_label")
    assert "flagged_wrong_label" in story(world.folder, case)
    assert outcome.release.manifest["certification"]["counts"]["removed"] == {"flagged_wrong_label": 1}
    _, _, after = build(world.folder)  # without any answers
    assert case not in set(pl.read_parquet(after / "index.parquet")["case_id"])


def test_a_correction_is_certified_only_when_another_rater_scored_that_very_text(world: World) -> None:
    answers = world.answers()
    _, _, release = build(world.folder, answers)
    [correction] = table(world.folder, "correct", "narratives").to_dicts()
    name = correction["narrative_id"]
    waiting = pl.read_parquet(release / "certification.parquet").filter(pl.col("narrative_id") == name)
    assert waiting.select("correction", "stratified", "random", "random_probability").rows() == [
        (True, False, False, None)]  # fmt: skip
    told = {"case_id": correction["case_id"], "rater_kind": "simulated"}
    own = answer(name, RATERS[0], **told)
    _, _, still = build(world.folder, [*answers, own])
    assert correction["case_id"] not in set(pl.read_parquet(still / "index.parquet")["case_id"])
    _, _, after = build(world.folder, [*answers, own, answer(name, RATERS[1], score=4.0, **told)])
    rows = pl.read_parquet(after / "data/certified/*.parquet").filter(pl.col("case_id") == correction["case_id"])
    [row] = rows.drop("images").to_dicts()
    assert (row["narrative_id"], row["parent_narrative_id"]) == (name, world.held[2][0])
    assert (row["author_kind"], row["author"], row["n_raters"]) == ("rater", "simulated rater", 1)
    assert row["human_overall"] == 4.0 and row["overall"] > 0
    assert "Dermoscopy was not available" in row["text"]
    assert name not in set(pl.read_parquet(after / "certification.parquet")["narrative_id"])


def test_the_queue_asks_for_nothing_that_is_decided(world: World) -> None:
    _, _, release = build(world.folder, world.answers())
    queue = pl.read_parquet(release / "certification.parquet")
    left = set(queue["narrative_id"])
    assert world.held[0][0] not in left and world.held[1][0] not in left
    assert {world.held[2][0], world.held[3][0]} & left == {world.held[2][0]}
    assert queue.filter((pl.col("case_id") == world.held[0][1]) & ~pl.col("random")).is_empty()


def test_card_manifest_and_report_tell_states_and_agreement_and_name_nobody(world: World) -> None:
    outcome, _, release = build(world.folder, world.answers())
    told = outcome.release.manifest["certification"]
    once = ["certified", "needs_adjudication", "needs_more_raters", "not_a_candidate", "rejected"]
    assert told["counts"]["state"] == dict.fromkeys(once, 1)
    assert (told["counts"]["corrections"], told["counts"]["planted"]) == (
        {"narratives": 1},
        {"shown": 1, "certified": 1},
    )
    measures = {(row["dimension"], row["measure"]) for row in told["agreement"]}
    assert {(name, measure) for name in (*DIMENSIONS, "mean") for measure in ("icc_2_1", "alpha_interval")} <= measures
    assert ("decision", "alpha_nominal") in measures
    assert {row["dimension"] for row in told["alignment"]} == {*DIMENSIONS, "mean"}
    assert outcome.release.manifest["simulated"] is True
    card, report = (release / "README.md").read_text(), (release / "report.html").read_text()
    assert "simulated: true" in card.split("---")[1] and "simulated: true" in card.split("---", 2)[2]
    assert "| certified | 1 |" in card and "ICC(2,1)" in card and "Spearman" in card
    assert "split: certified" in card.split("---")[1]
    assert "Certification by dermatologists" in report and "Krippendorff" in report and "simulated: true" in report
    for file in release.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            frame = pl.read_parquet(file).drop("images", "picture", strict=False) if file.suffix == ".parquet" else None
            text = data.decode() if frame is None else frame.write_ndjson()
            assert not any(rater in text for rater in RATERS), file


def test_a_rater_who_certified_a_planted_fault_is_reported_in_the_workspace_only(world: World) -> None:
    narrative, case, _ = world.trained[1]
    told = {"occasion": "practice", "planted": "wrong_site", "rater_kind": "simulated", "case_id": case}
    practice = [answer(narrative, rater, **told) for rater in RATERS]
    outcome, _, release = build(world.folder, [*world.answers(), *practice])
    [certify] = [report.output for report in outcome.reports if report.output.step == "certify"]
    assert certify.stats["planted faults certified, by rater"] == {RATERS[1]: 1}
    trained = pl.read_parquet(release / "data/train/*.parquet", columns=["narrative_id"])["narrative_id"]
    assert narrative in trained.to_list()  # others practised on it with a fault; as it was written it may go out
    [line] = rater_warnings(outcome.reports)
    assert f"{RATERS[1]} certified 1 narrative with a planted fault" in line
    runs = [json.loads(path.read_text()) for path in (world.folder / "workspace/runs").glob("*/run.json")]
    told = [step["found"] for run in runs for step in run["steps"] if step["step"] == "certify"]
    assert {"planted faults certified, by rater": {RATERS[1]: 1}} in told


def test_explain_counts_decisions_and_names_nobody(world: World) -> None:
    build(world.folder, world.answers())
    certified, rejected, disputed = (story(world.folder, world.held[at][1]) for at in (0, 1, 2))
    assert (
        "certification: certified; 2 raters counted (2 certify, 0 revise, 0 reject); mean scores accuracy 4.50"
        in certified
    )
    assert f"certified by its narrative {world.held[0][0]}" in certified
    assert (
        "certification: rejected; 1 of 2 raters reject it; 2 raters counted (1 certify, 0 revise, 1 reject)" in rejected
    )
    assert "certification: needs adjudication" in disputed and f"corrects narrative {world.held[2][0]}" in disputed
    assert "waits for certification: corrected by a rater" in disputed
    assert not any(rater in certified + rejected + disputed for rater in RATERS)


def test_the_same_answers_do_nothing_again_and_give_the_same_bytes_elsewhere(
    world: World, plain: Path, tmp_path: Path
) -> None:
    answers = world.answers()
    outcome, config, release = build(world.folder, answers)
    assert ran(outcome) >= {"annotations", "split", "correct", "certify", "gate_release"}
    assert ran(outcome).isdisjoint({"ingest", "inspect", "deduplicate", "decontaminate"})
    made = {report.output.step: report.made for report in outcome.reports}
    assert (made["propose"], made["standardise"], made["evaluate"]) == (0, 1, 1)
    before = {path: path.stat().st_mtime_ns for path in world.folder.rglob("*") if path.is_file()}
    again = finished_build(config)
    assert again is not None and again.release == outcome.release
    assert {path: path.stat().st_mtime_ns for path in world.folder.rglob("*") if path.is_file()} == before
    shutil.copytree(plain, tmp_path / "other")
    turned = [{**row, "task_id": row["task_id"]} for row in reversed(answers)]
    _, _, other = build(tmp_path / "other", turned, "execution.rows_per_shard=7")
    ours, theirs = (
        {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        for folder in (release, other)
    )
    assert ours == theirs


def test_the_result_is_a_fixed_point_of_its_own_memory(world: World) -> None:
    outcome, _, _ = build(world.folder, world.answers())
    for step in ("deduplicate", "split", "select", "certify", "release"):
        shutil.rmtree(world.folder / "workspace/steps" / step)
    again, _, _ = build(world.folder, world.answers())
    assert {"split", "certify"} <= ran(again)
    assert (again.release, again.is_new) == (outcome.release, False)


def test_a_stricter_rule_takes_a_case_back_into_the_queue_and_never_into_training(world: World) -> None:
    build(world.folder, world.answers())
    outcome, _, release = build(world.folder, world.answers(), "certification.thresholds.safety=4.75")
    assert ran(outcome) == {"annotations", "certify", "gate_release"}
    held = pl.read_parquet(release / "queue.parquet")
    case = world.held[0][1]
    assert held.filter(pl.col("case_id") == case)["split"].to_list() == ["certify_queue"]
    assert case not in set(pl.read_parquet(release / "index.parquet")["case_id"])


@pytest.mark.parametrize("simulated", [True, False])
def test_simulated_raters_are_refused_for_photographs_unless_it_is_said(
    simulated: bool, drawn_sample: Path, tmp_path: Path
) -> None:
    write_config(tmp_path / "config.yaml", drawn_sample)
    real = [f"sources.{at}.synthetic=false" for at in range(3)] + ["release.allow_text_only=true"]
    build(tmp_path, None, *real)
    world = World(tmp_path)
    answers = [world.answer(0, at, rater_kind="simulated" if simulated else "human") for at in (0, 1)]
    if not simulated:
        outcome, _, _ = build(tmp_path, answers, *real)
        assert outcome.release.manifest["simulated"] is False
        card = Path(outcome.path(load_config(tmp_path / "config.yaml"))) / "README.md"
        assert "simulated: true" not in card.read_text()
        return
    with pytest.raises(GateError, match=r"release\.counts\.simulated\); name a snapshot of human answers"):
        build(tmp_path, answers, *real)
    outcome, _, release = build(tmp_path, answers, *real, "certification.allow_simulated=true")
    assert outcome.release.manifest["simulated"] is True
    assert pl.read_parquet(release / "data/certified/*.parquet", columns=["simulated"])["simulated"].all()


def test_the_certified_split_loads_in_a_plain_environment(
    world: World, trainer_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import json, sys\n"
        "from datasets import load_dataset\n"
        "data = load_dataset(sys.argv[1], split='certified', cache_dir=sys.argv[2])\n"
        "row = data[0]\n"
        "print(json.dumps([len(data), row['images'][0].mode, row['human_safety'], row['n_raters'], row['simulated'],\n"
        "    row['safety'], load_dataset(sys.argv[1], split='train', cache_dir=sys.argv[2])[0]['human_safety']]))\n"
    )
    open_cases = pl.read_parquet(world.folder / "releases/dermcot-0.1.0/queue.parquet").filter(
        pl.col("licence_class") == "open"
    )["case_id"].to_list()  # fmt: skip
    at = next(at for at, (_, case) in enumerate(world.held) if case in open_cases)
    _, _, release = build(world.folder, [world.answer(at, 0), world.answer(at, 1, score=4.0)])
    done = subprocess.run(
        [trainer_python, "-c", code, str(release), str(tmp_path / "cache")], cwd=tmp_path, text=True,
        capture_output=True, env={"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    n, mode, human, raters, simulated, safety, of_train = json.loads(done.stdout)
    assert (n, mode, human, raters, simulated, of_train) == (1, "RGB", 4.5, 2, True, None)
    assert 0 <= safety <= 5


def _all_certified(*given: Any) -> pl.DataFrame:
    found = outcomes(*given)
    return found.with_columns(pl.lit("certified").alias("state"))


@pytest.mark.parametrize(
    ("name", "broken", "code"),
    [
        ("outcomes", _all_certified, "release.rows.raters"),
        ("planted_ids", lambda snapshot: [], "release.rows.planted"),
        ("flagged", lambda build: {}, "release.rows.flagged"),
    ],
)
def test_a_gate_counts_the_answers_anew_and_refuses_what_must_not_go_out(
    name: str, broken: Any, code: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certification that lets everything through is stopped at the gate."""
    module = image_steps if name == "flagged" else certify_steps
    monkeypatch.setattr(module, name, broken)
    narrative, case, _ = world.trained[1]
    planted = answer(narrative, RATERS[0], occasion="gold", planted="wrong site", rater_kind="simulated", case_id=case)
    flags = world.answers()[6]
    rows = {"outcomes": [world.answer(0, 0)], "planted_ids": [planted], "flagged": [flags]}[name]
    with pytest.raises(GateError, match=code.replace(".", r"\.")):
        build(world.folder, rows)
    assert [path.name for path in (world.folder / "releases").glob("dermcot-*")] == ["dermcot-0.1.0"]


def test_a_training_row_into_which_a_fault_was_planted_is_left_out(world: World) -> None:
    narrative, case, _ = world.trained[1]
    planted = answer(narrative, RATERS[0], occasion="gold", planted="wrong site", rater_kind="simulated", case_id=case)
    _, _, release = build(world.folder, [planted])
    assert case not in set(pl.read_parquet(release / "index.parquet")["case_id"])
    rejected = pl.read_parquet(release / "rejections.parquet").filter(pl.col("record_id") == case)
    assert rejected.select("stage", "rule", "value").rows() == [("certify", "planted_fault", narrative)]
