"""Times of a study of 3,000 cases on a local Label Studio, as shares of what a person would wait for.

    python -m tests.benchmarks.bench_annotate [--cases 3000]

Limits, on two cores: 3,000 cases with images of 100 kB are pushed in two minutes, 6,000 annotations are pulled in 30
seconds, ten new ones in three. Pulls are the ``dermcot`` command in a process of its own, timed from outside, the best
of three for the small one; the push begins when its material is gathered. Peers, in the same call: the same tasks
imported without a look at what is there; the server's own export of everything; the command that does nothing but say
what it can do.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from annotators.label_studio.connection import TOKEN_VARIABLE
from annotators.label_studio.ledger import Ledger
from annotators.label_studio.listing import tasks_of
from annotators.label_studio.project import project_settings
from annotators.label_studio.pull import MARGIN
from annotators.label_studio.push import batches
from annotators.label_studio.raters import SECRET_VARIABLE, Rater
from annotators.label_studio.screen import labelling_config
from annotators.label_studio.server import Server, running_server
from annotators.label_studio.session import Session, opened
from annotators.label_studio.study import push_study, server_digest
from annotators.label_studio.tasks import image_url, task_of
from schemas.config import AnnotateSettings
from schemas.narrative import narrative_from_json
from tests.annotators.label_studio.conftest import CACHE
from tests.annotators.label_studio.study_parts import (
    SECRET,
    answer,
    give,
    import_answered,
    ledger_in,
    made_up,
    panel,
    settings_for,
    sign_up,
)

REPOSITORY = Path(__file__).resolve().parents[2]
CASES = 3_000
PUSH_SECONDS, PULL_SECONDS, NEWS_SECONDS = 120.0, 30.0, 3.0
NEWS, REPEATS = 10, 3


def seconds_of(work: Callable[[], Any]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def show(what: str, seconds: float, limit: float, peer: str, peer_seconds: float) -> None:
    print(
        f"{what}: {seconds:.1f} s, {seconds / limit:.2f} of the limit of {limit:.0f} s; "
        f"x {seconds / peer_seconds:.2f} of {peer} ({peer_seconds:.1f} s)",
        flush=True,
    )


def command(config: Path, environment: Mapping[str, str], *told: str) -> tuple[float, float]:
    """Run ``dermcot annotate pull``; its seconds and, since a busy machine makes these long, its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "flows", "annotate", "pull", "-c", str(config), *told], cwd=REPOSITORY, text=True,
        capture_output=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
    )  # fmt: skip
    seconds = time.monotonic() - begun
    if ran.returncode:
        raise SystemExit(ran.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_config(folder: Path, settings: AnnotateSettings, raters: Mapping[str, Rater]) -> Path:
    document = yaml.safe_load((REPOSITORY / "dermcot.yaml").read_text())
    told = [rater.model_dump(mode="json") for rater in raters.values()]
    (folder / "raters.yaml").write_text(yaml.safe_dump({"raters": told}))
    document["annotate"] |= {"url": settings.url, "server": settings.server, "raters": str(folder / "raters.yaml")}
    document["workspace"] = str(folder / "workspace")
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    return folder / "config.yaml"


def bare_import(session: Session, ledger: Ledger) -> float:
    """Seconds that the same tasks take into a project of their own, which is deleted again."""
    rows = ledger.assignments().iter_rows(named=True)
    tasks = [task_of(narrative_from_json(r["pre_edit"]), image_url(r["image"]), r["key"], None) for r in rows]
    project = session.post("api/projects", project_settings("bare", labelling_config(), 1))["id"]
    seconds = seconds_of(lambda: [session.post(f"api/projects/{project}/import", batch) for batch in batches(tasks)])
    session.delete(f"api/projects/{project}")
    return seconds


def pushed(session: Session, ledger: Ledger, settings: AnnotateSettings, raters: Mapping[str, Rater], n: int) -> None:
    material = made_up(n, kilobytes=100)
    seconds = seconds_of(lambda: push_study(session, ledger, settings, raters, SECRET, material))
    show(f"{n:,} cases pushed with images", seconds, PUSH_SECONDS, "a bare import", bare_import(session, ledger))
    seconds = seconds_of(lambda: push_study(session, ledger, settings, raters, SECRET, material))
    print(f"pushed again, nothing new: {seconds:.1f} s", flush=True)


def pulled(folder: Path, server: Server, session: Session, ledger: Ledger, rater: Session, config: Path) -> None:
    environment = {TOKEN_VARIABLE: server.token, SECRET_VARIABLE: SECRET.decode()}
    (record,) = ledger.projects()
    tasks: Iterator[int] = iter([task["id"] for task in tasks_of(session, record.project_id, "id")])
    time.sleep(MARGIN.total_seconds() + 5)  # in a study the last minute holds a handful of answers, not all of them
    give(rater, next(tasks), answer())
    path = f"api/projects/{record.project_id}/export"
    peer = seconds_of(lambda: session.get(path, exportType="JSON"))
    seconds, busy = command(config, environment)
    height = _height(ledger)
    show(f"{height:,} annotations pulled", seconds, PULL_SECONDS, "the server's export", peer)
    print(f"  of these {busy:.1f} s of a processor in the command", flush=True)
    runs = []
    for _ in range(REPEATS):
        for _ in range(NEWS):
            give(rater, next(tasks), answer((1,) * 6))
        runs.append(command(config, environment))
        assert _height(ledger) == height + NEWS, (_height(ledger), height)
        height += NEWS
    seconds, busy = min(runs)
    show(f"{NEWS} new ones pulled", seconds, NEWS_SECONDS, "the server's export", peer)
    start, idle = min(command(config, environment, "--help") for _ in range(REPEATS))
    print(
        f"  all runs: {', '.join(f'{took:.1f} s' for took, _ in runs)}; the start of the program alone {start:.1f} s; "
        f"{busy:.1f} s of a processor in the command, {idle:.1f} s in its start"
    )


def _height(ledger: Ledger) -> int:
    told = ledger.snapshot()
    assert told is not None
    return told[0].height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=CASES)
    cases = parser.parse_args().cases
    with tempfile.TemporaryDirectory() as name, running_server(
        Path(name) / "studio", environment=CACHE / "environment"
    ) as server:  # fmt: skip
        folder, settings, raters = Path(name), settings_for(server, raters_per_case=1), panel(1, "bench")
        ledger, study = ledger_in(folder), server_digest(settings)
        (token,) = sign_up(server, raters.values()).values()
        config = write_config(folder, settings, raters)
        with opened(server.url, server.token) as session, opened(server.url, token) as rater:
            pushed(session, ledger, settings, raters, cases)
            accounts = {rater: number for number, rater in ledger.accounts(study, {}).items()}
            import_answered(session, ledger, study, accounts, 2)
            pulled(folder, server, session, ledger, rater, config)
    print(f"load of the machine in the last 1, 5 and 15 minutes: {', '.join(f'{n:.1f}' for n in os.getloadavg())}")


if __name__ == "__main__":
    main()
