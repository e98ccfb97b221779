"""Arrow schemas of every table, each with a version.

Arrow rather than data classes because rows travel between processes, Parquet files and trainers; a column's type is the
contract. A schema change raises the version in its metadata, which is part of every key derived from the table.
Identifiers are namespaced by source (``ham10000:ISIC_0024306``) so that no two datasets can collide.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

#: The six DermEval dimensions, canonical names in canonical order; each scored 0-5 with decimals.
DIMENSIONS = (
    "accuracy",
    "safety",
    "medical_groundedness",
    "clinical_coverage",
    "reasoning_coherence",
    "description_precision",
)

#: How sure a label is, surest first. ``unstated`` is what a source says when it says nothing.
LABEL_CERTAINTIES = (
    "histopathology",
    "confocal",
    "follow_up",
    "consensus",
    "clinical",
    "atlas",
    "self_report",
    "unstated",
)

MODALITIES = ("dermoscopic", "clinical", "histology", "other", "unknown")

#: How a text reaches its diagnosis: straight, weighing a named rival and keeping it, or giving up a first impression.
TRAJECTORIES = ("direct", "kept", "revised")

SPLITS = ("train", "certify_queue", "certified", "calibration")


def _table(name: str, version: int, fields: list[pa.Field]) -> pa.Schema:
    return pa.schema(fields, metadata={"table": name, "version": str(version)})


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


#: One statement about skin tone: ``scale`` fitzpatrick | monk | apparent, an interval ``low``..``high`` on that scale,
#: and who said so (``origin``: the source column).
TONE = pa.struct([("scale", pa.string()), ("low", pa.int64()), ("high", pa.int64()), ("origin", pa.string())])
#: One reported fact about a case, as the source states it.
FACT = pa.struct([("key", pa.string()), ("value", pa.string())])

#: What an adapter yields for one image of its metadata table, before any file is opened. ``age_years`` in years.
#: ``facts`` holds what else was reported (itch, diameter ...); ``notes`` holds sentinels and repairs, such as
#: ``age:blank`` or ``path:repaired``.
SOURCE_RECORDS = _table(
    "source_records",
    1,
    [
        _required("source_image_id", pa.string()),
        _required("source_case_id", pa.string()),
        pa.field("file_path", pa.string()),  # relative to the source's folder, posix; null when no file was found
        pa.field("raw_label", pa.string()),
        _required("label_certainty", pa.string()),
        pa.field("lesion_key", pa.string()),  # without the source prefix; composite where the dataset needs it
        pa.field("patient_key", pa.string()),
        pa.field("age_years", pa.float64()),
        pa.field("sex", pa.string()),  # female | male
        pa.field("site", pa.string()),
        _required("modality", pa.string()),
        _required("tone_observations", pa.list_(TONE)),
        _required("concepts", pa.list_(pa.string())),
        pa.field("caption", pa.string()),
        _required("facts", pa.list_(FACT)),
        _required("licence", pa.string()),
        _required("attribution", pa.string()),
        _required("external_processing", pa.bool_()),
        _required("notes", pa.list_(pa.string())),
    ],
)

#: One image file as found. ``file_digest``: sha256 (hex) of its bytes.
IMAGES = _table(
    "images",
    1,
    [
        _required("image_id", pa.string()),
        _required("source", pa.string()),
        _required("source_image_id", pa.string()),
        _required("file_path", pa.string()),
        _required("file_bytes", pa.int64()),
        _required("file_digest", pa.string()),
        _required("licence", pa.string()),
        _required("licence_class", pa.string()),
        _required("attribution", pa.string()),
        _required("external_processing", pa.bool_()),
        _required("synthetic", pa.bool_()),
        _required("modality", pa.string()),
        _required("tone_observations", pa.list_(TONE)),
        _required("notes", pa.list_(pa.string())),
    ],
)

#: What one decode of one file told; keyed by ``file_digest``, so equal files are decoded once.
#: ``image_digest``: sha256 of the stored payload. ``pixel_digest``: sha256 of the upright 8-bit RGB pixels and size.
#: ``phash_whole`` / ``phash_centre``: 8 x 32 bytes, the 256-bit pHash of the eight orientations, upright first.
#: ``pack`` and ``pack_offset`` say where the stored payload lies (:mod:`corpus.packs`).
INSPECTIONS = _table(
    "inspections",
    1,
    [
        _required("file_digest", pa.string()),
        _required("image_digest", pa.string()),
        _required("pixel_digest", pa.string()),
        _required("width", pa.int64()),
        _required("height", pa.int64()),
        _required("source_format", pa.string()),
        _required("stored_format", pa.string()),
        _required("exif_orientation", pa.int64()),
        pa.field("reencoded", pa.string()),  # why the payload was re-encoded losslessly; null when it was not
        _required("phash_whole", pa.binary(256)),
        _required("phash_centre", pa.binary(256)),
        _required("sharpness", pa.float64()),
        _required("luma_std", pa.float64()),
        _required("low_variance", pa.bool_()),
        _required("stored_bytes", pa.int64()),
        _required("pack", pa.string()),
        _required("pack_offset", pa.int64()),
    ],
)

#: One clinical case. ``lesion_id`` and ``patient_id`` are namespaced by source. ``node_id`` and ``label_rule`` are set
#: by label mapping; null means the label is unknown to the taxonomy.
CASES = _table(
    "cases",
    1,
    [
        _required("case_id", pa.string()),
        _required("source", pa.string()),
        _required("image_ids", pa.list_(pa.string())),
        pa.field("raw_label", pa.string()),
        pa.field("node_id", pa.string()),
        pa.field("label_rule", pa.string()),
        _required("label_certainty", pa.string()),
        pa.field("lesion_id", pa.string()),
        pa.field("patient_id", pa.string()),
        pa.field("age_years", pa.float64()),
        pa.field("sex", pa.string()),
        pa.field("site", pa.string()),
        _required("concepts", pa.list_(pa.string())),
        pa.field("caption", pa.string()),
        _required("facts", pa.list_(FACT)),
    ],
)

#: One candidate as a teacher wrote it, and, once standardised, as the corpus holds it.
#: ``sampling`` is JSON; token counts are null for teachers that have none; ``post_hoc`` counts findings of the
#: rationale that an answer-blind observation lacked (null when there was none), and ``post_hoc_findings`` holds them.
#: ``parse_status``: raw | parsed.
#: ``residue``: of a free-form text, the sentences that no section took; null for a text in the standard layout.
#: ``trajectory``: a word of :data:`TRAJECTORIES`; ``synthetic_trajectory``: its first impression was put in by an
#: author who knew the diagnosis. ``narrative_json``: the Narrative; ``text``: its sections; ``tagged_text``: the same
#: as ``<think>`` and ``<answer>``.
NARRATIVES = _table(
    "narratives",
    3,
    [
        _required("narrative_id", pa.string()),
        _required("case_id", pa.string()),
        _required("candidate", pa.int64()),
        _required("author_kind", pa.string()),  # teacher | rater
        _required("author", pa.string()),
        _required("author_revision", pa.string()),
        _required("prompt_digest", pa.string()),
        _required("trajectory", pa.string()),
        _required("synthetic_trajectory", pa.bool_()),
        _required("sampling", pa.string()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        _required("completion", pa.string()),
        _required("label_seen", pa.bool_()),
        _required("image_grounded", pa.bool_()),
        pa.field("post_hoc", pa.int64()),
        pa.field("post_hoc_findings", pa.list_(pa.string())),
        pa.field("parent_narrative_id", pa.string()),
        _required("teacher_terms", pa.string()),
        _required("parse_status", pa.string()),
        pa.field("narrative_json", pa.string()),
        pa.field("text", pa.string()),
        pa.field("tagged_text", pa.string()),
        pa.field("residue", pa.list_(pa.string())),
        _required("context_used", pa.list_(pa.string())),
    ],
)

_SCORES = [_required(name, pa.float64()) for name in DIMENSIONS]

#: What raters decide about a narrative; ``cannot_judge`` stands for a case that they could not score.
DECISIONS = ("certify", "revise", "reject", "cannot_judge")
#: Why a narrative is before a rater. ``repeat``: seen before by the same rater; ``gold``: its scores are known;
#: ``practice``: before a rater's first scores; ``adjudication``: others disagreed.
OCCASIONS = ("first", "repeat", "gold", "practice", "adjudication")
RATER_KINDS = ("human", "simulated")
CREDENTIALS = ("board_certified", "resident", "other")

#: One rater's view of one narrative on one occasion, as it stood at one time; the history is kept, ``is_latest`` marks
#: what counts. ``server``: digest of the server's address or name; ``rater``: pseudonym. Scores are null for a case
#: that cannot be judged. ``planted``: the fault put into a gold or practice narrative, null for none.
#: ``inclusion_probability``: the chance with which the narrative came into the queue, null where it was chosen.
#: ``pre_edit``: JSON of the narrative as it was shown; ``corrected``: JSON of the one that a reviser wrote. ``flags``
#: and ``cannot_judge``: words of the labelling screen.
ANNOTATIONS = _table(
    "annotations",
    1,
    [
        _required("annotation_id", pa.string()),
        _required("server", pa.string()),
        _required("project_id", pa.int64()),
        _required("task_id", pa.int64()),
        _required("server_annotation_id", pa.int64()),
        _required("revision", pa.int64()),
        _required("is_latest", pa.bool_()),
        _required("narrative_id", pa.string()),
        _required("case_id", pa.string()),
        _required("rater", pa.string()),
        _required("rater_kind", pa.string()),
        _required("credential", pa.string()),
        _required("occasion", pa.string()),
        pa.field("planted", pa.string()),
        pa.field("inclusion_probability", pa.float64()),
        *(pa.field(name, pa.float64()) for name in DIMENSIONS),
        _required("scale_low", pa.float64()),
        _required("scale_high", pa.float64()),
        _required("decision", pa.string()),
        pa.field("critique", pa.string()),
        _required("flags", pa.list_(pa.string())),
        _required("cannot_judge", pa.list_(pa.string())),
        pa.field("corrected", pa.string()),
        _required("pre_edit", pa.string()),
        pa.field("seconds", pa.float64()),
        _required("created_at", pa.timestamp("us", tz="UTC")),
        _required("updated_at", pa.timestamp("us", tz="UTC")),
        _required("config_digest", pa.string()),
    ],
)

#: One evaluator's raw view of one narrative. ``overall``: mean of the six. ``critique``: JSON, dimension -> sentence.
EVALUATIONS = _table(
    "evaluations",
    1,
    [
        _required("narrative_id", pa.string()),
        _required("evaluator_id", pa.string()),
        _required("saw_label", pa.bool_()),
        _required("scale_low", pa.float64()),
        _required("scale_high", pa.float64()),
        *_SCORES,
        _required("overall", pa.float64()),
        _required("critique", pa.string()),
    ],
)

#: The append-only split ledger: a leakage group, its split, since which release, why, and the images that made it.
LEDGER = _table(
    "splits",
    1,
    [
        _required("group_id", pa.string()),
        _required("split", pa.string()),
        _required("since", pa.string()),
        _required("reason", pa.string()),
        _required("members", pa.list_(pa.string())),
    ],
)

_REJECTION_FIELDS = [
    _required("record_kind", pa.string()),  # image | case | narrative | attempt
    _required("record_id", pa.string()),
    _required("stage", pa.string()),
    _required("rule", pa.string()),
    pa.field("value", pa.string()),
    pa.field("threshold", pa.string()),
    pa.field("survivor", pa.string()),
    pa.field("detail", pa.string()),
]

#: Rejections as a stage writes them; the build's id is added when a build is assembled.
STAGE_REJECTIONS = _table("stage_rejections", 1, _REJECTION_FIELDS)
REJECTIONS = _table("rejections", 1, [_required("build_id", pa.string()), *_REJECTION_FIELDS])


def polars_schema(schema: pa.Schema) -> pl.Schema:
    """The polars schema of an Arrow schema; fixed-size binary becomes binary."""
    fields = [pa.field(f.name, pa.binary() if pa.types.is_fixed_size_binary(f.type) else f.type) for f in schema]
    return pl.Schema(pa.schema(fields))


def empty_frame(schema: pa.Schema) -> pl.DataFrame:
    """A polars frame of no rows with the columns of ``schema``."""
    return pl.DataFrame(schema=polars_schema(schema))


def schema_version(schema: pa.Schema) -> str:
    """``table/version`` of a schema, for keys."""
    metadata = schema.metadata or {}
    return f"{metadata[b'table'].decode()}/{metadata[b'version'].decode()}"
