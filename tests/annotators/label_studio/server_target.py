"""Serves FOLDER with ENVIRONMENT, or with - for FOLDER installs ENVIRONMENT, until it is killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from annotators.label_studio.installation import installed
from annotators.label_studio.server import running_server


def main() -> None:
    folder, environment = Path(sys.argv[1]), Path(sys.argv[2])
    if str(folder) == "-":
        installed(environment, lambda said: print(said, flush=True))
        return
    with running_server(folder, environment=environment) as server:
        print(server.url, flush=True)
        time.sleep(600)


if __name__ == "__main__":
    main()
