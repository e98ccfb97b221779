"""What the kill tests start and kill: one build in this process, without Prefect."""

from __future__ import annotations

import sys
from pathlib import Path

from flows.build import run_build
from flows.execute import InProcess
from flows.report import Screen
from schemas.config_file import load_config

if __name__ == "__main__":
    config = load_config(Path(sys.argv[1]))
    with Screen() as screen:
        outcome = run_build(config, InProcess(), screen)
    print(outcome.path(config))
