"""The main job on the drawn sample, whose truth is known."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from corpus.card import render_card
from corpus.filesystem import Folder
from corpus.releases import published_releases
from corpus.store import Store
from flows import publish
from flows.build import Outcome, finished_build, run_build
from flows.execute import InProcess, StepReport, shard_size
from flows.explain import explain
from flows.plan import Build, look
from flows.steps import STEPS
from quality import gates
from schemas.config import Config
from schemas.config_file import load_config
from schemas.errors import GateError, SourceError, StoreError
from schemas.intended_use import intended_use
from tests.conftest import Quiet, write_config

SOURCE_NAMES = {"ham10000": "ham10000", "pad_ufes_20": "pad", "fitzpatrick17k": "fitzpatrick17k"}


def build(config: Config) -> Outcome:
    return run_build(config, InProcess(), Quiet())


def release_folder(outcome: Outcome, config: Config) -> Path:
    return Path(outcome.path(config))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def states(outcome: Outcome) -> dict[str, str]:
    return {report.output.step: report.state for report in outcome.reports}


def report_of(outcome: Outcome, step: str) -> StepReport:
    return next(report for report in outcome.reports if report.output.step == step)


@pytest.fixture(scope="module")
def finished(drawn_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Outcome, Path]:
    """One finished build over the drawn sample; read only (copy it to go on)."""
    folder = tmp_path_factory.mktemp("finished")
    config = load_config(write_config(folder / "config.yaml", drawn_sample))
    return config, build(config), folder


@pytest.fixture
def copied(finished: tuple[Config, Outcome, Path], tmp_path: Path) -> Path:
    """A copy of the finished build's folder, free to change."""
    shutil.copytree(finished[2], tmp_path / "copy")
    return tmp_path / "copy"


def truth(sample: Path) -> list[dict[str, str]]:
    with (sample / "truth.csv").open() as file:
        return list(csv.DictReader(file))


def image_id(row: dict[str, str], prefix: str = "") -> str:
    return f"{SOURCE_NAMES[row[prefix + 'source']]}:{row[prefix + 'source_image_id']}"


def test_every_planted_defect_is_rejected_for_the_right_reason(
    finished: tuple[Config, Outcome, Path], drawn_sample: Path
) -> None:
    config, outcome, _ = finished
    rejections = pl.read_parquet(release_folder(outcome, config) / "rejections.parquet")
    found = set(rejections.select("record_id", "rule", "stage").rows())
    planted = truth(drawn_sample)
    assert len({row["kind"] for row in planted}) >= 15
    missing = [row for row in planted if (image_id(row), row["expected_rule"], row["expected_stage"]) not in found]
    assert missing == []


def test_every_planted_duplicate_is_found_and_no_cluster_is_false(
    finished: tuple[Config, Outcome, Path], drawn_sample: Path
) -> None:
    config, outcome, _ = finished
    store = Store(config.workspace)
    decisions = store.table(report_of(outcome, "deduplicate").output, "decisions")
    together = decisions.filter(pl.col("cluster_size") > 1).group_by("cluster_id").agg("image_id")
    clusters = {frozenset(members) for members in together["image_id"].to_list()}
    duplicates = [row for row in truth(drawn_sample) if row["original_source"] and row["kind"] != "duplicate_id"]
    pairs = {frozenset((image_id(row), image_id(row, "original_"))) for row in duplicates}
    assert len(pairs) >= 10
    assert clusters == pairs
    survivors = dict(decisions.filter("kept").select("cluster_id", "image_id").iter_rows())
    for row in duplicates:
        if row["kind"] != "conflicting_label":
            assert image_id(row) not in survivors.values()


def test_the_release_says_synthetic_and_holds_only_what_may_be_passed_on(
    finished: tuple[Config, Outcome, Path],
) -> None:
    config, outcome, _ = finished
    assert outcome.release.manifest["synthetic"] is True
    files = outcome.release.manifest["files"]
    assert {path.split("/")[1] for path in files if path.startswith("data/")} == {"train"}
    rows = pl.read_parquet(
        release_folder(outcome, config) / "data/train/*.parquet", columns=["synthetic", "licence_class"]
    )
    assert rows["synthetic"].all()
    assert set(rows["licence_class"]) <= {"open", "nc"}
    queue = pl.read_parquet(release_folder(outcome, config) / "queue.parquet")
    assert set(queue["split"]) <= {"certify_queue", "calibration"}
    assert "text" not in queue.columns
    assert "images" not in queue.columns


def test_every_column_of_a_row_speaks_of_the_same_case(finished: tuple[Config, Outcome, Path]) -> None:
    import hashlib

    from schemas.narrative import parse_sections, parse_tagged
    from schemas.taxonomy import load_taxonomy

    config, outcome, _ = finished
    store = Store(config.workspace)
    images = store.table(report_of(outcome, "ingest").output, "images")
    facts = {row["image_id"]: row for row in images.iter_rows(named=True)}
    cases = store.table(report_of(outcome, "ingest").output, "cases")
    labels = dict(cases.select("case_id", "raw_label").iter_rows())
    seen = 0
    for path in (release_folder(outcome, config) / "data/train").iterdir():
        for row in pl.read_parquet(path).iter_rows(named=True):
            seen += 1
            (image_id,), (image,) = row["image_ids"], row["images"]
            assert row["case_id"] == image_id
            assert row["file_paths"] == [facts[image_id]["file_path"]]
            assert (row["source"], row["attribution"]) == (facts[image_id]["source"], facts[image_id]["attribution"])
            assert row["raw_label"] == labels[row["case_id"]]
            assert hashlib.sha256(image["bytes"]).hexdigest() == row["image_digests"][0] == image["path"].split(".")[0]
            assert row["taxonomy_path"] == list(load_taxonomy().path(row["taxonomy_id"]))
            narrative = parse_sections(row["text"])
            assert narrative == parse_tagged(row["tagged_text"])
            assert list(narrative.context_used) == row["context"]
            assert narrative.conclusion.taxonomy_id in row["taxonomy_path"]
            assert row["tone_observations"] == facts[image_id]["tone_observations"]
            constructed = narrative.first_impression is not None
            assert (row["trajectory"] == "revised", row["synthetic_trajectory"]) == (constructed, constructed)
    assert seen == outcome.release.manifest["counts"]["rows"]


def test_images_whose_rights_are_unclear_are_counted_and_never_written(drawn_sample: Path, tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path / "c.yaml", drawn_sample), ["sources.2.licence=null"])
    outcome = build(config)
    manifest = outcome.release.manifest
    assert manifest["counts"]["not_redistributable"] > 0
    assert "fitzpatrick17k" not in manifest["counts"]["by_source"]
    rejections = pl.read_parquet(release_folder(outcome, config) / "rejections.parquet")
    refused = rejections.filter(pl.col("rule") == "no_redistribution")
    assert refused.height == manifest["counts"]["not_redistributable"]


def test_nothing_changed_nothing_done(finished: tuple[Config, Outcome, Path]) -> None:
    config, outcome, folder = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    again = finished_build(config)
    assert again is not None
    assert (again.release, again.is_new) == (outcome.release, False)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_one_threshold_changed_only_what_follows_runs(copied: Path) -> None:
    config = load_config(copied / "config.yaml", ["select.thresholds.clinical_coverage=2.75"])
    outcome = build(config)
    ran = {step for step, state in states(outcome).items() if state == "ran"}
    assert ran == {"select", "certify", "gate_release"}
    assert outcome.release.name == "dermcot-0.2.0"
    back = load_config(copied / "config.yaml")
    assert build(back).release.name == "dermcot-0.1.0"


def test_the_result_of_a_build_is_a_fixed_point_of_its_own_memory(
    copied: Path, finished: tuple[Config, Outcome, Path]
) -> None:
    """Steps that look at the latest release give the same again when that release is their own."""
    for step in ("deduplicate", "split", "select", "release"):
        shutil.rmtree(copied / "workspace/steps" / step)
    outcome = build(load_config(copied / "config.yaml"))
    assert states(outcome)["deduplicate"] == states(outcome)["split"] == states(outcome)["select"] == "ran"
    assert (outcome.release, outcome.is_new) == (finished[1].release, False)


def test_another_workspace_another_shard_size_same_bytes(
    finished: tuple[Config, Outcome, Path], drawn_sample: Path, tmp_path: Path
) -> None:
    config = load_config(write_config(tmp_path / "c.yaml", drawn_sample), ["execution.rows_per_shard=7"])
    outcome = build(config)
    assert tree(release_folder(outcome, config)) == tree(release_folder(finished[1], finished[0]))


def test_touched_files_are_read_again_and_change_nothing(
    finished: tuple[Config, Outcome, Path], drawn_sample: Path, tmp_path: Path
) -> None:
    sample = tmp_path / "sample"
    shutil.copytree(drawn_sample, sample)
    config = load_config(write_config(tmp_path / "c.yaml", sample))
    first = build(config)
    touched = sorted((sample / "HAM10000/HAM10000_images_part_1").glob("*.jpg"))[:3]
    for path in touched:
        path.touch()
    again = build(config)
    assert report_of(again, "fingerprint").made == 3
    assert states(again)["ingest"] == "reused"
    assert (again.release, again.is_new) == (first.release, False)


def test_added_images_are_the_only_ones_worked_on(drawn_sample: Path, tmp_path: Path) -> None:
    from corpus.sample.draw import add_images

    sample = tmp_path / "sample"
    shutil.copytree(drawn_sample, sample)
    config = load_config(write_config(tmp_path / "c.yaml", sample))
    first = build(config)
    add_images(sample, 4, seed=99)
    grown = build(config)
    assert grown.release.name == "dermcot-0.2.0"
    for step in ("fingerprint", "inspect", "propose"):
        assert report_of(grown, step).made == 4, step
    assert report_of(grown, "evaluate").made == 12
    old = pl.read_parquet(release_folder(first, config) / "index.parquet")
    new = pl.read_parquet(release_folder(grown, config) / "index.parquet")
    assert set(old["case_id"]) <= set(new["case_id"])
    assert old.join(new, on=["case_id", "split", "group_id"], how="anti").is_empty()


def test_shards_are_at_most_as_large_as_told_and_smaller_where_workers_would_be_idle() -> None:
    assert [shard_size(rows, 256, 4) for rows in (0, 1, 64, 130, 256, 300, 1024, 10_000)] == [
        1, 1, 64, 65, 64, 75, 256, 250]  # fmt: skip
    for rows in range(1, 600):
        size = shard_size(rows, 64, 3)
        assert 1 <= size <= 64
        assert -(-rows // size) >= min(3, rows // 16), "a worker is idle though it could have a quarter of a shard"


def test_rows_of_the_last_build_are_told_by_its_selection_and_not_read_again(
    drawn_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from corpus.sample.draw import add_images

    sample = tmp_path / "sample"
    shutil.copytree(drawn_sample, sample)
    config = load_config(write_config(tmp_path / "c.yaml", sample))
    build(config)
    add_images(sample, 4, seed=99)
    shutil.copytree(config.workspace, tmp_path / "forgetful")
    (tmp_path / "forgetful/build.json").unlink()
    read: list[tuple[str, int]] = []
    real = Store.read_rows

    def telling(store: Store, step: str, selection: pl.DataFrame, columns: list[str] | None = None) -> pl.DataFrame:
        if columns is not None and "row_digest" in columns:
            read.append((step, selection.height))
        return real(store, step, selection, columns)

    monkeypatch.setattr(Store, "read_rows", telling)
    grown = build(config)
    asked = dict(read)
    assert (asked["inspect"], asked["propose"], asked["standardise"], asked["evaluate"]) == (4, 4, 12, 12)
    read.clear()
    forgetful = build(config.model_copy(update={"workspace": str(tmp_path / "forgetful")}))
    assert dict(read)["evaluate"] > 100
    for step in ("fingerprint", "inspect", "propose", "standardise", "evaluate"):
        mine, theirs = (
            Store(place).table(report_of(outcome, step).output, "selection")
            for place, outcome in ((config.workspace, grown), (tmp_path / "forgetful", forgetful))
        )
        assert mine.equals(theirs), step


def test_limit_takes_from_every_source(drawn_sample: Path, config_for: Callable[..., Config]) -> None:
    config = config_for(drawn_sample, limit=30)
    build_ = Build(config, Store(config.workspace))
    outcome = run_build(config.model_copy(update={"gate": config.gate}), InProcess(), Quiet())
    records = build_.store.table(report_of(outcome, "read").output, "records")
    assert records.height == 30
    assert set(records["source"]) == {"ham10000", "pad", "fitzpatrick17k"}


def test_a_dry_run_says_what_would_run_and_writes_nothing(copied: Path) -> None:
    before = {path for path in copied.rglob("*") if path.is_file()}
    config = load_config(copied / "config.yaml", ["propose.candidates=2"])
    looks = {step.step: step for step in look(STEPS, Build(config, Store(config.workspace)))}
    assert looks["inspect"].state == looks["split"].state == "reused"
    assert looks["propose"].state == "runs"
    assert looks["propose"].detail.endswith(" 0 reused")
    assert looks["evaluate"].state == looks["select"].state == "waits"
    assert {path for path in copied.rglob("*") if path.is_file()} == before


def test_a_blocked_gate_leaves_no_release_and_says_what_to_do(
    drawn_sample: Path, config_for: Callable[..., Config]
) -> None:
    config = config_for(drawn_sample, "gate.min_train_rows=100000")
    for _ in range(2):  # the second time the stored report refuses again
        with pytest.raises(GateError, match="gate failed"):
            build(config)
    assert not list(Path(config.releases).glob("dermcot-*")) if Path(config.releases).exists() else True
    assert finished_build(config) is None


def test_what_a_gate_found_is_told_before_a_mistake_met_after_it(
    drawn_sample: Path, config_for: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(build: Build) -> Any:
        raise SourceError("nothing can be split")

    steps = tuple(replace(step, run=refuse) if step.name == "split" else step for step in STEPS)
    monkeypatch.setattr("flows.build.STEPS", steps)
    config = config_for(drawn_sample, "gate.max_rejected_share=0.001")
    with pytest.raises(GateError, match="ingest gate"):
        build(config)
    with pytest.raises(SourceError, match="nothing can be split"):
        build(config_for(drawn_sample))


def test_a_release_loads_in_a_plain_environment_from_another_folder(
    finished: tuple[Config, Outcome, Path], trainer_python: Path, tmp_path: Path
) -> None:
    code = (
        "import json, sys\n"
        "from datasets import load_dataset\n"
        "for name in (None, 'nc'):\n"
        "    data = load_dataset(sys.argv[1], name, split='train', cache_dir=sys.argv[2])\n"
        "    row = data[0]\n"
        "    print(json.dumps([len(data), row['images'][0].size, row['images'][0].mode, row['text'][:10],\n"
        "        row['tagged_text'][:7], row['safety'], row['licence_class'], row['context'], row['synthetic']]))\n"
        "try:\n"
        "    import schemas\n"
        "except ModuleNotFoundError:\n"
        "    print('none of our code')\n"
    )
    config, outcome, _ = finished
    done = subprocess.run(
        [trainer_python, "-c", code, outcome.path(config), str(tmp_path / "cache")], cwd=tmp_path, text=True,
        capture_output=True, env={"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *rows, last = done.stdout.splitlines()
    assert last == "none of our code"
    counts = outcome.release.manifest["counts"]["by_licence_class"]
    for line, licence_class in zip(rows, ("open", "nc"), strict=True):
        n, size, mode, text, tagged, safety, loaded_class, context, synthetic = json.loads(line)
        assert (n, loaded_class, synthetic) == (counts[licence_class], licence_class, True)
        assert min(size) >= 200
        assert mode == "RGB"
        assert text == "## Context"
        assert tagged == "<think>"
        assert 0 <= safety <= 5
        assert context


def test_drawn_and_real_images_never_share_a_history(copied: Path) -> None:
    real = ["sources.0.synthetic=false", "sources.1.synthetic=false", "sources.2.synthetic=false"]
    config = load_config(copied / "config.yaml", real)
    with pytest.raises(StoreError, match="holds releases of drawn images and this build is of real ones"):
        build(config)


def test_workspace_and_releases_on_object_storage_give_the_same_bytes(
    finished: tuple[Config, Outcome, Path], drawn_sample: Path, tmp_path: Path, s3_bucket: str
) -> None:
    from corpus.filesystem import Folder

    file = write_config(
        tmp_path / "c.yaml", drawn_sample, workspace=f"{s3_bucket}/workspace", releases=f"{s3_bucket}/releases"
    )
    outcome = build(load_config(file))
    remote = Folder(f"{s3_bucket}/releases/{outcome.release.name}")
    expected = tree(release_folder(finished[1], finished[0]))
    assert {name: remote.read(name) for name in expected} == expected
    assert finished_build(load_config(file)) is not None


def test_training_rows_that_never_saw_their_image_are_refused_unless_allowed(
    finished: tuple[Config, Outcome, Path], drawn_sample: Path, tmp_path: Path
) -> None:
    config = load_config(write_config(tmp_path / "c.yaml", drawn_sample), ["release.allow_text_only=false"])
    with pytest.raises(GateError, match=r"release\.counts\.text_only\); propose with a teacher that looks at images"):
        build(config)
    assert not list(tmp_path.glob("releases/dermcot-*"))
    manifest = finished[1].release.manifest
    assert manifest["counts"]["text_only"] == manifest["counts"]["rows"] > 0
    card = (release_folder(finished[1], finished[0]) / "README.md").read_text()
    assert f"{manifest['counts']['rows']:,} of the rows carry a narrative whose author did not see the image" in card


@pytest.mark.parametrize("document", ["README.md", "manifest.json"])
def test_a_release_that_does_not_say_what_it_is_for_is_refused(
    document: str, drawn_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def softened(version: str, manifest: Mapping[str, Any], rows: pl.DataFrame) -> str:
        return render_card(version, {**manifest, "intended_use": "Good for the clinic."}, rows)

    if document == "README.md":
        monkeypatch.setattr(publish, "render_card", softened)
    else:
        monkeypatch.setattr(publish, "intended_use", lambda: "Good for the clinic.")
        monkeypatch.setattr(publish, "render_card", lambda version, manifest, rows: intended_use())
    with pytest.raises(GateError, match=f"{document} of the release lacks the statement of intended use"):
        build(load_config(write_config(tmp_path / "c.yaml", drawn_sample)))
    assert published_releases(Folder(tmp_path / "releases")) == []
    assert not list(tmp_path.glob("releases/dermcot-*"))


def test_a_reworded_statement_of_intended_use_is_published_anew(
    drawn_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(write_config(tmp_path / "c.yaml", drawn_sample))
    first = build(config)
    for module in (publish, gates):
        monkeypatch.setattr(module, "intended_use", lambda: "Only for research, in other words.")
    assert finished_build(config) is None
    second = build(config)
    assert (second.is_new, second.release.name) == (True, "dermcot-0.2.0")
    assert "in other words" in (release_folder(second, config) / "README.md").read_text()
    assert first.release.name == "dermcot-0.1.0"


def test_the_card_declares_how_candidates_were_chosen(finished: tuple[Config, Outcome, Path]) -> None:
    config, outcome, _ = finished
    card = (release_folder(outcome, config) / "README.md").read_text().split("## Selection")[1].split("\n## ")[0]
    assert f"Up to {config.propose.candidates} candidates" in card
    assert "the mean of the six dimensions" in card
    for name, least in config.select.thresholds.model_dump().items():
        assert f"| {name} | {least} |" in card


def test_every_kind_of_trajectory_is_published_and_counted(finished: tuple[Config, Outcome, Path]) -> None:
    config, outcome, _ = finished
    folder, counts = release_folder(outcome, config), outcome.release.manifest["counts"]
    rows = pl.read_parquet(folder / "data/train/*.parquet", columns=["trajectory", "synthetic_trajectory"])
    assert counts["by_trajectory"] == dict(rows["trajectory"].value_counts().sort("trajectory").iter_rows())
    assert min(counts["by_trajectory"][kind] for kind in config.propose.trajectories) > 0.2 * rows.height
    assert counts["synthetic_trajectories"] == rows["synthetic_trajectory"].sum() == counts["by_trajectory"]["revised"]
    card = (folder / "README.md").read_text()
    for kind, n in counts["by_trajectory"].items():
        assert f"| {kind} | {n} |" in card
    assert f"{counts['synthetic_trajectories']:,} of {counts['rows']:,} rows are so marked" in card
    assert "of the kinds direct, kept, revised in turn" in card


def test_only_the_kinds_that_are_asked_for_are_written(copied: Path) -> None:
    config = load_config(copied / "config.yaml", ["propose.trajectories=[kept, direct]"])
    outcome = build(config)
    counts = outcome.release.manifest["counts"]
    assert (set(counts["by_trajectory"]), counts["synthetic_trajectories"]) == ({"direct", "kept"}, 0)


def test_card_and_manifest_carry_the_statement_of_intended_use(finished: tuple[Config, Outcome, Path]) -> None:
    config, outcome, _ = finished
    folder = release_folder(outcome, config)
    assert intended_use() in (folder / "README.md").read_text()
    assert outcome.release.manifest["intended_use"] == intended_use()
    for word in ("not a medical device", "not medical advice", "research", "machines", "certified"):
        assert word in intended_use()


def test_the_certification_queue_is_published_as_ids_and_explained(finished: tuple[Config, Outcome, Path]) -> None:
    config, outcome, _ = finished
    folder = release_folder(outcome, config)
    queue = pl.read_parquet(folder / "certification.parquet")
    held = pl.read_parquet(folder / "queue.parquet").filter(pl.col("split") == "certify_queue")
    assert set(queue.filter("stratified")["narrative_id"]) == set(held["narrative_id"])
    assert set(queue["case_id"]) <= set(held["case_id"])
    counted = outcome.release.manifest["counts"]["to_certify"]
    assert counted == {name: int(queue[name].sum()) for name in ("stratified", "random")}
    row = queue.sort("random", "narrative_id", descending=[True, False]).row(0, named=True)  # chance may draw none
    console = Console(width=1000, file=io.StringIO())
    console.print(explain(config.workspace, row["narrative_id"]))
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert not row["random"] or f"drawn at random, chance {row['random_probability']:.3f}" in told
    assert not row["stratified"] or f"stratum {row['stratum']}" in told
