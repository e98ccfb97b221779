"""The counts of an audit as a table for the terminal."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from quality.auditing.findings import RULES

_STYLES = {"error": "red", "warning": "yellow", "info": "dim"}


def counts_of(summary: dict[str, Any]) -> Table:
    """One line for each rule that found something, and what could not be read."""
    rejected = sum(summary["rejections"].values())
    title = f"{escape(summary['set'])}: {summary['texts']:,} texts read, {rejected:,} rows not read"
    table = Table(title=title, title_justify="left", pad_edge=False)
    for name in ("rule", "severity", "texts", "share", "findings"):
        table.add_column(name, justify="left" if name in ("rule", "severity") else "right")
    for rule, (_, severity, _) in RULES.items():
        row = summary["rules"][rule]
        if row["texts"]:
            told = f"[{_STYLES[severity]}]{severity}[/]"
            table.add_row(rule, told, f"{row['texts']:,}", f"{100 * row['share']:.1f} %", f"{row['findings']:,}")
    return table
