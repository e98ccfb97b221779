"""The steps of a build, in order, and what each reads: the pipeline on one screen.

The stages themselves are plain functions in ``corpus``, ``annotators`` and ``quality``. Versions are raised by hand
when a stage's meaning changes, which makes its outputs be made again.
"""

from __future__ import annotations

from typing import Any

from corpus.digests import digest_of, table_digest
from corpus.ingest import FINGERPRINTS
from flows.certify_steps import certification_rules, run_annotations, run_certify, run_correct
from flows.gating import gate_ingest, gate_narratives, gate_release
from flows.image_steps import (
    adapters,
    fingerprint_collect,
    fingerprint_items,
    inspect_collect,
    inspect_items,
    inspect_settings,
    manifests,
    run_decontaminate,
    run_deduplicate,
    run_fingerprint,
    run_ingest,
    run_inspect,
    run_map_labels,
    run_read,
    run_split,
    source_settings,
)
from flows.import_steps import imported_files, imported_settings, run_import
from flows.narrative_steps import (
    SCORE_COLUMNS,
    TOLD_OF_TEXTS,
    evaluate_items,
    evaluate_settings,
    plain_collect,
    propose_collect,
    propose_items,
    propose_settings,
    run_evaluate,
    run_propose,
    run_select,
    run_standardise,
    standardise_items,
)
from flows.plan import RowStep, Step, TableStep
from schemas.config import Config
from schemas.tables import INSPECTIONS, polars_schema
from schemas.taxonomy import load_taxonomy


def _nothing(config: Config) -> Any:
    return None


def _taxonomy_digest(config: Config) -> Any:
    return [adapters(config), load_taxonomy().digest]


STEPS: tuple[Step, ...] = (
    TableStep("read", 1, (), lambda c: [source_settings(c), c.limit], run_read, lambda b: b.listing),
    RowStep("fingerprint", 1, ("read._files",), _nothing, fingerprint_items, run_fingerprint, tuple(FINGERPRINTS),
            "files", fingerprint_collect, times=16),
    TableStep("ingest", 1, ("read.records", "fingerprint.selection"), source_settings, run_ingest),
    TableStep("map_labels", 1, ("ingest.cases",), _taxonomy_digest, run_map_labels),
    RowStep("inspect", 1, ("ingest.images", "ingest.cases"), inspect_settings, inspect_items, run_inspect,
            tuple(polars_schema(INSPECTIONS)), "files", inspect_collect),
    TableStep("gate_ingest", 1, ("read.records", "read.rejected", "ingest.images", "ingest.rejected",
              "map_labels.cases", "inspect.selection"), lambda c: c.gate.model_dump(mode="json"), gate_ingest,
              is_gate=True),
    TableStep("deduplicate", 1, ("ingest.images", "ingest.cases", "map_labels.cases", "inspect.selection"),
              lambda c: [c.deduplicate.model_dump(mode="json"), load_taxonomy().digest], run_deduplicate,
              lambda b: digest_of(sorted(b.parent.image_ids))),
    TableStep("decontaminate", 1, ("ingest.images", "ingest.cases", "map_labels.cases", "inspect.selection",
              "deduplicate.edges"), lambda c: c.decontaminate.model_dump(mode="json", exclude={"manifests"}),
              run_decontaminate, lambda b: table_digest(manifests(b))),
    TableStep("annotations", 1, (), certification_rules, run_annotations, lambda b: b.annotations_digest),
    TableStep("split", 2, ("ingest.images", "ingest.cases", "map_labels.cases", "inspect.selection",
              "deduplicate.decisions", "decontaminate.groups", "annotations.removals"),
              lambda c: c.split.model_dump(mode="json"), run_split,
              lambda b: table_digest(b.parent.ledger)),
    TableStep("import", 1, ("split.cases", "ingest.images"), imported_settings, run_import, imported_files),
    RowStep("propose", 5, ("split.cases", "import.texts"), propose_settings, propose_items, run_propose,
            ("case_id", "narrative_id", "candidate", "trajectory", "synthetic_trajectory", "sibling_distance",
             "label_seen", "image_grounded", "post_hoc", "sampling"), "narratives", propose_collect),
    TableStep("correct", 1, ("annotations.corrections", "propose.selection", "split.cases"), _nothing, run_correct),
    RowStep("standardise", 5, ("propose.selection", "correct.narratives", "split.cases"),
            lambda c: load_taxonomy().digest, standardise_items, run_standardise,
            TOLD_OF_TEXTS, "narratives", plain_collect, times=4),
    RowStep("evaluate", 1, ("standardise.selection", "split.cases"), evaluate_settings, evaluate_items, run_evaluate,
            SCORE_COLUMNS, "evaluations", plain_collect, times=4),
    TableStep("gate_narratives", 1, ("standardise.selection", "evaluate.selection"),
              lambda c: [c.gate.model_dump(mode="json"), load_taxonomy().digest], gate_narratives,
              is_gate=True),
    TableStep("select", 3, ("split.cases", "propose.selection", "standardise.selection",
              "evaluate.selection"),
              lambda c: [c.select.model_dump(mode="json"), c.certification.size, c.certification.random_share,
                         c.split.salt],
              run_select,
              lambda b: digest_of(sorted(b.parent.case_ids))),
    TableStep("certify", 1, ("annotations.snapshot", "annotations.removals", "correct.authors", "split.cases",
              "standardise.selection", "evaluate.selection", "select.selected", "select.queue"),
              lambda c: [certification_rules(c), c.select.model_dump(mode="json", exclude={"quotas"})], run_certify),
    TableStep("gate_release", 3, ("certify.selected", "certify.outcomes", "certify.summary", "annotations.snapshot",
              "annotations.removals", "correct.authors", "select.rejected", "split.cases", "standardise.selection",
              "evaluate.selection"),
              lambda c: [c.gate.model_dump(mode="json"), c.select.model_dump(mode="json"), load_taxonomy().digest,
                         c.allows_text_only(), certification_rules(c), c.allows_simulated_raters()], gate_release,
              is_gate=True),
)  # fmt: skip

#: Steps that read what the latest release remembers.
READS_PARENT = ("deduplicate", "split", "select")
