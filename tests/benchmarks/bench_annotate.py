"""Times of a study of 3,000 cases on a local Label Studio, as shares of what a person would wait for.

python -m tests.benchmarks.bench_annotate
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from annotators.label_studio.listing import tasks_of
from annotators.label_studio.server import running_server
from annotators.label_studio.session import opened
from annotators.label_studio.study import push_study, server_digest
from flows.annotation import pull_study
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

CASES = 3_000
PUSH_SECONDS, PULL_SECONDS, NEWS_SECONDS = 120.0, 30.0, 3.0


def timed(what: str, limit: float, work: Callable[[], Any]) -> Any:
    begun = time.monotonic()
    result = work()
    seconds = time.monotonic() - begun
    print(f"{what}: {seconds:.1f} s, {seconds / limit:.0%} of the limit of {limit:.0f} s", flush=True)
    return result


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running_server(
        Path(folder) / "studio", environment=CACHE / "environment"
    ) as server:  # fmt: skip
        settings = settings_for(server, raters_per_case=1)
        name, ledger = server_digest(settings), ledger_in(Path(folder))
        raters = panel(1, "bench")
        (token,) = sign_up(server, raters.values()).values()
        material = made_up(CASES, kilobytes=100)
        with opened(server.url, server.token) as session:
            timed(
                f"{CASES:,} cases pushed with images", PUSH_SECONDS,
                lambda: push_study(session, ledger, settings, raters, SECRET, material),
            )  # fmt: skip
            timed("pushed again, nothing new", PUSH_SECONDS,
                  lambda: push_study(session, ledger, settings, raters, SECRET, material))  # fmt: skip
            accounts = {rater: number for number, rater in ledger.accounts(name, {}).items()}
            import_answered(session, ledger, name, accounts, 2)
            pulled = timed(f"{2 * CASES:,} annotations pulled", PULL_SECONDS,
                           lambda: pull_study(session, ledger, name, raters))  # fmt: skip
            assert pulled.annotations.height == 2 * CASES, pulled.annotations.height
            (record,) = ledger.projects(name)
            tasks = tasks_of(session, record.project_id, "id")[:10]
            with opened(server.url, token) as rater:
                for task in tasks:
                    give(rater, task["id"], answer((1,) * 6))
            pulled = timed("10 new ones pulled", NEWS_SECONDS, lambda: pull_study(session, ledger, name, raters))
            assert (pulled.fetched[0].new, pulled.annotations.height) == (10, 2 * CASES + 10)


if __name__ == "__main__":
    main()
