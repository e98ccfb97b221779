"""The audit command: reads a set batch by batch, keeps what is found, and writes tables, a summary and a report."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from corpus.decontamination import read_manifest
from corpus.digests import canonical_json
from corpus.sources.narratives import Columns, read_narratives
from flows.audit_limits import Limit, exceeded
from quality.audit import Audited, audit
from quality.audit_report import Example, render_audit
from quality.audit_summary import summarise
from quality.auditing.findings import FINDINGS
from quality.auditing.whole_set import EvaluationSets, set_findings, stem
from schemas.errors import ConfigError, UserError
from schemas.taxonomy import load_taxonomy

_BATCH = 250
#: Sets up to this size are read in this process: starting others takes longer than they save.
_ALONE = 1000
_EXAMPLES = 3
_AROUND = 240
#: What a spreadsheet would take for a formula.
_FORMULA = r"^([=+\-@\t\r])"


@dataclass(frozen=True)
class Outcome:
    """What an audit came to: its summary, where the report lies, and the limits that were exceeded, in words."""

    summary: dict[str, Any]
    report: Path
    exceeded: list[str]


@dataclass
class _Kept:
    """What stays in memory: small rows, signatures, counts, and a few examples of each rule."""

    texts: list[pl.DataFrame] = field(default_factory=list)
    signatures: list[Any] = field(default_factory=list)
    found: Counter[str] = field(default_factory=Counter)
    touched: dict[str, set[str]] = field(default_factory=dict)
    rejections: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, Example]]] = field(default_factory=dict)


def audit_set(
    path: Path,
    out: Path,
    columns: Columns,
    evaluation: list[Path],
    limits: list[Limit],
    workers: int,
    progress: Callable[[int, int], None],
    dataset: str | None = None,
) -> Outcome:
    """Audit the set at ``path``, its labels read as those of ``dataset``, into the folder ``out``.

    Raises :class:`UserError`, which says what is wrong with what was given.
    """
    listed = _evaluation_sets(evaluation)
    total = sum(rows.height for rows, _ in read_narratives(path, columns, _BATCH))
    kept = _Kept()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _Tables(out) as tables:
            done = 0
            for rows, rejections, audited in _audited(path, columns, total, workers, dataset):
                kept.rejections.update(str(row["rule"]) for row in rejections)
                _keep(kept, rows, audited)
                tables.add(audited.findings)
                done += rows.height
                progress(done, total)
            if total == 0:
                reasons = ", ".join(f"{rule} {n:,}" for rule, n in sorted(kept.rejections.items()))
                raise UserError(f"{path} holds no text that can be audited ({reasons or 'no rows'})")
            texts = pl.concat(kept.texts)
            kept.texts.clear()
            late = set_findings(texts, np.concatenate(kept.signatures), listed)
            _count(kept, late)
            _late_examples(kept, late, texts)
            tables.add(late)
        shown = texts.drop("first_sentence", "first_start", "first_end")
        shown.write_parquet(out / "texts.parquet")
        taxonomy, touched = load_taxonomy(), {what: len(ids) for what, ids in kept.touched.items()}
        summary = summarise(path.resolve().name, texts, kept.found, touched, kept.rejections, taxonomy)
        over = exceeded(limits, summary)
        summary["limits"] = [limit.told for limit in limits]
        summary["exceeded"] = over
        (out / "summary.json").write_bytes(canonical_json(summary))
        examples = {rule: [example for _, example in some] for rule, some in sorted(kept.examples.items())}
        report = out / "report.html"
        report.write_text(render_audit(summary, texts, examples, taxonomy), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): name another folder with --out") from error
    return Outcome(summary, report, over)


def _evaluation_sets(files: list[Path]) -> EvaluationSets | None:
    names: dict[str, str] = {}
    digests: dict[str, str] = {}
    for file in files:
        try:
            listed = read_manifest(file)
        except ConfigError as error:
            said = str(error).removesuffix(": mend decontaminate.manifests")
            raise UserError(f"{said}: name another with --evaluation-set") from error
        for row in listed.iter_rows(named=True):
            called = "/".join(part for part in (row["dataset"] or file.name, row["name"]) if part)
            if row["name"] is not None:
                names.setdefault(stem(row["name"]), called)
            if row["file_digest"] is not None:
                digests.setdefault(row["file_digest"], called)
    return EvaluationSets(names, digests) if files else None


_Read = tuple[pl.DataFrame, list[dict[str, str | None]]]


def _audited(
    path: Path, columns: Columns, total: int, workers: int, dataset: str | None
) -> Iterator[tuple[pl.DataFrame, list[dict[str, str | None]], Audited]]:
    """Batches in their order, with what was found in each; few are in memory at a time."""
    batches = _distinct(read_narratives(path, columns, _BATCH))
    if workers < 2 or total <= _ALONE:
        for rows, rejections in batches:
            yield rows, rejections, audit_rows(rows, dataset)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        waiting: deque[tuple[_Read, Future[Audited]]] = deque()
        for batch in chain(batches, [None]):
            if batch is not None:
                waiting.append((batch, pool.submit(audit_rows, batch[0], dataset)))
            while waiting and (batch is None or len(waiting) > workers + 1):
                (rows, rejections), future = waiting.popleft()
                yield rows, rejections, future.result()


def _distinct(batches: Iterator[_Read]) -> Iterator[_Read]:
    """Batches in which no id stands twice in the set: the second text of ``a`` becomes ``a (2)``."""
    seen: Counter[str] = Counter()
    for rows, rejections in batches:
        names = []
        for name in rows["id"]:
            seen[name] += 1
            names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
        yield rows.with_columns(pl.Series("id", names, dtype=pl.String)), rejections


def audit_rows(rows: pl.DataFrame, dataset: str | None = None) -> Audited:
    """Audit some rows with the taxonomy that ships with the project; what another process is asked to do."""
    return audit(rows, load_taxonomy(), dataset)


def _keep(kept: _Kept, rows: pl.DataFrame, audited: Audited) -> None:
    kept.texts.append(audited.texts)
    if audited.texts.height:
        kept.signatures.append(audited.signatures)
    _count(kept, audited.findings)
    texts = dict(rows.select("id", "text").iter_rows())
    labels = dict(rows.select("id", "label").iter_rows())
    for one in audited.findings.iter_rows(named=True):
        text, start, end = texts[one["id"]], one["start"], one["end"]
        around = (text[max(0, start - _AROUND) : start], text[start:end], text[end : end + _AROUND])
        _show(kept, one, labels[one["id"]], around)


def _late_examples(kept: _Kept, late: pl.DataFrame, texts: pl.DataFrame) -> None:
    labels = dict(texts.select("id", "label").iter_rows())
    for one in late.iter_rows(named=True):
        _show(kept, one, labels[one["id"]], ("", one["sentence"], ""))


def _show(kept: _Kept, one: dict[str, Any], label: str | None, around: tuple[str, str, str]) -> None:
    """Keep a finding as an example when its digest is among the lowest: a draw that no order of reading changes."""
    some = kept.examples.setdefault(one["rule"], [])
    key = hashlib.sha256(f"{one['rule']}\0{one['id']}\0{one['start']}".encode()).hexdigest()
    if len(some) < _EXAMPLES or key < some[-1][0]:
        if any(example.id == one["id"] for _, example in some):
            return
        some.append((key, Example(one["id"], label or "", one["detail"], *around)))
        some.sort(key=lambda pair: pair[0])
        del some[_EXAMPLES:]


def _count(kept: _Kept, findings: pl.DataFrame) -> None:
    """Count findings, and the texts touched by each rule, each part of a rule before a dot, and each severity."""
    for name, rule, severity in findings.select("id", "rule", "severity").iter_rows():
        kept.found[rule] += 1
        for what in {rule, rule.partition(".")[0], severity}:
            kept.touched.setdefault(what, set()).add(name)


class _Tables:
    """``findings.parquet`` and ``findings.csv``, written as findings come. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._schema = pl.DataFrame(schema=FINDINGS).to_arrow().schema
        self._csv = (folder / "findings.csv").open("wb")
        self._parquet = pq.ParquetWriter(folder / "findings.parquet", self._schema, compression="zstd")
        self._csv.write((",".join(FINDINGS) + "\n").encode())

    def __enter__(self) -> _Tables:
        return self

    def __exit__(self, *_: object) -> None:
        self._parquet.close()
        self._csv.close()

    def add(self, findings: pl.DataFrame) -> None:
        """Write the findings of a batch; in the CSV, what a spreadsheet would run is told as text."""
        if findings.height:
            self._parquet.write_table(findings.to_arrow().cast(self._schema))
            told = findings.with_columns(pl.col("id", "sentence", "detail").str.replace(_FORMULA, "'${1}"))
            told.write_csv(self._csv, include_header=False)
