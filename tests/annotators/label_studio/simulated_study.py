"""A whole study by raters who are programs: built, pushed, answered through the server's interface, pulled, released.

What they answer comes from :mod:`tests.quality.simulated_raters`; this module only carries it there and back.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from annotators.label_studio.connection import TOKEN_VARIABLE
from annotators.label_studio.ledger import Ledger
from annotators.label_studio.listing import tasks_of
from annotators.label_studio.raters import SECRET_VARIABLE, Rater, pseudonyms, read_raters
from annotators.label_studio.server import Server
from annotators.label_studio.session import opened
from flows.build import last_build, run_build
from flows.cli import app, guarded
from flows.execute import InProcess
from schemas.config_file import load_config
from schemas.narrative import narrative_from_json, render_sections
from schemas.tables import DIMENSIONS
from tests.annotators.label_studio.study_parts import SECRET, answer, give, sign_up
from tests.conftest import REPOSITORY, Quiet, write_config
from tests.quality.simulated_raters import PANEL, answers

ADDED = "Dermoscopy was not available to whoever wrote this."
FLAGS = ("bad_image", "wrong_label", "identifiable_person")
#: Everybody may see everything, so that every rater sees every narrative.
SENSITIVE = ["genital", "paediatric", "graphic"]


@dataclass(frozen=True)
class Study:
    """``told``: every look with what was said; ``levels``: true scores; ``held``: the evaluator's scores of every
    narrative of held-out cases; ``evaluator``: its overall score, standardised, of every narrative; ``pulled``: the
    table that the pull wrote; ``release``: the directory of what came of it; ``raters``: their pseudonyms."""

    config: Path
    told: pl.DataFrame
    levels: pl.DataFrame
    held: pl.DataFrame
    evaluator: Mapping[str, float]
    pulled: Path
    release: Path
    raters: Sequence[str]


def conduct(
    sample: Path, folder: Path, studio: Server, settings: Mapping[str, Any], *, by_command: bool, n_gold: int, seed: int
) -> Study:
    """Everything from the drawn sample to the release. ``settings``: sections of the configuration to change;
    ``by_command``: build with the command, in a process of its own."""
    config = _config(sample, folder, studio, settings)
    _release(config, by_command)
    held, evaluator = _evaluated(config, n_gold)
    registry = read_raters(folder / "raters.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN_VARIABLE, studio.token)
        patch.setenv(SECRET_VARIABLE, SECRET.decode())
        tokens = sign_up(studio, registry)
        command("annotate", "push", "-c", str(config))
        ledger = Ledger(str(folder / "workspace"))
        told, levels = answers(ledger.assignments(), PANEL, seed, evaluator)
        _answer(studio, ledger, told, pseudonyms(registry, SECRET), tokens)
        pulled = Path(command("annotate", "pull", "-c", str(config)))
    release = _release(config, by_command, f"certification.annotations={pulled}")
    return Study(config, told, levels, held, evaluator, pulled, release, sorted(pseudonyms(registry, SECRET)))


def command(*arguments: str) -> str:
    """Run a command of ``dermcot`` here; its last line."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert guarded(lambda: app(list(arguments))) == 0
    return out.getvalue().strip().splitlines()[-1]


def _config(sample: Path, folder: Path, studio: Server, settings: Mapping[str, Any]) -> Path:
    config = write_config(folder / "config.yaml", sample)
    document = yaml.safe_load(config.read_text())
    document["annotate"] |= {
        "url": studio.url, "server": folder.name, "raters": str(folder / "raters.yaml"),
        "document_root": str(studio.document_root), "gold": str(folder / "gold.csv"), "daily_cap": None,
    }  # fmt: skip
    for section, changes in settings.items():
        document[section] |= changes
    config.write_text(yaml.safe_dump(document))
    raters = [
        {"email": f"{name}@{folder.name.replace('_', '-')}.example.org", "kind": "simulated",
         "credential": "board_certified", "sensitive": SENSITIVE}
        for name in ("ada", "bob", "cyd")
    ]  # fmt: skip
    (folder / "raters.yaml").write_text(yaml.safe_dump({"raters": raters}))
    return config


def _release(config: Path, by_command: bool, *overrides: str) -> Path:
    if not by_command:
        loaded = load_config(config, overrides)
        return Path(run_build(loaded, InProcess(), Quiet()).path(loaded))
    sets = [part for override in overrides for part in ("--set", override)]
    done = subprocess.run(
        [sys.executable, "-m", "flows", "run", "-c", str(config), *sets], cwd=REPOSITORY, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


def _evaluated(config: Path, n_gold: int) -> tuple[pl.DataFrame, dict[str, float]]:
    """The scores of :class:`Study`; narratives of training cases are written down as gold."""
    last = last_build(str(config.parent / "workspace"))
    assert last is not None
    store, outputs, _ = last
    places = store.table(outputs["evaluate"], "selection")
    scored = store.read_rows("evaluate", places, ["narrative_id", *DIMENSIONS, "overall"])
    known = store.table(outputs["standardise"], "selection").select("narrative_id", "case_id")
    cases = store.table(outputs["split"], "cases").select("case_id", "split")
    rows = scored.join(known, on="narrative_id").join(cases, on="case_id").sort("narrative_id")
    gold = rows.filter(pl.col("split") == "train").head(n_gold).select("narrative_id")
    gold.write_csv(config.parent / "gold.csv")
    held = rows.filter(pl.col("split") == "certify_queue")
    mean, spread = held["overall"].mean(), held["overall"].std()
    standardised = rows.select("narrative_id", ((pl.col("overall") - mean) / spread).clip(-3, 3))
    return held, dict(standardised.iter_rows())


def _answer(
    studio: Server, ledger: Ledger, told: pl.DataFrame, raters: Mapping[str, Rater], tokens: Mapping[str, str]
) -> None:
    """Every rater, in an account of their own and at the same time as the others, answers task after task."""
    by_key = {row["key"]: row for row in told.iter_rows(named=True)}

    def work(record: Any) -> None:
        with opened(studio.url, tokens[raters[record.rater].email]) as session:
            tasks = {task["data"]["key"]: task["id"] for task in tasks_of(session, record.project_id, "id,data")}
            mine = sorted((by_key[key] for key in tasks), key=lambda row: int(row["place"]))
            for row in mine:
                give(session, tasks[row["key"]], result_of(row))

    records = ledger.projects()
    assert [record.rater for record in records] and {r.rater for r in records} == set(raters)
    with ThreadPoolExecutor(len(records)) as pool:
        list(pool.map(work, records))


def flags_of(row: Mapping[str, Any]) -> list[str]:
    """The flag that goes with a look, if any; which one hangs on the place."""
    return [FLAGS[row["place"] % len(FLAGS)]] if row["flagged"] else []


def corrected(pre_edit: str) -> str:
    """What a reviser makes of a narrative: one limitation more, in place of the last where there is no room."""
    narrative = narrative_from_json(pre_edit)
    return render_sections(narrative.model_copy(update={"limitations": (*narrative.limitations[:7], ADDED)}))


def result_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was said in one look, as the labelling screen would send it."""
    word = row["decision"]
    if word == "cannot_judge":
        return [*_choices("cannot_judge", ["ungradable"]), *_choices("flags", flags_of(row))]
    texts = {} if word == "certify" else {"critique": f"I would not have written that: {word}."}
    texts |= {"corrected": corrected(row["pre_edit"])} if word == "revise" else {}
    scores = [int(row[name]) for name in DIMENSIONS]
    return [*answer(scores, word, **texts), *_choices("flags", flags_of(row))]


def _choices(name: str, given: Sequence[str]) -> Iterator[dict[str, Any]]:
    if given:
        yield {"from_name": name, "to_name": "image", "type": "choices", "value": {"choices": list(given)}, "id": name}
