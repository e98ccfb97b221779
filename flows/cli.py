"""The command line. A person's mistake ends in one sentence and exit status 2, a blocked gate in exit status 1."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console

from flows.annotate_commands import annotate
from flows.doctor_command import doctor
from flows.narrative_sets import narrative_sets
from schemas.errors import GateError, UserError

if TYPE_CHECKING:
    from schemas.config import Config

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.add_typer(narrative_sets)
app.add_typer(annotate, name="annotate")
app.command()(doctor)

ConfigFile = Annotated[Path, typer.Option("-c", "--config", help="Configuration file.", show_default=True)]
Workspace = Annotated[str | None, typer.Option("--workspace", help="Where the build keeps its work (folder or URL).")]
Releases = Annotated[str | None, typer.Option("--releases", help="Where releases are published (folder or URL).")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="key=value over any field; may be repeated.")]
DEFAULT_CONFIG = Path("dermcot.yaml")
_INTERRUPTED = 130  # exit status, also the one that typer makes of Ctrl+C


@app.callback()
def dermcot() -> None:
    """Curate public dermatology image datasets into versioned, traceable releases of diagnostic narratives."""


@app.command()
def run(
    config_file: ConfigFile = DEFAULT_CONFIG,
    workspace: Workspace = None,
    releases: Releases = None,
    overrides: Overrides = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use this many images, spread over sources and labels.")
    ] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the resolved configuration and stop.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and what is reused, and stop.")
    ] = False,
) -> None:
    """Run the pipeline to a release; its directory is the last line printed.

    Example: dermcot run -c dermcot.yaml --set select.thresholds.accuracy=3.5
    """
    from flows.gate_process import gate_process

    asked: dict[str, Any] = {"workspace": workspace, "releases": releases, "limit": limit}
    asked["overrides"] = tuple(overrides or ())
    with nullcontext() if show_config or dry_run else gate_process():  # what it imports takes as long as all below
        from schemas.config_file import load_config

        config = load_config(config_file, **asked)
        if show_config:
            print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), end="")
        elif dry_run:
            _print_dry_run(config)
        else:
            from flows.run import run_to_release

            print(run_to_release(config, {"config_file": str(config_file), **asked}))


def _print_dry_run(config: Config) -> None:
    from rich.table import Table

    from corpus.store import Store
    from flows.build import finished_build
    from flows.plan import Build, look
    from flows.steps import STEPS

    table = Table(title="What a run would do now", title_justify="left", pad_edge=False)
    for column in ("step", "would", "of what"):
        table.add_column(column)
    looks = look(STEPS, Build(config, Store(config.workspace)))
    words = {"reused": "be reused", "runs": "run", "waits": "run if its input changes"}
    for step in looks:
        table.add_row(step.step, words[step.state], step.detail)
    table.add_row("release", "be reused" if finished_build(config) else "run", "")
    Console().print(table)


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Folder to draw into.")] = Path("sample"),
    images: Annotated[int, typer.Option(min=30, help="How many images, planted ones included.")] = 300,
    seed: Annotated[int, typer.Option(help="Another seed draws other images.")] = 7,
) -> None:
    """Draw a synthetic sample in the published layouts, with planted duplicates and defects (truth.csv says which).

    Example: dermcot sample sample --images 300
    """
    from corpus.sample.draw import draw_sample
    from flows.report import Screen

    with Screen() as screen:
        draw_sample(
            folder,
            n_images=images,
            seed=seed,
            workers=os.cpu_count() or 1,
            progress=lambda done, total: screen.progress("drawing", done, total),
        )
    print(folder)


@app.command()
def explain(
    identifier: Annotated[str, typer.Argument(help="Case, image or narrative id, file name, or digest.")],
    config_file: ConfigFile = DEFAULT_CONFIG,
    workspace: Workspace = None,
) -> None:
    """Tell everything that happened to a case or image, and why it is or is not in the release.

    Example: dermcot explain ham10000:ISIC_0024306
    """
    from flows.explain import explain as story
    from schemas.config_file import load_config

    place = workspace or load_config(config_file).workspace
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # a pipe gets whole lines
    console.print(story(place, identifier))


@app.command()
def labels(
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON lines or Parquet file.")],
    column: Annotated[str, typer.Option("--column", help="Column that holds the labels.")],
    dataset: Annotated[str | None, typer.Option("--dataset", help="Read its codes too, such as ham10000.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the whole mapping to this CSV file.")] = None,
) -> None:
    """Say what the labels of a table mean: the mapping with the rule behind it, its coverage, and what is unmapped.

    Labels may be image paths where the dataset keeps the diagnosis in file names: with --dataset dermnet, a cell may
    be "folder/file.jpg", a file name, a folder or a word; a folder decides only for a name that says nothing.

    Example: dermcot labels metadata.csv --column diagnostic --dataset pad_ufes_20;
    dermcot labels dermbench_test.jsonl --column dermnet_image_path --dataset dermnet
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from flows.labels import map_column, read_column, summary
    from schemas.taxonomy import load_taxonomy

    taxonomy = load_taxonomy()
    if dataset is not None and dataset not in taxonomy.datasets:
        raise UserError(f"there is no crosswalk of {dataset!r}; there are {', '.join(taxonomy.datasets)}")
    mapping = map_column(read_column(file, column), taxonomy, dataset)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    parts = {"Mapped": mapping["node"].is_not_null(), "Not mapped": mapping["node"].is_null()}
    for title, chosen in parts.items():
        rows = mapping.filter(chosen)
        table = Table(title=f"{title}: {rows.height:,} label{'s' * (rows.height != 1)}")
        for name in ("label", "rows", "node", "rule", "set aside", "may mean"):
            table.add_column(name, justify="right" if name == "rows" else "left", overflow="fold")
        for row in rows.iter_rows(named=True):
            cells = (row["label"], f"{row['count']:,}", row["node"], row["rule"], row["set_aside"], row["candidates"])
            table.add_row(*(escape(cell or "") for cell in cells))
        console.print(table)
    console.print(summary(mapping))
    if out is not None:
        try:
            mapping.write_csv(out)
        except OSError as error:
            raise UserError(f"{out} cannot be written ({error.strerror}): name another file with --out") from error


@app.command()
def report(
    release: Annotated[str, typer.Argument(help="Directory or fsspec URL of a release.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; NAME.html in this directory by default.")
    ] = None,
) -> None:
    """Write the HTML report of a release anew: one file, no network, made from the release alone.

    The same report lies in the release as report.html. Example: dermcot report releases/dermcot-0.1.0
    """
    from flows.html_report import published_report

    name, html = published_report(release)
    target = out or Path(f"{name}.html")
    try:
        target.write_text(html, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror}): name another file with --out") from error
    print(target)


def main() -> None:
    """Entry point of the ``dermcot`` command."""
    sys.exit(guarded(app))


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; a :class:`UserError` becomes its sentence on stderr. Returns the exit status."""
    try:
        command()
    except GateError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return _stopped()
    except SystemExit as exit_:
        code = int(exit_.code or 0)
        return _stopped() if code == _INTERRUPTED else code
    return 0


def _stopped() -> int:
    print("Stopped. Nothing committed is lost: run the same command to go on.", file=sys.stderr)
    return _INTERRUPTED
