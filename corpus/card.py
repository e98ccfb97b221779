"""The dataset card: what is in a release, for whom, and under which terms; also tells ``datasets`` what to load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
import yaml

from corpus.card_certification import certification_text, table
from schemas.licences import LICENCE_CLASSES
from schemas.tables import DIMENSIONS, TRAJECTORIES

_MARKS = ("synthetic", "simulated")
_USE = {
    "open": "any use with attribution",
    "nc": "non-commercial use with attribution",
    "nc-sa": "non-commercial use with attribution, share alike",
    "share-with-terms": "use and passing on under the source's own terms",
}


def render_card(version: str, manifest: Mapping[str, Any], rows: pl.DataFrame) -> str:
    """README.md of a release: YAML front matter for ``datasets``, then text. ``rows``: the published rows' scalars."""
    return f"---\n{yaml.safe_dump(_front_matter(manifest), sort_keys=False)}---\n{_body(version, manifest, rows)}"


def _front_matter(manifest: Mapping[str, Any]) -> dict[str, Any]:
    configs = []
    for licence_class in LICENCE_CLASSES:
        paths: dict[str, str] = {}
        for path in sorted(manifest["files"]):
            if path.startswith("data/") and path.rsplit("/", 1)[-1].rsplit("-", 1)[0] == licence_class:
                split = path.split("/")[1]
                paths[split] = f"data/{split}/{licence_class}-*.parquet"
        if paths:
            files = [{"split": split, "path": path} for split, path in paths.items()]
            # Without open rows nothing loads by default: `datasets` then asks for a name, since there are two.
            has_rows = any(
                manifest["files"][p]["rows"] for p in manifest["files"] if p.startswith("data/") and "/open-" in p
            )
            default = {"default": True} if licence_class == "open" and has_rows else {}
            configs.append({"config_name": licence_class, **default, "data_files": files})
    return {
        "license": "other",
        "language": ["en"],
        "tags": ["dermatology", "medical", "chain-of-thought", *(name for name in _MARKS if manifest[name])],
        **({"simulated": True} if manifest["simulated"] else {}),
        "task_categories": ["image-text-to-text"],
        "configs": configs,
    }


def _body(version: str, manifest: Mapping[str, Any], rows: pl.DataFrame) -> str:
    counts = manifest["counts"]
    drawn = ""
    if manifest["synthetic"]:
        drawn = "\n**Synthetic: every image of this release was drawn by a program. It shows no patient.**\n"
    if manifest["simulated"]:
        drawn += (
            "\n**simulated: true. Answers of this release's certification come from simulated raters, which are "
            "programs. No dermatologist certified such a row (`simulated` is true in it).**\n"
        )
    sections = [
        f"# DermCoT {version}\n{drawn}",
        f"{counts['rows']:,} cases with {counts['images']:,} images: a diagnosis of one taxonomy, a standardised "
        "diagnostic narrative, its six DermEval scores, licence and attribution.\n",
        f"## Intended use\n\n{manifest['intended_use']}\n\n{_sight(counts)}",
        "## Loading\n\n```python\nfrom datasets import load_dataset\n\n"
        'train = load_dataset("PATH", split="train")          # rows of open licence\n'
        'train = load_dataset("PATH", "nc", split="train")    # another licence class, by name\n'
        + _loading_certified(manifest)
        + "`images` are decoded images; `text` is the narrative in sections, `tagged_text` the same as `<think>` and "
        "`<answer>`; `context` holds the metadata the narrative relies on, which belongs in the prompt.\n\n"
        + _authors(counts),
        "## Kinds of reasoning\n\n" + _kinds(counts) + "\n" + table(
            ("trajectory", "rows", "the text"),
            [(kind, counts["by_trajectory"].get(kind, 0), _KINDS[kind]) for kind in TRAJECTORIES],
        ),
        "## Licences\n\n" + table(("class", "allows", "rows"), [
            (name, _USE.get(name, ""), n) for name, n in counts["by_licence_class"].items()
        ]) + "\n" + _attributions(rows) + _withheld(counts),
        "## Composition\n\n" + "\n".join(
            table((title, "rows"), list(counts[key].items()))
            for title, key in (("split", "by_split"), ("source", "by_source"), ("skin tone", "by_tone"),
                               ("diagnosis", "by_diagnosis"))
        ),
        "## Scores (0 to 5)\n\n" + _scores(rows),
        "## Selection\n\n" + _selection(manifest["configuration"]),
        "## Certification\n\n" + certification_text(manifest),
        "## Traceability\n\n`manifest.json` lists every file with its sha256, the configuration, the stages and the "
        "gates; `rejections.parquet` says why every record that is not here is not here; `splits.parquet` is the split "
        "ledger; `queue.parquet` names held-out cases by id and digest, and `certification.parquet` "
        "the narratives to be scored by dermatologists, each with the chance it had of being drawn. `report.html` "
        "shows the release in pictures, made from these files, `candidates.parquet` (every candidate of the training "
        "cases with its scores and what became of it) and `duplicates.parquet` (small pictures of some duplicates).\n",
    ]  # fmt: skip
    return "\n" + "\n".join(sections)


def _loading_certified(manifest: Mapping[str, Any]) -> str:
    """The rest of the code block, with the certified split where a class has one."""
    classes = sorted({path.rsplit("/", 1)[-1].rsplit("-", 1)[0] for path in manifest.get("files", {})
                      if path.startswith("data/certified/")}, key=LICENCE_CLASSES.index)  # fmt: skip
    lines = [f'bench = load_dataset("PATH", "{name}", split="certified")\n' for name in classes]
    return "".join(lines) + "```\n\n"


_KINDS = {
    "direct": "goes from the findings straight to the diagnosis, with a short differential",
    "kept": "weighs a named rival at length and keeps the diagnosis",
    "revised": "begins with a first impression, gives it up, and concludes with the diagnosis",
}


def _kinds(counts: Mapping[str, Any]) -> str:
    """What the kinds of trajectory are, and which of them are made up."""
    n, rows = counts["synthetic_trajectories"], counts["rows"]
    return (
        "`trajectory` says how a text reaches its diagnosis. `synthetic_trajectory` marks texts whose first impression "
        "was put in by an author who knew the diagnosis: the case belongs to another disease than that first guess, "
        "and nobody is known to have made it. It says nothing of the image, unlike `synthetic`. "
        f"{n:,} of {rows:,} rows are so marked; without them: "
        '`train.filter(lambda row: not row["synthetic_trajectory"])`.\n'
    )


def _attributions(rows: pl.DataFrame) -> str:
    lines = rows.select("source", "licence", "attribution").unique().sort("source", "licence", "attribution").rows()
    return "".join(f"- {source} ({licence}): {attribution}\n" for source, licence, attribution in lines)


def _sight(counts: Mapping[str, Any]) -> str:
    n = counts["text_only"]
    return f"{n:,} of the rows carry a narrative whose author did not see the image.\n" if n else ""


def _authors(counts: Mapping[str, Any]) -> str:
    """What the columns on the author of a narrative are, and how many of the train rows are by blind ones."""
    n, rows = counts["blind"], counts["by_split"].get("train", 0)
    share = f", {100 * n / rows:.1f} %" if rows else ""
    return (
        "`label_seen` is false where the author of the narrative was not told the diagnosis (a blind narrative): "
        f"{n:,} of the {rows:,} train rows{share}. `image_grounded` says whether the author looked at the image, "
        "`post_hoc` how many findings a look without the diagnosis had not named (null where there was no such look), "
        "`post_hoc_findings` which, and `teacher_terms` under which terms the text may be used.\n"
    )


def _withheld(counts: Mapping[str, Any]) -> str:
    n = counts["not_redistributable"]
    return f"\n{n:,} further cases may not be passed on; they were counted and not written.\n" if n else ""


_AGGREGATES = {"mean": "the mean of the six dimensions", "min": "the lowest of the six dimensions"}


def _selection(configuration: Mapping[str, Any]) -> str:
    """How candidates were chosen, by the configuration the release was made with."""
    settings, n = configuration["select"], configuration["propose"]["candidates"]
    kinds = configuration["propose"]["trajectories"]
    quotas = [(name.removeprefix("per_").replace("_", " "), n) for name, n in settings["quotas"].items() if n]
    limits = table(("at most per", "training cases"), quotas) if quotas else "No quota was set.\n"
    return (
        f"Up to {n} candidates were written for each case, of the kinds {', '.join(kinds)} in turn. The best by the "
        f"aggregate, {_AGGREGATES[settings['aggregate']]}, was kept; a training row also reaches every threshold.\n\n"
        + table(("score", "at least"), list(settings["thresholds"].items())) + "\n" + limits
    )  # fmt: skip


def _scores(rows: pl.DataFrame) -> str:
    if rows.is_empty():
        return "No rows.\n"
    lines = []
    for name in (*DIMENSIONS, "overall"):
        column = rows[name]
        quantiles = [f"{column.quantile(q, 'nearest'):.2f}" for q in (0.05, 0.5, 0.95)]
        lines.append((name, f"{float(column.sum()) / column.len():.2f}", *quantiles))
    return table(("dimension", "mean", "5 %", "median", "95 %"), lines)
