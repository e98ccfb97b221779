"""Propose, check and score the narratives of a whole corpus, shard by shard, on one core.

Usage: ``python -m tests.benchmarks.bench_narratives [CASES]``. The limit is five minutes for 13,000 cases on two cores;
the printed ratio is the time taken here, with one, over that limit. Memory must not grow with the number of cases: it
is printed at a quarter, a half and the end.
"""

from __future__ import annotations

import random
import sys
import time

import polars as pl
import psutil

from annotators.rubric import evaluate
from annotators.standardise import standardise
from annotators.textbook import propose
from schemas.cards import SITE_REGION
from schemas.family_cards import knowledge
from schemas.tables import LABEL_CERTAINTIES
from schemas.taxonomy import load_taxonomy
from tests.annotators.textbook_cases import SCHEMA, case

_LIMIT_SECONDS, _LIMIT_CASES = 300.0, 13_000
_SHARD = 256
_CANDIDATES = 3


def drawn_cases(start: int, n: int) -> pl.DataFrame:
    """Cases ``start`` to ``start + n`` of a corpus without end, over every card, site, age and tone."""
    nodes, sites = sorted(knowledge()), sorted(SITE_REGION)
    rows = []
    for number in range(start, start + n):
        chance = random.Random(number)
        tone = chance.choice([None, 1, 2, 3, 4, 5, 6])
        facts = [{"key": k, "value": chance.choice(["True", "False"])} for k in ("itch", "bleed", "grew", "elevation")]
        rows.append(
            case(
                f"drawn:{number}",
                node_id=chance.choice(nodes),
                age_years=float(chance.randrange(90)),
                sex=chance.choice(["female", "male", None]),
                site=chance.choice(sites),
                facts=facts[: chance.randrange(5)],
                modality=chance.choice(["clinical", "dermoscopic"]),
                label_certainty=chance.choice(LABEL_CERTAINTIES),
                tone_observations=[] if tone is None else [{"scale": "fitzpatrick", "low": tone, "high": tone,
                                                            "origin": "x"}],
                image_digests=[str(number)],
            )
        )  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA)


def main() -> None:
    """Print seconds by stage, the ratio to the limit, and memory along the way."""
    n_cases = int(sys.argv[1]) if len(sys.argv) > 1 else _LIMIT_CASES
    taxonomy, cards = load_taxonomy(), knowledge()
    process = psutil.Process()
    spent = {"propose": 0.0, "standardise and check": 0.0, "score": 0.0}
    marks = {n_cases // 4: "a quarter", n_cases // 2: "half"}
    narratives = 0
    for start in range(0, n_cases, _SHARD):
        cases = drawn_cases(start, min(_SHARD, n_cases - start))
        clock = [time.perf_counter()]
        proposed = propose(cases, _CANDIDATES, taxonomy, cards).kept
        clock.append(time.perf_counter())
        parsed = standardise(proposed, cases, taxonomy).kept
        clock.append(time.perf_counter())
        narratives += evaluate(parsed, cases, taxonomy, cards).kept.height
        clock.append(time.perf_counter())
        for name, begin, end in zip(spent, clock, clock[1:], strict=False):
            spent[name] += end - begin
        for at in [at for at in marks if at < start + _SHARD]:
            print(f"resident after {marks.pop(at)}: {process.memory_info().rss / 2**20:,.0f} MiB")
    total = sum(spent.values())
    print(f"resident at the end: {process.memory_info().rss / 2**20:,.0f} MiB")
    print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent.items()))
    limit = _LIMIT_SECONDS * n_cases / _LIMIT_CASES
    print(f"{n_cases:,} cases, {narratives:,} narratives: {total:.1f} s on one core, {total / limit:.2f} of the limit")


if __name__ == "__main__":
    main()
