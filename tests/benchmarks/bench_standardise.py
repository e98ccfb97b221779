"""Standardise a large set of free-form texts with the command as its user runs it: seconds, memory, ratio to the limit.

Usage: ``python -m tests.benchmarks.bench_standardise [TEXTS]``. The limit is two minutes for 13,000 texts on two cores.
The texts are the textbook's narratives told as language models tell them: thinking tags, lists run into one line, bold
names. Memory is that of the command and its workers, for the set and for one a quarter as large.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from annotators.textbook import propose
from schemas.family_cards import knowledge
from schemas.narrative import Narrative, parse_tagged
from schemas.taxonomy import load_taxonomy
from tests.benchmarks.bench_narratives import drawn_cases

_LIMIT_SECONDS, _LIMIT_TEXTS = 120.0, 13_000
_DIFFERENT = 600


def told_freely(narrative: Narrative, chance: random.Random) -> str:
    """A narrative in the manner of a language model, 250 to 600 words long."""
    features = " ".join(f"{n}. **Feature:** {finding.text}" for n, finding in enumerate(narrative.findings, 1))
    weighed = " ".join(
        f"- **{entry.diagnosis}**: {' '.join((*entry.evidence_for, *entry.evidence_against))}"
        for entry in narrative.differential
    )
    end = narrative.conclusion
    closing = chance.choice(
        [
            f"In conclusion, the most likely diagnosis is **{end.diagnosis}**. {end.rationale}",
            f"{end.rationale} Based on the description, this appears to be **{end.diagnosis}**.",
            f"<think> {end.rationale} Therefore, I conclude that this is {end.diagnosis}. </think>",
        ]
    )
    return (
        f"<think> First, I observe the key features described: {features} </think>\n\n"
        f"Next, I consider the differential diagnosis: {weighed}\n\n{closing} {' '.join(narrative.limitations)} "
        f"{narrative.next_step or ''}"
    )


def write_set(file: Path, n_texts: int) -> None:
    made = propose(drawn_cases(0, _DIFFERENT), 1, load_taxonomy(), knowledge()).kept["completion"].to_list()
    with file.open("w") as out:
        for nth in range(n_texts):
            chance = random.Random(nth)
            text = told_freely(parse_tagged(made[nth % len(made)]), chance)
            out.write(json.dumps({"id": str(nth), "label": "melanoma", "text": text}) + "\n")


def run(file: Path, out: Path) -> tuple[float, int]:
    """Seconds of the command, and the most bytes that it and its workers held together."""
    begun, peak = time.monotonic(), 0
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", "standardise", str(file), str(out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.1):
            try:
                family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                peak = max(peak, sum(member.memory_info().rss for member in family))
            except psutil.NoSuchProcess:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    done.set()
    watcher.join()
    if status:
        raise SystemExit(f"the command ended with status {status}")
    return time.monotonic() - begun, peak


def main() -> None:
    """Print seconds, memory and their ratios for a quarter of the set and for the whole."""
    n_texts = int(sys.argv[1]) if len(sys.argv) > 1 else _LIMIT_TEXTS
    with tempfile.TemporaryDirectory() as name:
        folder, measured = Path(name), []
        for part in (n_texts // 4, n_texts):
            write_set(folder / "set.jsonl", part)
            seconds, peak = run(folder / "set.jsonl", folder / f"out{part}")
            counts = json.loads((folder / f"out{part}/summary.json").read_text())
            ratio = seconds / (_LIMIT_SECONDS * part / _LIMIT_TEXTS)
            print(
                f"{part:,} texts: {seconds:.1f} s ({part / seconds:,.0f}/s), {ratio:.2f} of the limit; "
                f"{peak / 2**20:,.0f} MiB; {counts['rejected']} rejected, {counts['no_diagnosis']} without a diagnosis"
            )
            measured.append(peak)
        print(f"memory, whole set to a quarter: x {measured[1] / measured[0]:.2f}")


if __name__ == "__main__":
    main()
