"""The gates: whether a build is good enough to become a release, decided by Great Expectations.

Great Expectations decides and counts; polars compares tables beforehand and finds the offending ids afterwards, which
the former does slowly and in no fixed order. So a report depends on the rows alone and can go into the manifest. The
import of Great Expectations takes about five seconds and stays inside :func:`run_gate`: one gate per build, not per
shard. Anything that keeps a rule from being checked (a missing table or column, a wrong type, an error) fails it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from quality.expectations import (
    CODES,
    COLUMNS,
    DERIVED,
    ID_COLUMN,
    LEAKAGE_KINDS,
    OPTIONAL,
    SUITES,
    TYPES,
    ColumnType,
    Expectation,
    Gate,
)
from schemas.config import GateSettings, SelectSettings
from schemas.errors import ConfigError, GateError
from schemas.intended_use import intended_use
from schemas.licences import LICENCE_CLASS, LICENCE_CLASSES
from schemas.tables import DIMENSIONS
from schemas.taxonomy import load_taxonomy

_N_IDS = 5
_N_VALUES = 3


@dataclass(frozen=True)
class GateReport:
    """What a gate found. ``passed``: no blocking rule failed. ``results``: one dict per rule, in the suite's order.

    Each has ``code``, ``table``, ``severity``, ``success``, ``observed`` (text), ``says``, ``advice``, ``n_unexpected``
    (offending rows; null where the rule is not about rows) and ``sample_ids`` (the first few of them, sorted).
    """

    gate: Gate
    passed: bool
    results: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-able values: the same for the same rows, whenever and wherever it was made."""
        return {"gate": self.gate, "passed": self.passed, "results": [dict(result) for result in self.results]}


@dataclass(frozen=True)
class _Outcome:
    success: bool
    n_unexpected: int | None = None
    cause: str | None = None


def run_gate(gate: Gate, tables: Mapping[str, pl.DataFrame], settings: GateSettings) -> GateReport:
    """Check ``tables`` (name -> frame with :data:`quality.expectations.COLUMNS`) against the rules of ``gate``.

    Diagnoses are held against the taxonomy of this package. Raises ConfigError when ``settings.warn_only`` names a rule
    that does not exist.
    """
    check_warn_only(settings)
    rules = [_resolved(rule, settings) for rule in SUITES[gate]]
    outcomes: dict[str, _Outcome] = {}
    frames: dict[str, pl.DataFrame] = {}
    batches = _batch_definition()
    for table in COLUMNS[gate]:
        of_table = [rule for rule in rules if rule.table == table]
        if table in tables:
            frames[table] = _checkable(_with_findings(gate, table, tables), TYPES[gate][table])
            outcomes |= _validate(batches, frames[table], of_table)
        else:
            outcomes |= {rule.code: _Outcome(False, cause=f"the table {table} is missing") for rule in of_table}
    results = [_result(rule, outcomes[rule.code], frames.get(rule.table)) for rule in rules]
    passed = all(result["success"] for result in results if result["severity"] == "block")
    return GateReport(gate, passed, results)


def raise_if_blocked(report: GateReport) -> None:
    """Raise GateError, one sentence per failed blocking rule (what, how many, which, what to do), if there is any."""
    failed = [result for result in report.results if result["severity"] == "block" and not result["success"]]
    if failed:
        raise GateError("\n".join(failure_sentence(report.gate, result) for result in failed))


def failure_sentence(gate: Gate, result: Mapping[str, Any]) -> str:
    """One plain sentence about a failed result of a report."""
    ids = f", such as {', '.join(result['sample_ids'])}" if result["sample_ids"] else ""
    return (
        f"The {gate} gate failed: {result['says']} ({result['observed']}{ids}; {result['code']}); {result['advice']}."
    )


def refuse_without_intended_use(card: str, manifest: Mapping[str, Any]) -> None:
    """Raise GateError unless card and manifest of a release carry the statement of intended use, word for word."""
    for document, text in (("README.md", card), ("manifest.json", str(manifest.get("intended_use", "")))):
        if intended_use() not in text:
            raise GateError(
                f"The release gate failed: {document} of the release lacks the statement of intended use "
                "(release.documents.intended_use); write schemas/data/intended_use.md into it, unchanged."
            )


def check_warn_only(settings: GateSettings) -> None:
    """Raise ConfigError, naming the nearest code, when ``gate.warn_only`` holds a code that no rule has."""
    for code in settings.warn_only:
        if code not in CODES:
            nearest = difflib.get_close_matches(code, CODES, n=1, cutoff=0)[0]
            raise ConfigError(f"gate.warn_only names {code!r}, which is not a rule; the nearest is {nearest!r}.")


def leakage_table(rows: pl.DataFrame, held_out: pl.DataFrame | None = None) -> pl.DataFrame:
    """How many values occur in more than one split: ``kind`` (:data:`LEAKAGE_KINDS`) and ``n_shared``.

    ``rows``: the released cases; ``held_out``: those of the certify queue and calibration; both with ``split`` and the
    columns named by the kinds, a digest column being text or, for cases of several images, a list. The certify queue
    and ``certified`` count as one split: a case goes from the one to the other, and neither is trained on.
    """
    side = pl.col("split").replace({"certify_queue": "certified"}).alias("side")
    frames = [rows] if held_out is None else [rows, held_out]
    counts = []
    for kind in LEAKAGE_KINDS:
        pairs = [frame.select(pl.col(kind).alias("value"), side) for frame in frames]
        flat = [frame.explode("value") if frame.schema["value"] == pl.List else frame for frame in pairs]
        values = pl.concat([frame.with_columns(pl.col("value").cast(pl.String)) for frame in flat]).drop_nulls("value")
        shared = values.group_by("value").agg(pl.col("side").n_unique()).filter(pl.col("side") > 1)
        counts.append(shared.height)
    return pl.DataFrame({"kind": LEAKAGE_KINDS, "n_shared": counts}, schema={"kind": pl.String, "n_shared": pl.Int64})


def threshold_table(rows: pl.DataFrame, settings: SelectSettings) -> pl.DataFrame:
    """How many train rows miss each threshold: ``kind`` (the six dimensions, ``aggregate``) and ``n_below``.

    A missing score is below any threshold; a shortfall under 1e-9 is rounding.
    """
    total = pl.col("overall") if settings.aggregate == "mean" else pl.min_horizontal(DIMENSIONS)
    train = rows.filter(pl.col("split") == "train").select(*DIMENSIONS, total.alias("aggregate"))
    least = settings.thresholds.model_dump()
    enough = [(pl.col(name) >= least[name] - 1e-9).fill_null(False) & ~pl.col(name).is_nan() for name in train.columns]
    counts = [train.filter(~test).height for test in enough]
    return pl.DataFrame({"kind": train.columns, "n_below": counts}, schema={"kind": pl.String, "n_below": pl.Int64})


# Findings: what polars compares before Great Expectations looks.


def _with_findings(gate: Gate, table: str, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    frame = tables[table]
    required = [c for c in COLUMNS[gate][table] if c in frame.columns and c not in OPTIONAL.get(table, ())]
    names = [pl.when(pl.col(column).is_null()).then(pl.lit(column)) for column in required]
    listed = pl.concat_str(names, separator=", ", ignore_nulls=True) if names else pl.lit("")
    frame = frame.with_columns(pl.when(listed != "").then(listed).alias("missing"))
    for name in DERIVED[gate].get(table, ()):
        try:
            frame = frame.with_columns(_finding(name, table, tables).alias(name))
        except (pl.exceptions.PolarsError, KeyError):
            continue  # a column or table is missing or has a wrong type; the rule on this finding then fails
    return frame


def _finding(name: str, table: str, tables: Mapping[str, pl.DataFrame]) -> pl.Expr:
    if name == "licence_clash":
        known = pl.col("licence_class").is_in(LICENCE_CLASSES)
        return _clash("licence", "licence_class", LICENCE_CLASS, known)
    if name == "malignancy_clash":
        return _clash("taxonomy_id", "malignancy", _malignancies(), pl.lit(True))
    if name == "unknown_node":
        node = pl.col("concluded_node" if table == "narratives" else "taxonomy_id")
        return pl.when(~node.is_in(list(_malignancies()))).then(node)
    if name == "count_clash":
        return _count_clash(tables["rows"])
    other = tables["evaluations" if name == "scored" else "narratives"]
    return pl.col("narrative_id").is_in(other["narrative_id"].unique().to_list())


def _malignancies() -> dict[str, str]:
    return {node.id: node.malignancy for node in load_taxonomy().nodes}


def _clash(key: str, column: str, expected_of: Mapping[str, str], also: pl.Expr) -> pl.Expr:
    """``key is expected, not given`` where ``column`` is not what ``key`` stands for; unknown keys do not clash."""
    expected = pl.col(key).replace_strict(dict(expected_of), default=None, return_dtype=pl.String)
    text = pl.concat_str([pl.col(key), pl.lit(" is "), expected, pl.lit(", not "), pl.col(column)])
    return pl.when((expected != pl.col(column)) & also).then(text)


def _count_clash(rows: pl.DataFrame) -> pl.Expr:
    expected = {
        "n_train": rows.filter(pl.col("split") == "train").height,
        "n_certified": rows.filter(pl.col("split") == "certified").height,
        "n_synthetic": rows.filter(pl.col("synthetic")).height,
        "n_real": rows.filter(~pl.col("synthetic")).height,
    }
    texts = [pl.concat_str([pl.lit(f"{name} is {n}, not "), pl.col(name)]) for name, n in expected.items()]
    wrong = [pl.when(pl.col(name) != n).then(text) for (name, n), text in zip(expected.items(), texts, strict=True)]
    listed = pl.concat_str(wrong, separator="; ", ignore_nulls=True)
    return pl.when(listed != "").then(listed)


def _checkable(frame: pl.DataFrame, types: Mapping[str, ColumnType]) -> pl.DataFrame:
    """The frame for Great Expectations: a column that holds bytes, lists or another type than it should becomes nulls
    under a name that tells its type. So bytes are never converted, and the rules on the column and ``columns`` fail.
    """
    kept = []
    for name, dtype in frame.schema.items():
        if not _fits(dtype, types.get(name)):
            kept.append(pl.lit(None, pl.String).alias(f"{name} ({dtype})"))
        elif dtype in (pl.Categorical, pl.Enum, pl.Null):
            kept.append(pl.col(name).cast(pl.String))
        else:
            kept.append(pl.col(name))
    return frame.select(kept)


def _fits(dtype: pl.DataType, wanted: ColumnType | None) -> bool:
    if wanted is None or dtype == pl.Null:
        return not (dtype.is_nested() or dtype in (pl.Binary, pl.Object))
    if wanted == "text":
        return dtype in (pl.String, pl.Categorical, pl.Enum)
    if wanted == "flag":
        return dtype == pl.Boolean
    return dtype.is_integer() or (wanted == "number" and dtype.is_float())


# Great Expectations.


def _batch_definition() -> Any:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_or_update_pandas("gate")
    return source.add_dataframe_asset("table").add_batch_definition_whole_dataframe("rows")


def _validate(batches: Any, frame: pl.DataFrame, rules: Sequence[Expectation]) -> dict[str, _Outcome]:
    import great_expectations as gx
    import pandas as pd

    outcomes: dict[str, _Outcome] = {}
    checks = []
    for rule in rules:
        absent = [name for name in _columns_of(rule) if name not in frame.columns]
        if absent:
            outcomes[rule.code] = _Outcome(False, cause=f"the column {absent[0]} is missing or has a wrong type")
        else:
            checks.append(getattr(gx.expectations, rule.kind)(**rule.arguments, meta={"code": rule.code}))
    try:
        pandas_frame = frame.to_arrow().to_pandas(types_mapper=pd.ArrowDtype)
        batch = batches.get_batch(batch_parameters={"dataframe": pandas_frame})
        outcomes |= _ask(batch, checks, "BOOLEAN_ONLY")
        counted = [check for check in checks if _is_countable(outcomes.get(check.meta["code"]))]
        outcomes |= _ask(batch, counted, "BASIC") if counted else {}
    except Exception as error:
        outcomes |= {check.meta["code"]: _Outcome(False, cause=_first_line(error)) for check in checks}
    unanswered = _Outcome(False, cause="Great Expectations gave no result")
    return {rule.code: outcomes.get(rule.code, unanswered) for rule in rules}


def _ask(batch: Any, checks: Sequence[Any], result_format: str) -> dict[str, _Outcome]:
    """Outcomes by code. Counting (BASIC) takes longer than deciding (BOOLEAN_ONLY), so only failures are counted."""
    import great_expectations as gx

    report = batch.validate(gx.ExpectationSuite(name="gate", expectations=list(checks)), result_format=result_format)
    return {result.expectation_config.meta["code"]: _outcome(result) for result in report.results}


def _is_countable(outcome: _Outcome | None) -> bool:
    return outcome is not None and not outcome.success and outcome.cause is None


def _outcome(result: Any) -> _Outcome:
    info = result.exception_info or {}
    raised = [info] if "raised_exception" in info else list(info.values())
    messages = sorted(_first_line(item["exception_message"]) for item in raised if item["raised_exception"])
    if messages:
        return _Outcome(False, cause=messages[0])
    return _Outcome(bool(result.success), result.result.get("unexpected_count"))


def _first_line(error: object) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _columns_of(rule: Expectation) -> list[str]:
    return [rule.arguments["column"]] if "column" in rule.arguments else list(rule.arguments.get("column_list", ()))


def _resolved(rule: Expectation, settings: GateSettings) -> Expectation:
    given = {argument: getattr(settings, name) for argument, name in rule.settings.items()}
    severity = "warn" if rule.code in settings.warn_only else rule.severity
    return replace(rule, arguments={**rule.arguments, **given}, severity=severity)


# What a person reads.


def _result(rule: Expectation, outcome: _Outcome, frame: pl.DataFrame | None) -> dict[str, Any]:
    mask = _mask(rule)
    n_unexpected, ids = None, []
    if outcome.cause is not None or frame is None:
        observed = f"could not be checked: {outcome.cause}"
    elif mask is None:
        observed = _observed_table(rule, frame)
    elif outcome.success:
        n_unexpected, observed = 0, f"all {frame.height} rows"
    else:
        n_unexpected, offending = outcome.n_unexpected, frame.filter(mask)
        values = _texts(offending, _columns_of(rule)[0], _N_VALUES)
        observed = f"{n_unexpected} of {frame.height} rows: {', '.join(values)}"
        ids = _texts(offending, ID_COLUMN.get(rule.table, ""), _N_IDS)
    return {
        "code": rule.code,
        "table": rule.table,
        "severity": rule.severity,
        "success": outcome.success,
        "observed": observed,
        "says": rule.says,
        "advice": rule.advice,
        "n_unexpected": n_unexpected,
        "sample_ids": ids,
    }


def _observed_table(rule: Expectation, frame: pl.DataFrame) -> str:
    if "column_set" in rule.arguments:
        expected, given = set(rule.arguments["column_set"]), set(frame.columns)
        lists = {"missing": sorted(expected - given), "unexpected": sorted(given - expected)}
        return "; ".join(f"{word}: {', '.join(names)}" for word, names in lists.items() if names) or "as expected"
    if not _columns_of(rule):
        return f"{frame.height} rows"
    return f"found {', '.join(_texts(frame, _columns_of(rule)[0], frame.height)) or 'nothing'}"


def _texts(frame: pl.DataFrame, column: str, limit: int) -> list[str]:
    """The first distinct values of a column, sorted, each as one line of at most 80 characters."""
    if column not in frame.columns:
        return []
    values = frame[column].cast(pl.String).drop_nulls().unique().sort().head(limit).to_list()
    return [" ".join(value.split())[:80] or "(blank)" for value in values]


def _mask(rule: Expectation) -> pl.Expr | None:
    """The rows at fault, by the judgement of Great Expectations: nulls never are; None when no row can be at fault."""
    kind, arguments = rule.kind, rule.arguments
    if kind == "ExpectCompoundColumnsToBeUnique":
        return pl.struct(arguments["column_list"]).is_duplicated()
    column = pl.col(arguments.get("column", ""))
    if kind == "ExpectColumnValuesToBeNull":
        return column.is_not_null()
    if kind == "ExpectColumnValuesToBeUnique":
        return column.is_duplicated() & column.is_not_null()
    if kind == "ExpectColumnValuesToBeInSet":
        return ~column.is_in(arguments["value_set"])
    if kind == "ExpectColumnValuesToMatchRegex":
        return ~column.str.contains(arguments["regex"])
    if kind == "ExpectColumnValuesToBeBetween":
        bounds = {"min_value": column.__lt__, "max_value": column.__gt__}
        outside = [outside_of(arguments[name]) for name, outside_of in bounds.items() if name in arguments]
        return pl.any_horizontal(column.cast(pl.Float64).is_nan(), *outside)
    return None
