"""The counts of an audit: one JSON-able summary, the same for the same set, for people and for continuous checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from quality.auditing.content import CERTAINTIES
from quality.auditing.findings import RULES
from schemas.agreement import RELATIONS
from schemas.taxonomy import Taxonomy

SUMMARY_VERSION = 1
_MOST_UNMAPPED = 200


def summarise(
    name: str,
    texts: pl.DataFrame,
    found: Mapping[str, int],
    touched: Mapping[str, int],
    rejections: Mapping[str, int],
    taxonomy: Taxonomy,
) -> dict[str, Any]:
    """Counts by rule, relation, certainty and layout; ``touched``: how many texts a rule, the part of a
    rule before its dot, or a severity found something in."""
    total = texts.height
    together = dict.fromkeys(rule.partition(".")[0] for rule in RULES if "." in rule)
    rules = {
        rule: {
            "group": group, "severity": severity, "findings": found.get(rule, 0), "texts": touched.get(rule, 0),
            "share": round(touched.get(rule, 0) / max(1, total), 6),
        }
        for rule, (group, severity, _) in RULES.items()
    }  # fmt: skip
    relations = Counter(texts["relation"].to_list())
    certainties = Counter(texts["certainty"].drop_nulls().to_list())
    unmapped = Counter(label for label, node in texts.select("label", "label_node").iter_rows() if node is None)
    commonest = sorted(unmapped.items(), key=lambda pair: (-pair[1], pair[0] or ""))[:_MOST_UNMAPPED]
    return {
        "summary_version": SUMMARY_VERSION,
        "set": name,
        "taxonomy": {"version": taxonomy.version, "digest": taxonomy.digest},
        "texts": total,
        "rejections": dict(sorted(rejections.items())),
        "labels": {
            "mapped": total - sum(unmapped.values()),
            "unmapped": sum(unmapped.values()),
            "commonest_unmapped": [[label, n] for label, n in commonest],
        },
        "relations": {name: relations.get(name, 0) for name in (*RELATIONS, "absent", "no_label")},
        "certainty": {name: certainties.get(name, 0) for name in CERTAINTIES},
        "layouts": dict(sorted(Counter(texts["layout"].to_list()).items())),
        "severities": {name: touched.get(name, 0) for name in ("error", "warning", "info")},
        "rules_together": {name: touched.get(name, 0) for name in together},
        "rules": rules,
    }
