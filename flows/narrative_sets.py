"""The commands over sets of narratives from anywhere: bring them into the standard layout, and tell their health."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from schemas.errors import GateError, UserError

narrative_sets = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Source = Annotated[Path, typer.Argument(help="DermBench folder, release, or JSON lines, Parquet, CSV file.")]
TextColumn = Annotated[str | None, typer.Option("--text-column", help="Column of the texts, if its name is unusual.")]
LabelColumn = Annotated[str | None, typer.Option("--label-column", help="Column of the labels.")]
IdColumn = Annotated[str | None, typer.Option("--id-column", help="Column of the ids.")]
Dataset = Annotated[str | None, typer.Option("--dataset", help="Read its label codes too, such as dermnet.")]
ImageColumn = Annotated[str | None, typer.Option("--image-column", help="Column of the images' names.")]


@narrative_sets.command()
def standardise(
    source: Source,
    out: Annotated[Path, typer.Argument(help="Folder to write narratives, rejections and counts to.")],
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    id_column: IdColumn = None,
    image_column: ImageColumn = None,
    dataset: Dataset = None,
    certainty: Annotated[
        str, typer.Option("--certainty", help="What the labels rest on, such as histopathology; others list all words.")
    ] = "unstated",
) -> None:
    """Bring free-form narratives into the standard layout; nothing is lost: what fits no section is kept as residue.

    Example: dermcot standardise dermbench standardised
    """
    from corpus.sources.narratives import Columns
    from flows.report import Screen
    from flows.standardise import standardise_set
    from schemas.tables import LABEL_CERTAINTIES

    if certainty not in LABEL_CERTAINTIES:
        raise UserError(f"{certainty!r} is no certainty; --certainty takes one of {', '.join(LABEL_CERTAINTIES)}")
    columns = Columns(text_column, label_column, id_column, image_column)
    with Screen() as screen:
        counts = standardise_set(
            source, out, columns, certainty, lambda done: screen.progress("standardise", done, None), _known(dataset)
        )
    console = Console(stderr=True, highlight=False)
    console.print(
        f"{counts['narratives']:,} of {counts['texts']:,} texts standardised, {counts['rejected']:,} rejected; "
        f"{counts['no_diagnosis']:,} settle on no diagnosis, {counts['diagnosis_unmapped']:,} on none that the "
        f"taxonomy has; {counts['clinical_residue']:,} have clinical words left over"
    )
    print(out)


@narrative_sets.command()
def audit(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="Folder for tables, summary and report.")],
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    id_column: IdColumn = None,
    image_column: ImageColumn = None,
    dataset: Dataset = None,
    evaluation_sets: Annotated[
        list[Path] | None, typer.Option("--evaluation-set", help="Manifest of an evaluation set; may be repeated.")
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option("--fail-on", help="RULE, RULE=20 or RULE=5%: fail when it touches more texts; may be repeated."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as many as there are cores.")] = None,
) -> None:
    """Tell the health of any set of diagnostic texts; the HTML report's path is the last line printed.

    Exit status 1 when a --fail-on limit is exceeded. Example: dermcot audit train.jsonl --out audit --fail-on error=5%
    """
    from corpus.sources.narratives import Columns
    from flows.audit import audit_set
    from flows.audit_limits import read_limit
    from flows.audit_table import counts_of
    from flows.report import Screen

    limits = [read_limit(told) for told in fail_on or []]
    columns = Columns(text_column, label_column, id_column, image_column)
    with Screen() as screen:
        outcome = audit_set(
            source, out, columns, evaluation_sets or [], limits, workers or os.cpu_count() or 1,
            lambda done, total: screen.progress("auditing", done, total), _known(dataset),
        )  # fmt: skip
        screen.show(counts_of(outcome.summary))
    print(outcome.report)
    if outcome.exceeded:
        raise GateError("more findings than allowed: " + "; ".join(outcome.exceeded))


def _known(dataset: str | None) -> str | None:
    from schemas.taxonomy import load_taxonomy

    known = load_taxonomy().datasets
    if dataset is not None and dataset not in known:
        raise UserError(f"there is no crosswalk of {dataset!r}; there are {', '.join(known)}")
    return dataset
