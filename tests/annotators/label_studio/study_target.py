"""Pushes or pulls a study as a process of its own, to be killed: study_target.py push|pull URL TOKEN FOLDER CASES.

Its first line is :data:`AT_WORK`, told when it is about to begin: what came before is the start of any Python program.
"""

from __future__ import annotations

import sys
from pathlib import Path

from annotators.label_studio.session import opened
from annotators.label_studio.study import push_study, server_digest
from corpus.lease import Lease
from flows.annotation import pull_study
from flows.cli import guarded
from schemas.config import AnnotateSettings
from tests.annotators.label_studio.study_parts import SECRET, ledger_in, made_up, panel

MARK, AT_WORK = "kill", "at work"
EXTRAS = 20


def settings_in(folder: Path, url: str, raters_per_case: int = 2) -> AnnotateSettings:
    """The same settings whatever the address."""
    return AnnotateSettings(
        url=url, server="test", document_root=str(folder / "studio" / "files"), raters_per_case=raters_per_case,
        practice=2, repeat_share=0.05, planted_share=0.05,
    )  # fmt: skip


def main() -> None:
    what, url, token, folder, cases = sys.argv[1:]
    settings, ledger, raters = settings_in(Path(folder), url), ledger_in(Path(folder)), panel(2, MARK)
    with opened(url, token, 60) as session, Lease(ledger.folder, "workspace"):
        material = made_up(int(cases), extras=EXTRAS)
        print(AT_WORK, flush=True)
        if what == "push":
            push_study(session, ledger, settings, raters, SECRET, material)
        else:
            print(pull_study(session, ledger, server_digest(settings), raters).path)


if __name__ == "__main__":
    sys.exit(guarded(main))
