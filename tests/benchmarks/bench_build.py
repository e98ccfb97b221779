"""The whole run at 13,000 drawn cases, at twice as many, and after 1 % was added: time per step and peak memory.

    python -m tests.benchmarks.bench_build [--cases 13000] [--folder DIR] [--once]

The images are those of ``dermcot sample``, 600 x 450 to 800 x 600 pixels. Everything runs as a user runs it: the
``dermcot`` command in a process of its own, its memory and that of its children (gates) sampled from outside.
Limits: twice the cases take at most 1.2 times the memory; 1 % added takes at most 5 % of the full time. Peer: the same
program at the other size, in the same call.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import yaml

from corpus.sample.draw import add_images, draw_sample

REPOSITORY = Path(__file__).resolve().parents[2]
_ADDITIONS = 3


@dataclass(frozen=True)
class Measured:
    """One run: wall seconds, peak resident bytes of the program and of its children, and its run.json."""

    seconds: float
    program: int
    beside: int
    record: dict[str, Any]


def write_config(folder: Path) -> Path:
    document = yaml.safe_load((REPOSITORY / "dermcot.yaml").read_text())
    document["sources"][2]["licence"] = "CC0-1.0"
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def run(config: Path) -> Measured:
    os.sync()  # what an earlier run left to be written is not on this one's account
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's modules are compiled once, not at every run
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", "run", "-c", str(config)], cwd=REPOSITORY, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    peaks = {"program": 0, "beside": 0}

    def watch() -> None:
        program = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peaks["program"] = max(peaks["program"], program.memory_info().rss)
                children = [child.memory_info().rss for child in program.children(recursive=True)]
                peaks["beside"] = max(peaks["beside"], sum(children))
            except psutil.NoSuchProcess:
                return
            time.sleep(0.25)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, errors = process.communicate()
    watcher.join()
    seconds = time.monotonic() - begun
    if process.returncode:
        raise SystemExit(errors)
    runs = sorted((config.parent / "workspace/runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    return Measured(seconds, peaks["program"], peaks["beside"], json.loads(runs[-1].read_text()))


def show(title: str, measured: Measured) -> None:
    print(
        f"\n{title}: {measured.seconds:.1f} s wall, program {measured.program / 2**20:,.0f} MiB, "
        f"gates {measured.beside / 2**20:,.0f} MiB at peak"
    )
    spent = 0.0
    for step in measured.record["steps"]:
        spent += step["seconds"]
        rows = (
            f"{step['rows_made']:,} made, {step['rows_reused']:,} reused"
            if step["rows_made"] or step["rows_reused"]
            else ""
        )
        print(f"  {step['step']:<16} {step['seconds']:8.1f} s  {step['state']:<7} {rows}")
    print(f"  {'release, start':<16} {measured.seconds - spent:8.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=13_000)
    parser.add_argument("--folder", type=Path, help="where to work; removed afterwards only when it is not given")
    parser.add_argument("--once", action="store_true", help="leave out the run at twice the cases")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="bench-build-"))
    results = {}
    for cases in (given.cases,) if given.once else (given.cases, 2 * given.cases):
        here = folder / str(cases)
        here.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        draw_sample(here / "sample", cases, workers=os.cpu_count() or 1)
        print(f"drew {cases:,} images in {time.monotonic() - begun:.0f} s")
        results[cases] = run(write_config(here))
        show(f"{cases:,} cases", results[cases])
        if cases == given.cases:
            added, shares = max(1, cases // 100), []
            for _ in range(_ADDITIONS):
                add_images(here / "sample", added, seed=cases)
                grown = run(here / "config.yaml")
                show(f"{added:,} images added", grown)
                shares.append(grown.seconds / results[cases].seconds)
            again = run(here / "config.yaml")
            told = ", ".join(f"{share:.3f}" for share in sorted(shares))
            print(f"\n1 % added / full: {median(shares):.3f} (limit 0.05), the median of {told}")
            print(f"nothing changed: {again.seconds:.1f} s")
        shutil.rmtree(here)
    if not given.once:
        one, two = (results[n] for n in (given.cases, 2 * given.cases))
        print(f"\nmemory at twice the cases / once: {two.program / one.program:.2f} (limit 1.2)")
        total = (two.program + two.beside) / (one.program + one.beside)
        print(f"with gates: {total:.2f}")
        print(f"time at twice the cases / once: {two.seconds / one.seconds:.2f}")
    if given.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
