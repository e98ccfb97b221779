"""What a dataset card says of the dermatologists: the rules, what they came to, and how far raters agree.

Figures are about all raters together. One rater's, and a pair's, are left out whoever they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.certification_words import AGREEMENT, ALIGNMENT, BASIS, figures

_HEADER = ("dimension", "measure", "estimate", "95 % interval", "narratives")


def certification_text(manifest: Mapping[str, Any]) -> str:
    """The card's section on certification."""
    told, rules = manifest["certification"], manifest["configuration"]["certification"]
    text = _rules(rules)
    if told["annotations"] is None:
        return text + "No answers were counted for this release: nothing is certified yet.\n"
    counts = told["counts"]
    states = [(state.replace("_", " "), n) for state, n in counts.get("state", {}).items()]
    text += f"Answers: the snapshot of content digest `{told['annotations']}`.\n\n" + table(
        ("narratives", "number"), states
    )
    removed = ", ".join(f"{n:,} {name.removeprefix('flagged_').replace('_', ' ')}" for name, n in
                        counts.get("removed", {}).items())  # fmt: skip
    text += f"\nCases that raters had removed from every split: {removed or 'none'}. "
    text += f"Corrected texts: {counts['corrections']['narratives']:,}. "
    planted = counts["planted"]
    text += (
        f"Of {planted['shown']:,} narratives with a planted fault that raters were shown {planted['certified']:,} were "
        "certified; none is released.\n\n"
    )
    text += "Agreement of the raters' first answers, with 95 % intervals over narratives:\n\n"
    text += table(_HEADER, figures(told["agreement"], AGREEMENT))
    basis = BASIS[told["alignment"][0]["basis"]] if told["alignment"] else BASIS["all"]
    text += f"\nDermEval beside the mean of the raters, {basis}:\n\n"
    return text + table(_HEADER, figures(told["alignment"], ALIGNMENT))


def _rules(rules: Mapping[str, Any]) -> str:
    least = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in rules["thresholds"].items())
    return (
        f"A narrative is certified when {rules['raters']} raters ({', '.join(rules['credentials']).replace('_', ' ')}) "
        f"scored it, {rules['decisions']} of them certify it, none rejects it, and the mean over raters reaches: "
        f"{least}. Where they differ by more than {rules['max_spread']:g} on a dimension, or in what they decide, "
        f"others adjudicate (at least {rules['adjudicators']}). The author of a corrected text counts as one "
        "of its raters without scoring it, and DermEval has to accept it too. `human_...` are means over `n_raters` "
        "raters.\n\n"
    )


def table(header: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(f"{c:,}" if isinstance(c, int) else str(c) for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
