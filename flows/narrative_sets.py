"""The commands over sets of narratives from anywhere: bring them into the standard layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from corpus.sources.narratives import Columns
from schemas.errors import UserError
from schemas.tables import LABEL_CERTAINTIES

narrative_sets = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Source = Annotated[Path, typer.Argument(help="DermBench folder, release, or JSON lines, Parquet, CSV file.")]
TextColumn = Annotated[str | None, typer.Option("--text-column", help="Column of the texts, if its name is unusual.")]
LabelColumn = Annotated[str | None, typer.Option("--label-column", help="Column of the labels.")]
IdColumn = Annotated[str | None, typer.Option("--id-column", help="Column of the ids.")]
ImageColumn = Annotated[str | None, typer.Option("--image-column", help="Column of the images' names.")]


@narrative_sets.command()
def standardise(
    source: Source,
    out: Annotated[Path, typer.Argument(help="Folder to write narratives, rejections and counts to.")],
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    id_column: IdColumn = None,
    image_column: ImageColumn = None,
    certainty: Annotated[
        str, typer.Option("--certainty", help=f"What the labels rest on: {', '.join(LABEL_CERTAINTIES)}.")
    ] = "unstated",
) -> None:
    """Bring free-form narratives into the standard layout; nothing is lost: what fits no section is kept as residue.

    Example: dermcot standardise dermbench standardised
    """
    from flows.report import Screen
    from flows.standardise import standardise_set

    if certainty not in LABEL_CERTAINTIES:
        raise UserError(f"{certainty!r} is no certainty; --certainty takes one of {', '.join(LABEL_CERTAINTIES)}")
    columns = Columns(text_column, label_column, id_column, image_column)
    with Screen() as screen:
        counts = standardise_set(
            source, out, columns, certainty, lambda done: screen.progress("standardise", done, None)
        )
    console = Console(stderr=True, highlight=False)
    console.print(
        f"{counts['narratives']:,} of {counts['texts']:,} texts standardised, {counts['rejected']:,} rejected; "
        f"{counts['no_diagnosis']:,} settle on no diagnosis, {counts['diagnosis_unmapped']:,} on none that the "
        f"taxonomy has; {counts['clinical_residue']:,} have clinical words left over"
    )
    print(out)
