"""What each fault costs in each dimension: narratives of every knowledge card, made worse one fault at a time.

Usage: ``python -m tests.benchmarks.bench_rubric``. Prints for each kind of trajectory one row per fault: the share of
pairs in which the matching dimension falls by 0.5 or more (goal 95 %), its mean fall, the share that the default
thresholds refuse, and for the other dimensions the share within 0.5 (goal 90 %).
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from rich.console import Console
from rich.table import Table

from annotators.standardise import standardise
from annotators.textbook import propose
from schemas.cards import KnowledgeCard
from schemas.family_cards import knowledge
from schemas.tables import DIMENSIONS, TRAJECTORIES
from schemas.taxonomy import Taxonomy, load_taxonomy
from tests.annotators.degradations import study
from tests.annotators.textbook_cases import cases_of_every_card


def main() -> None:
    """Print the tables."""
    taxonomy, cards = load_taxonomy(), knowledge()
    cases = cases_of_every_card(taxonomy, cards)
    parsed = standardise(propose(cases, 3, taxonomy, cards).kept, cases, taxonomy).kept
    for kind in TRAJECTORIES:
        _print(kind, parsed.filter(pl.col("trajectory") == kind), cases, taxonomy, cards)


def _print(
    kind: str, parsed: pl.DataFrame, cases: pl.DataFrame, taxonomy: Taxonomy, cards: Mapping[str, KnowledgeCard]
) -> None:
    table = Table(title=f"{parsed.height:,} {kind} narratives of {len(cards)} cards", show_lines=False)
    for name in ("fault", "matching dimension", "pairs", "falls ≥ 0.5", "mean fall", "refused", *DIMENSIONS):
        table.add_column(name.replace("_", " "), justify="left" if name in ("fault", "matching dimension") else "right")
    for outcome in study(parsed, cases, taxonomy, cards):
        others = [f"{100 * outcome.stayed[name]:.1f} %" if name in outcome.stayed else "-" for name in DIMENSIONS]
        table.add_row(outcome.fault, outcome.dimension.replace("_", " "), f"{outcome.n:,}",
                      f"{100 * outcome.fell:.1f} %", f"{outcome.mean_fall:.2f}",
                      f"{100 * outcome.refused:.1f} %", *others)  # fmt: skip
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
