"""What a release must satisfy: one list of rules, as plain data.

The gates run this list, the tests break every entry of it, and ``gate.warn_only`` names entries by their code, so the
three cannot disagree. A rule that compares tables or columns (a licence with its class, a narrative with its scores) is
kept as data too: the gate first writes the finding into a column of its own (:data:`DERIVED`), empty where all is well,
and the rule only says that the column is empty. This costs one step of indirection and spares custom expectations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pyarrow as pa

from schemas.licences import LICENCE_CLASS, LICENCE_CLASSES
from schemas.tables import (
    CASES,
    DIMENSIONS,
    EVALUATIONS,
    IMAGES,
    INSPECTIONS,
    LABEL_CERTAINTIES,
    MODALITIES,
    NARRATIVES,
    TRAJECTORIES,
)

Gate = Literal["ingest", "narratives", "release"]
Severity = Literal["block", "warn"]
ColumnType = Literal["text", "integer", "number", "flag"]

#: What must not be shared between splits, and the scores a training row is selected by.
LEAKAGE_KINDS = ("group_id", "patient_id", "lesion_id", "image_digest", "pixel_digest")
THRESHOLD_KINDS = (*DIMENSIONS, "aggregate")
PUBLISHED_SPLITS = ("train", "certified")


@dataclass(frozen=True)
class Expectation:
    """One rule. ``kind``: class name of a Great Expectations expectation, ``arguments`` its arguments.

    ``settings``: argument -> field of :class:`schemas.config.GateSettings` that gives its value. ``says``: what is
    wrong when it fails; ``advice``: what to do then; both are clauses without a full stop.
    """

    code: str
    table: str
    kind: str
    arguments: Mapping[str, Any]
    severity: Severity
    says: str
    advice: str
    settings: Mapping[str, str] = field(default_factory=dict)


def _scalars(*schemas: pa.Schema, without: Sequence[str] = ()) -> dict[str, ColumnType]:
    kinds: dict[str, ColumnType] = {"string": "text", "int64": "integer", "double": "number", "bool": "flag"}
    fields = [f for schema in schemas for f in schema if f.name not in without]
    return {f.name: kinds[str(f.type)] for f in fields if str(f.type) in kinds}


def _nullable(*schemas: pa.Schema) -> set[str]:
    return {f.name for schema in schemas for f in schema if f.nullable}


def _of_type(kind: ColumnType, *names: str) -> dict[str, ColumnType]:
    return dict.fromkeys(names, kind)


#: gate -> table -> the columns it must have, no more and no fewer, and their types. Lists are left out, but the case
#: table has the lengths of three of its lists, and a digest of ``rows`` may be several with a space between. Long texts
#: are given as what the rules ask of them: ``text_length`` in characters and ``concluded_node``.
TYPES: Mapping[Gate, Mapping[str, Mapping[str, ColumnType]]] = {
    "ingest": {
        "images": _scalars(IMAGES, INSPECTIONS),
        "cases": _scalars(CASES) | _of_type("integer", "n_images", "n_concepts", "n_facts"),
        "counts": {"n_source_rows": "integer", "n_rejected": "integer", "rejected_share": "number"},
    },
    "narratives": {
        "narratives": {
            **_scalars(NARRATIVES, without=["completion", "narrative_json", "text", "tagged_text"]),
            **{"concluded_node": "text", "text_length": "integer"},
        },
        "evaluations": _scalars(EVALUATIONS, without=["critique"]),
    },
    "release": {
        "rows": {
            **_of_type("text", "case_id", "split", "source", "licence", "licence_class", "attribution", "taxonomy_id"),
            **_of_type("text", "malignancy", "label_certainty", "group_id", "patient_id", "lesion_id", "image_digest"),
            **_of_type("text", "pixel_digest", "narrative_id"),
            **_of_type("flag", "image_grounded", "synthetic", "is_planted", "is_flagged"),
            **_of_type("number", *DIMENSIONS, "overall", "age_years"),
            **_of_type("integer", "n_images", "text_length", "raters_missing", "human_missing"),
        },
        "leakage": {"kind": "text", "n_shared": "integer"},
        "thresholds": {"kind": "text", "n_below": "integer"},
        "counts": _of_type(
            "integer",
            "n_train",
            "n_certified",
            "n_no_redistribution",
            "n_synthetic",
            "n_real",
            "n_text_only_refused",
            "n_simulated_refused",
        )
        | _of_type("number", "blind_share"),
    },
}

#: gate -> table -> the columns it must have.
COLUMNS: Mapping[Gate, Mapping[str, tuple[str, ...]]] = {
    gate: {table: tuple(columns) for table, columns in tables.items()} for gate, tables in TYPES.items()
}

#: table -> the columns that may be null; every other holds a value in every row.
OPTIONAL: Mapping[str, set[str]] = {
    "images": _nullable(IMAGES, INSPECTIONS),
    "cases": _nullable(CASES),
    "narratives": _nullable(NARRATIVES),
    "rows": {"patient_id", "lesion_id", "age_years"},
}

#: gate -> table -> the columns the gate adds (:mod:`quality.gates`) besides ``missing``, which it adds to every table.
DERIVED: Mapping[Gate, Mapping[str, tuple[str, ...]]] = {
    "ingest": {"images": ("licence_clash",)},
    "narratives": {"narratives": ("unknown_node", "scored"), "evaluations": ("narrative_known",)},
    "release": {"rows": ("licence_clash", "unknown_node", "malignancy_clash"), "counts": ("count_clash",)},
}

#: table -> the column that names a row to a person; ``counts`` has one row and needs none.
ID_COLUMN: Mapping[str, str] = {
    "images": "image_id",
    "cases": "case_id",
    "narratives": "narrative_id",
    "evaluations": "narrative_id",
    "rows": "case_id",
    "leakage": "kind",
    "thresholds": "kind",
}

_BETWEEN = "ExpectColumnValuesToBeBetween"
_IN_SET = "ExpectColumnValuesToBeInSet"
_REGEX = "ExpectColumnValuesToMatchRegex"
_EMPTY = "ExpectColumnValuesToBeNull"
_ADAPTER = "mend the adapter of that source"
_EXPLAIN = "look it up with dermcot explain"
_DEFECT = "this is a defect of the pipeline, so report it with the ids"
_CLASS = "take the class from schemas/licences.py"
_UNPARSED = "reject in the standardise stage what did not parse"
_SOURCES = "check the path of each source and read the rejections"


def _rule(
    name: str, kind: str, says: str, advice: str, settings: Mapping[str, str] | None = None, **arguments: Any
) -> Expectation:
    return Expectation(name, "", kind, arguments, "block", says, advice, settings or {})


def _empty(name: str, column: str, says: str, advice: str) -> Expectation:
    return _rule(name, _EMPTY, says, advice, column=column)


def _some(name: str, column: str, says: str, advice: str) -> Expectation:
    return _rule(name, _BETWEEN, says, advice, column=column, min_value=1)


def _zero(name: str, column: str, says: str, advice: str) -> Expectation:
    return _rule(name, _BETWEEN, says, advice, column=column, min_value=0, max_value=0)


def _in_set(name: str, says: str, advice: str, values: Sequence[str | bool]) -> Expectation:
    return _rule(name, _IN_SET, says, advice, column=name, value_set=list(values))


def _of(gate: Gate, table: str, *rules: Expectation, empty: str = _DEFECT) -> tuple[Expectation, ...]:
    """The rules of one table under their full codes, after two for its shape; ``empty``: the advice on ``required``."""
    columns = [*COLUMNS[gate][table], *DERIVED[gate].get(table, ()), "missing"]
    says = f"the {table} table does not have exactly the columns and types it should"
    shape = (
        _rule("columns", "ExpectTableColumnsToMatchSet", says, _DEFECT, column_set=columns, exact_match=True),
        _empty("required", "missing", "a required field is empty", empty),
    )
    return tuple(replace(rule, code=f"{gate}.{table}.{rule.code}", table=table) for rule in (*shape, *rules))


def _present(says: str, advice: str) -> Expectation:
    return _rule("present", "ExpectTableRowCountToBeBetween", says, advice, min_value=1)


def _one_row() -> Expectation:
    return _rule("one_row", "ExpectTableRowCountToEqual", "there is not exactly one row of counts", _DEFECT, value=1)


def _unique(column: str, says: str, advice: str) -> Expectation:
    return _rule(f"{column}_unique", "ExpectColumnValuesToBeUnique", says, advice, column=column)


def _kinds(kinds: Sequence[str], says: str) -> Expectation:
    return _rule("kinds", "ExpectColumnDistinctValuesToEqualSet", says, _DEFECT, column="kind", value_set=list(kinds))


def _digests(*columns: str) -> Iterator[Expectation]:
    for column in columns:
        says = f"{column} is not a sha256 of 64 hexadecimal digits"
        yield _rule(column, _REGEX, says, _DEFECT, column=column, regex="^[0-9a-f]{64}(?: [0-9a-f]{64})*$")


def _namespaced(*columns: str) -> Iterator[Expectation]:
    for column in columns:
        says = f"{column} does not start with the name of its source and a colon"
        regex = "^[a-z0-9][a-z0-9_-]*:.+$"
        yield _rule(f"{column}_namespaced", _REGEX, says, _ADAPTER, column=column, regex=regex)


def _scores() -> Iterator[Expectation]:
    for name in (*DIMENSIONS, "overall"):
        says, advice = f"{name} is not a score from 0 to 5", "mend the evaluator that gave it, or import its own scale"
        yield _rule(name, _BETWEEN, says, advice, column=name, min_value=0, max_value=5)


def _licences(classes: Sequence[str], says: str, advice: str) -> Iterator[Expectation]:
    known = "set the licence of that source in the configuration to one of schemas/licences.py, or add it there"
    clash = "the licence class is not the class of the licence"
    credit = "set the attribution of that source in the configuration"
    yield _in_set("licence", "the licence is unknown", known, tuple(LICENCE_CLASS))
    yield _in_set("licence_class", says, advice, classes)
    yield _empty("licence_agrees", "licence_clash", clash, _CLASS)
    says = "nobody is credited for the image"
    yield _rule("attribution", _REGEX, says, credit, column="attribution", regex=r"\S")


def _case_facts() -> Iterator[Expectation]:
    advice = f"{_EXPLAIN}; a case whose images were all rejected must be rejected too"
    yield _some("has_image", "n_images", "a case has no image", advice)
    yield _in_set("label_certainty", "the label certainty is unknown", _ADAPTER, LABEL_CERTAINTIES)
    says = "an age is not between 0 and 120 years"
    yield _rule("age_years", _BETWEEN, says, _ADAPTER, column="age_years", min_value=0, max_value=120)


def _certified() -> Iterator[Expectation]:
    says = "a row holds a narrative with a planted fault"
    yield _rule("planted", _IN_SET, says, f"{_EXPLAIN}; {_DEFECT}", column="is_planted", value_set=[False])
    says = "a row is of a case that dermatologists had removed"
    yield _rule("flagged", _IN_SET, says, f"{_EXPLAIN}; {_DEFECT}", column="is_flagged", value_set=[False])
    says = "a certified row lacks raters of the credentials that certification.credentials names"
    advice = "run the certify stage again with the rules of this configuration"
    yield _zero("raters", "raters_missing", says, advice)
    yield _zero("human_scores", "human_missing", "a certified row lacks mean scores of raters", _DEFECT)


_INGEST = (
    *_of(
        "ingest",
        "images",
        _present("no image is left", _SOURCES),
        _unique("image_id", "two images have the same image_id", "give every image of a source an id of its own"),
        *_namespaced("image_id"),
        *_digests("file_digest", "image_digest", "pixel_digest"),
        _some("width", "width", "the width is below one pixel", _DEFECT),
        _some("height", "height", "the height is below one pixel", _DEFECT),
        *_licences(LICENCE_CLASSES, "the licence class is unknown", _CLASS),
        _in_set("modality", "the modality is unknown", _ADAPTER, MODALITIES),
        empty=_ADAPTER,
    ),
    *_of(
        "ingest",
        "cases",
        _present("no case is left", _SOURCES),
        _unique("case_id", "two cases have the same case_id", "give every case of a source an id of its own"),
        *_namespaced("case_id", "lesion_id", "patient_id"),
        *_case_facts(),
        empty=_ADAPTER,
    ),
    *_of(
        "ingest",
        "counts",
        _one_row(),
        _some("source_rows", "n_source_rows", "the sources have no rows", _SOURCES),
        _rule("fraction", _BETWEEN, "the rejected share is below 0", _DEFECT, column="rejected_share", min_value=0),
        _rule(
            "rejected_share",
            _BETWEEN,
            "too large a share of the source images was rejected",
            "read the rejections for the commonest rule and mend the source, or raise gate.max_rejected_share",
            settings={"max_value": "max_rejected_share"},
            column="rejected_share",
        ),
    ),
)

_NARRATIVES = (
    *_of(
        "narratives",
        "narratives",
        _present("there is no narrative", "read the rejections of the propose and standardise stages"),
        _unique("narrative_id", "two narratives have the same narrative_id", _DEFECT),
        *_namespaced("case_id"),
        *_digests("prompt_digest"),
        _in_set("trajectory", "a narrative is of no known kind", f"{_EXPLAIN} and mend its teacher", TRAJECTORIES),
        _in_set("parse_status", "a narrative that did not parse was kept", _UNPARSED, ["parsed"]),
        _some("text_length", "text_length", "a narrative has no text", f"{_EXPLAIN} and mend its teacher"),
        _empty(
            "node_known",
            "unknown_node",
            "a narrative concludes on a diagnosis that is not in the taxonomy",
            "add the diagnosis to the taxonomy or mend the teacher that wrote it",
        ),
        _in_set(
            "scored",
            "a narrative has no scores",
            "run the evaluate stage again; a narrative it cannot score must be rejected with the reason",
            [True],
        ),
        empty=_UNPARSED,
    ),
    *_of(
        "narratives",
        "evaluations",
        _rule(
            "key_unique",
            "ExpectCompoundColumnsToBeUnique",
            "an evaluator scored one narrative twice",
            _DEFECT,
            column_list=["narrative_id", "evaluator_id"],
        ),
        _in_set("narrative_known", "scores belong to no narrative", _DEFECT, [True]),
        *_scores(),
        empty="mend the evaluator that left it empty",
    ),
)

_RELEASE = (
    *_of(
        "release",
        "rows",
        _present("the release would be empty", "read the rejections to see which stage dropped the cases"),
        _unique("case_id", "a case is in the release twice, or in two splits", _DEFECT),
        *_namespaced("case_id"),
        _unique("narrative_id", "two cases have the same narrative", _DEFECT),
        _in_set(
            "split",
            "a row belongs to a split that is not published in full",
            "keep the certify queue and the calibration cases out of the rows",
            PUBLISHED_SPLITS,
        ),
        *_licences(
            [name for name in LICENCE_CLASSES if name != "no-redistribution"],
            "the licence class does not let a row be published",
            "leave the row out of the release and only count it",
        ),
        _empty(
            "node_known",
            "unknown_node",
            "a diagnosis is not in the taxonomy",
            "add the diagnosis to the taxonomy, or reject the case as unknown",
        ),
        _empty(
            "malignancy",
            "malignancy_clash",
            "the malignancy is not that of the diagnosis",
            "take the malignancy from the taxonomy",
        ),
        *_digests("image_digest", "pixel_digest"),
        *_case_facts(),
        _rule(
            "one_origin",
            "ExpectColumnUniqueValueCountToBeBetween",
            "drawn and photographed cases are mixed",
            "release synthetic sources and real sources by configurations of their own",
            column="synthetic",
            max_value=1,
        ),
        _some("text_length", "text_length", "a row has no text", f"{_EXPLAIN} and mend the teacher of its narrative"),
        *_scores(),
        *_certified(),
        empty=f"{_EXPLAIN} and mend the stage that left it empty",
    ),
    *_of(
        "release",
        "leakage",
        _kinds(LEAKAGE_KINDS, "not every kind of leakage was counted"),
        _zero(
            "none_shared",
            "n_shared",
            "two splits share groups, patients, lesions or images",
            "assign splits by leakage group, and withdraw the train rows of a group that is held out",
        ),
    ),
    *_of(
        "release",
        "thresholds",
        _kinds(THRESHOLD_KINDS, "not every score was compared with its threshold"),
        _zero(
            "none_below",
            "n_below",
            "train rows score below select.thresholds",
            "run the select stage again with the thresholds of this configuration",
        ),
    ),
    *_of(
        "release",
        "counts",
        _one_row(),
        _empty("agree", "count_clash", "the counts are not those of the rows", _DEFECT),
        _zero(
            "text_only",
            "n_text_only_refused",
            "train rows carry narratives whose author did not look at the image",
            "propose with a teacher that looks at images, or set release.allow_text_only to true if that is meant",
        ),
        _zero(
            "simulated",
            "n_simulated_refused",
            "answers of simulated raters were counted about photographs",
            "name a snapshot of human answers, or set certification.allow_simulated to true, which marks the release",
        ),
        _rule(
            "enough_train",
            _BETWEEN,
            "there are too few train rows",
            "read the rejections for the commonest rule, add sources, or lower gate.min_train_rows",
            settings={"min_value": "min_train_rows"},
            column="n_train",
        ),
        _rule(
            "blind_share",
            _BETWEEN,
            "too small a share of the train rows is by authors who were not told the diagnosis",
            "read in the rejections of the propose stage why blind candidates were lost, raise "
            "propose.vlm.blind_share, or lower gate.min_blind_share",
            settings={"min_value": "min_blind_share"},
            column="blind_share",
        ),
    ),
)

#: gate -> its rules, in the order they are reported.
SUITES: Mapping[Gate, tuple[Expectation, ...]] = {"ingest": _INGEST, "narratives": _NARRATIVES, "release": _RELEASE}

#: Every code, of all gates.
CODES: tuple[str, ...] = tuple(rule.code for suite in SUITES.values() for rule in suite)
