"""Where certification stands by the answers pulled so far, without a build.

A build counts the snapshot that its configuration names; who is asked next hangs on what was pulled last. Both follow
the same rules (:mod:`corpus.certified`), so what is said here is what the next build will say of the same answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from corpus.annotations import removals
from corpus.certification import strata_of
from corpus.certified import outcomes
from corpus.certified_cases import open_queue
from corpus.store import Store
from flows.build import last_build
from flows.certify_steps import alignment_rows, held_out, known_narratives, scored_narratives
from flows.plan import Build
from schemas.config import Config

_NEEDED = {"annotations", "select", "split", "standardise", "evaluate", "correct", "inspect"}


@dataclass(frozen=True)
class Standing:
    """``answers``: :data:`schemas.tables.ANNOTATIONS`; ``found``: what they come to, as
    :data:`corpus.certified.OUTCOMES`; ``queue``: what raters are still asked about, as
    :data:`corpus.certification.QUEUE`; ``scored``: every narrative with the evaluator's scores, and of the held-out
    ones ``known``: :data:`corpus.certified.KNOWN`."""

    config: Config
    answers: pl.DataFrame
    found: pl.DataFrame
    queue: pl.DataFrame
    scored: pl.DataFrame
    known: pl.DataFrame

    def alignment(self) -> pl.DataFrame:
        """The evaluator against the raters, as :func:`flows.certify_steps.alignment_rows`."""
        return alignment_rows(self.answers, self.config, self.known, self.scored)


def latest_build(config: Config) -> Build | None:
    """The latest build of the workspace under this configuration, as far as it came; None where it has no queue."""
    last = last_build(config.workspace)
    if last is None or not set(last[1]) >= _NEEDED:
        return None
    return Build(config, Store(config.workspace), last[1])


def standing_of(build: Build, pulled: pl.DataFrame | None) -> Standing:
    """By the rules of ``build.config``; ``pulled``: the latest annotations, None for those that the build counted."""
    rules = build.config.certification
    answers = build.table("annotations", "snapshot") if pulled is None else pulled
    held = held_out(build.table("split", "cases"))
    scored = scored_narratives(build)
    known = known_narratives(build, scored.join(held.select("case_id"), on="case_id", how="semi"))
    found = outcomes(answers, known, rules)
    removed = removals(answers, rules)["case_id"]
    queue = open_queue(build.table("select", "queue"), found, strata_of(held))
    queue = queue.filter(~pl.col("case_id").is_in(removed.implode()))
    return Standing(build.config, answers, found, queue, scored, known)
