"""A release some of whose authors were not told the diagnosis: what its report, card, gate and ledger say of them.

A chat server answers by a plan for each image, so that the test knows what every candidate came to.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from annotators.engines.protocol import Message, Request, Sampling
from annotators.vlm.grounding import grounding
from corpus.packs import read_payloads
from corpus.store import Store
from flows.build import Outcome, begin_build, run_build
from flows.execute import InProcess, execute
from flows.explain import explain
from flows.html_report import published_report
from flows.plan import Build
from flows.report import counts_table, step_counts
from flows.steps import STEPS
from schemas.config import Config
from schemas.config_file import load_config
from schemas.errors import ConfigError, GateError
from schemas.family_cards import knowledge
from schemas.taxonomy import load_taxonomy
from schemas.tone import TONE_GROUPS, tone_group
from tests.annotators.vlm.chat_server import chat_server, honest
from tests.annotators.vlm.scripted import good_narrative, good_observation, good_rationale
from tests.conftest import Quiet, write_config
from tests.flows.test_report_browser import browser, show

__all__ = ["browser"]
REFUSAL = "I'm sorry, but I can't assist with medical images. [/INST]"  # a terminal's markup, were it not escaped
#: What a blind author comes to, by case. ``late``: the diagnosis, after a wrong one; ``alone``: the diagnosis, where
#: the grounded author refuses.
PLANS = ("right", "wrong", "late", "refuses", "alone")


@dataclass(frozen=True)
class Patient:
    """What the test knows of a case: the plan for its blind candidate, and a right and a wrong rationale."""

    case_id: str
    split: str
    tone: str
    plan: str
    right: str
    wrong: str


@dataclass(frozen=True)
class World:
    config: Config
    outcome: Outcome
    build: Build
    release: Path
    patients: list[Patient]
    report: str

    def trained(self, *plans: str) -> list[Patient]:
        return [p for p in self.patients if p.split == "train" and p.plan in plans]

    def told(self) -> str:
        """The section of the report as words."""
        section = self.report[self.report.index('id="blind"') : self.report.index('id="certification"')]
        return " ".join(pl.Series([section]).str.replace_all("<[^>]*>", " ")[0].split())


def config_of(folder: Path, sample: Path, url: str, *overrides: str) -> Config:
    http = {"endpoints": [{"url": url}], "max_attempts": 2, "backoff_seconds": 0.01, "patience_seconds": 1}
    vlm = {"http": http, "model": "m", "terms": "CC0-1.0", "blind_share": 0.5, "attempts": 2}
    propose = {"teacher": "vlm", "candidates": 2, "vlm": vlm}
    return load_config(write_config(folder / "config.yaml", sample, propose=propose), overrides)


@pytest.fixture(scope="module")
def world(drawn_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("blind")
    patients: dict[str, Patient] = {}
    tries: Counter[str] = Counter()

    def answer(step: str, image: str, body: dict[str, Any]) -> str:
        if step == "observe":
            return json.dumps(good_observation())
        said = json.dumps(body["messages"])
        if step == "write":
            schema = body["response_format"]["json_schema"]["schema"]
            request = Request("m", "r", (Message("user", (_words(body),)),), Sampling(), schema)
            extra = ["ulcer"] if "twice as much" in said else []
            return json.dumps(good_narrative(request, concepts=["papule", *extra]))
        patient, nth = patients[image], tries[image]
        if "The diagnosis: " in said:
            more = "\ntwice as much" * (int(image[:2], 16) % 3 == 0)
            return REFUSAL if patient.plan == "alone" else honest(step, image, body) + more
        tries[image] += 1
        if patient.plan == "refuses":
            return REFUSAL
        wrong = patient.plan == "wrong" or (patient.plan == "late" and nth == 0)
        return f"image: {image[:8]}\n{patient.wrong if wrong else patient.right}"

    with chat_server(answer) as server:
        config = config_of(folder, drawn_sample, server.url)
        patients |= _patients(config)
        outcome = run_build(config, InProcess(), Quiet())
        outputs = {report.output.step: report.output for report in outcome.reports}
        release = Path(outcome.path(config))
        done = Build(config, Store(config.workspace), outputs)
        yield World(config, outcome, done, release, list(patients.values()), (release / "report.html").read_text())


def _words(body: dict[str, Any]) -> str:
    parts = [message["content"] for message in body["messages"]]
    return "\n".join(part if isinstance(part, str) else "\n".join(p.get("text", "") for p in part) for part in parts)


def _patients(config: Config) -> dict[str, Patient]:
    """Digest of the image as it is sent -> what the test knows of the case."""
    taxonomy, cards = load_taxonomy(), sorted(knowledge())
    before = STEPS[: next(at for at, step in enumerate(STEPS) if step.name == "propose")]
    with begin_build(Build(config, Store(config.workspace))) as begun:
        execute(before, begun.build, InProcess(), Quiet(), begun.reports, lambda: None)
        cases = begun.build.table("split", "cases").sort("case_id")
        places = begun.build.rows("inspect", ["image_digest", "stored_format", "pack", "pack_offset", "stored_bytes"])
        folder = begun.build.store.folder
    where = {row["image_digest"]: row for row in places.iter_rows(named=True)}
    found, drawn = {}, Counter[str]()
    for case in cases.iter_rows(named=True):
        at = where[case["image_digests"][0]]
        place = (at["pack"], at["pack_offset"], at["stored_bytes"], at["image_digest"])
        [data] = read_payloads(folder.fs, folder.path("rows/inspect"), [place])
        url = f"data:image/{at['stored_format'].lower()};base64,{base64.b64encode(data).decode()}"
        label = case["node_id"]
        right = next(n for n in cards if n == label or taxonomy.is_ancestor(n, label))
        wrong = next(n for n in cards if not taxonomy.on_one_branch(n, label))
        words = [
            f"The diagnosis: {taxonomy.node(node).name}\n"
            + "\n".join(grounding({**case, "node_id": node}, taxonomy, knowledge()))
            for node in (right, wrong)
        ]
        plan = PLANS[drawn[case["split"]] % len(PLANS)]
        drawn[case["split"]] += 1
        found[hashlib.sha256(url.encode()).hexdigest()] = Patient(
            case["case_id"], case["split"], tone_group(case["tone_observations"]), plan,
            *(re.sub(r"(?m)^(look: .{,150}\w).*$", r"\1", good_rationale(said)) for said in words),
        )  # fmt: skip
    return found


def test_the_report_tells_who_agreed_without_being_told_and_for_whom(world: World) -> None:
    told = world.told()
    concluded, at_once = world.trained("right", "alone", "wrong", "late"), world.trained("right", "alone")
    assert len(concluded) > 10
    assert f"{len(at_once)} of {len(concluded)}" in told, "a second attempt does not count as agreement"
    of_tone = Counter(p.tone for p in concluded)
    for tone in TONE_GROUPS:
        agreed = sum(p.tone == tone for p in at_once)
        line = told[told.index(tone, told.index("By skin tone")) :]
        assert (
            f"{agreed} of {of_tone[tone]} " in line[:60]
            if of_tone[tone]
            else line[: len(tone) + 8].endswith(" no case")
        )


def test_the_report_counts_what_became_of_the_candidates_of_both_kinds(world: World) -> None:
    told, n = world.told(), len(world.trained(*PLANS))
    assert f"asked for {n} {n}" in told
    wrong, refuses, alone, late = (len(world.trained(plan)) for plan in ("wrong", "refuses", "alone", "late"))

    def of(count: int) -> str:
        return f"{count} ({100 * count / n:.1f} %)"

    assert f"label disagreement 0 {of(wrong)}" in told
    assert f"refusal {of(alone)} {of(refuses)}" in told
    kept = n - wrong - refuses
    assert f"kept and scored {of(n - alone)} {of(kept)}" in told
    assert f"reason, blind {kept - late} {late}" in told
    assert f"observe (one per case) {n} 0" in told


def test_the_report_is_made_anew_from_the_release_alone_byte_for_byte(world: World) -> None:
    assert published_report(str(world.release))[1] == world.report


def test_candidates_tell_their_mode_and_what_was_lost_and_no_held_out_case(world: World) -> None:
    candidates = pl.read_parquet(world.release / "candidates.parquet")
    assert set(candidates["case_id"]) == {p.case_id for p in world.trained(*PLANS)}
    assert candidates.group_by("case_id").agg(pl.col("label_seen").sum())["label_seen"].unique().to_list() == [1]
    of_case = {p.case_id: p for p in world.patients}
    firsts = {"right": True, "alone": True, "wrong": False, "late": False, "refuses": None}
    for row in candidates.filter(~pl.col("label_seen")).iter_rows(named=True):
        patient = of_case[row["case_id"]]
        assert (row["first_agrees"], row["tone_group"]) == (firsts[patient.plan], patient.tone)
        assert (row["overall"] is None) == (patient.plan in ("wrong", "refuses"))
    assert candidates.filter("label_seen")["first_agrees"].null_count() == len(world.trained(*PLANS))


def test_the_ledger_says_nothing_of_held_out_cases_that_an_author_wrote(world: World) -> None:
    rejections = pl.read_parquet(world.release / "rejections.parquet")
    wrong = rejections.filter(pl.col("rule") == "label_disagreement")
    assert wrong.filter(pl.col("detail").is_not_null()).height == 3 * len(world.trained("wrong")) + len(
        world.trained("late")
    )
    held = [p for p in world.patients if p.split != "train"]
    hidden = 3 * sum(p.plan == "wrong" for p in held) + sum(p.plan == "late" for p in held)
    assert 0 < hidden == wrong.filter(pl.col("detail").is_null()).height


def test_train_rows_and_card_say_whose_author_was_not_told(world: World) -> None:
    rows = pl.read_parquet(world.release / "data/train/*.parquet")
    blind = rows.filter(~pl.col("label_seen"))
    assert 0 < blind.height < rows.height
    card = (world.release / "README.md").read_text()
    assert f"{blind.height} of the {rows.height} train rows, {100 * blind.height / rows.height:.1f} %" in card
    assert all(f"`{name}`" in card for name in ("label_seen", "post_hoc", "post_hoc_findings", "teacher_terms"))
    assert rows["post_hoc"].sum() > 0
    assert rows["post_hoc_findings"].list.len().to_list() == rows["post_hoc"].to_list()
    assert set(rows["teacher_terms"]) == {"CC0-1.0"}


def test_an_attempt_is_no_lost_record(world: World) -> None:
    [proposed] = [report for report in world.outcome.reports if report.output.step == "propose"]
    plans = Counter(p.plan for p in world.patients)
    counts = step_counts(proposed, world.build.store)
    refused = plans["refuses"] + plans["alone"]
    lost = {"narrative/label_disagreement": plans["wrong"], "narrative/refusal": refused}
    failed = {"label_disagreement": 2 * plans["wrong"] + plans["late"], "refusal": 2 * refused}
    assert (counts["rejected"], counts["failed_attempts"]) == (lost, failed)
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(counts_table([proposed], world.build.store))
    told = console.export_text()
    assert re.search(rf"label_disagreement: {plans['wrong']} narratives\b(?!,)", told)
    assert f"({sum(failed.values())} failed attempts on the way)" in told
    why = world.report[world.report.index('id="rejected"') :]
    assert "attempt" not in why[: why.index("</section>")]


def test_explain_tells_the_attempts_of_a_narrative_in_order(world: World) -> None:
    lost = world.build.table("propose", "lost")
    of_plan = defaultdict(list)
    for patient in world.patients:
        of_plan[patient.plan].append(patient.case_id)
    [name] = lost.filter(pl.col("case_id") == of_plan["wrong"][0])["narrative_id"]
    for wanted, lines in (
        (name, [f"blind: narrative {name} never came about", "attempt 1 to write failed: label_disagreement",
                "attempt 2 to write failed: label_disagreement", "rejected at propose: label_disagreement"]),
        (of_plan["refuses"][0], ["attempt 1 to reason failed: refusal", "attempt 2 to reason failed: refusal"]),
        (of_plan["late"][0], ["blind: narrative", "attempt 1 to write failed: label_disagreement"]),
    ):  # fmt: skip
        console = Console(width=400, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        console.print(explain(world.config.workspace, wanted))
        told = console.export_text()
        places = [told.index(line) for line in lines]
        assert places == sorted(places)


def test_too_few_blind_rows_refuse_the_release_and_say_what_to_do(world: World, drawn_sample: Path) -> None:
    rows = pl.read_parquet(world.release / "data/train/*.parquet")
    share = rows.filter(~pl.col("label_seen")).height / rows.height
    elsewhere = str(world.release.parent.parent / "elsewhere")
    for least, is_refused in ((share, False), (share + 0.01, True)):
        gate = world.config.gate.model_copy(update={"min_blind_share": least})
        config = world.config.model_copy(update={"gate": gate, "releases": elsewhere})
        if is_refused:
            with pytest.raises(GateError, match=r"not told the diagnosis .*blind_share\); .*gate\.min_blind_share"):
                run_build(config, InProcess(), Quiet())
        else:
            run_build(config, InProcess(), Quiet())
    assert len(list(Path(elsewhere).glob("dermcot-*"))) == 1


def test_blind_rows_that_nobody_writes_are_refused_before_anything_runs(drawn_sample: Path, tmp_path: Path) -> None:
    for blind in ("propose.teacher=textbook", "propose.vlm.blind_share=0"):
        with pytest.raises(ConfigError, match="nobody writes blind"):
            config_of(tmp_path, drawn_sample, "http://127.0.0.1:1/v1", "gate.min_blind_share=0.1", blind)
    assert config_of(tmp_path, drawn_sample, "http://127.0.0.1:1/v1", "gate.min_blind_share=0.1")


@pytest.mark.parametrize("width", [1440, 390])
def test_the_section_fits_the_window(browser: Any, world: World, width: int) -> None:
    show(browser, world.release / "report.html", width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    section = "document.querySelector('[aria-labelledby=blind]')"
    assert browser.execute_script(
        f"return [...{section}.querySelectorAll('*')].filter(e => !e.closest('.scroll') && "
        "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    ) == []  # fmt: skip
    clipped = f"return [...{section}.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
    assert browser.execute_script(clipped) == 0
    bands = browser.execute_script(
        f"return [...{section}.querySelectorAll('.band')].filter(b => b.querySelector('b')).map(b => ["
        "b.querySelector('i').getBoundingClientRect().left, b.querySelector('b').getBoundingClientRect().left,"
        "b.querySelector('i').getBoundingClientRect().right, b.getBoundingClientRect().width])"
    )
    assert len(bands) > 5
    for low, mark, high, room in bands:
        assert low - 2 <= mark <= high + 2
        assert room >= 60
