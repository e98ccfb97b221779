"""Narratives go to dermatologists and their scores come back: ``dermcot annotate push | pull | schedule | status``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.annotate import annotate
from schemas.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from annotators.label_studio.study import Outcome
    from flows.annotation import Pulled

ConfigFile = Annotated[Path, typer.Option("-c", "--config", help="Configuration file.", show_default=True)]
Workspace = Annotated[str | None, typer.Option("--workspace", help="Where the build keeps its work (folder or URL).")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="key=value over any field; may be repeated.")]
_DEFAULT = Path("dermcot.yaml")


@annotate.command()
def push(config_file: ConfigFile = _DEFAULT, workspace: Workspace = None, overrides: Overrides = None) -> None:
    """Bring the certification queue to the raters' projects; run it again at any time, nothing is ever there twice.

    Example: dermcot annotate push -c dermcot.yaml --set annotate.url=http://127.0.0.1:8080
    """
    from flows.annotation import push_config
    from flows.report import Screen
    from schemas.config_file import load_config

    config = load_config(config_file, overrides or (), workspace=workspace)
    with Screen() as screen:
        outcome = push_config(config, lambda done, total: screen.progress("pushing", done, total))
    _console().print(_pushed(outcome))
    for note in outcome.notes:
        _console().print(note)
    if outcome.left_out:
        _console().print(
            f"{len(outcome.left_out):,} narrative{'s' * (len(outcome.left_out) != 1)} went to nobody: too few raters "
            "agreed to see such cases, or have not written the text themselves"
        )
    print(sum(told.imported for told in outcome.pushed))


@annotate.command()
def pull(config_file: ConfigFile = _DEFAULT, workspace: Workspace = None, overrides: Overrides = None) -> None:
    """Fetch what the raters answered since the last time; the path of the table is the last line printed.

    Example: dermcot annotate pull -c dermcot.yaml
    """
    from flows.annotation import pull_config
    from flows.report import Screen
    from schemas.config_file import load_config

    config = load_config(config_file, overrides or (), workspace=workspace)
    with Screen() as screen:
        pulled = pull_config(config, lambda done, total: screen.progress("pulling", done, total))
    _tell_pulled(pulled)
    print(pulled.path)
    if problem := pulled.problem():
        raise UserError(problem)


@annotate.command()
def schedule(
    push: Annotated[str | None, typer.Option("--push", help="When to push, as cron says it.")] = None,
    pull: Annotated[str | None, typer.Option("--pull", help="When to pull, as cron says it.")] = None,
    timezone: Annotated[str, typer.Option("--timezone", help="Of those times, such as Europe/Berlin.")] = "UTC",
    name: Annotated[
        str | None, typer.Option("--name", help="Under which it is shown; annotate.title by default.")
    ] = None,
    config_file: ConfigFile = _DEFAULT,
    workspace: Workspace = None,
    overrides: Overrides = None,
) -> None:
    """Push and pull at set times until Ctrl+C, as flows on the Prefect server of PREFECT_API_URL; one at a time.

    Example: dermcot annotate schedule --push "0 6 * * *" --pull "*/15 * * * *"
    """
    from flows.annotation_schedule import serve_study
    from schemas.config_file import load_config

    config = load_config(config_file, overrides or (), workspace=workspace)
    told = (str(config_file.resolve()), tuple(overrides or ()), config.workspace)
    serve_study(config, told, {"push": push, "pull": pull}, timezone, name or config.annotate.title)


@annotate.command()
def status(config_file: ConfigFile = _DEFAULT, workspace: Workspace = None, overrides: Overrides = None) -> None:
    """Tell how far every rater is, how each scores, how DermEval stands to them, and what is decided, as of the latest
    pull.

    Example: dermcot annotate status -c dermcot.yaml
    """
    import datetime

    from annotators.label_studio.ledger import Ledger
    from annotators.label_studio.raters import pseudonyms, read_raters, secret_mark
    from flows.annotation_credentials import study_secret
    from flows.annotation_standing import latest_build, standing_of
    from flows.annotation_status import status_of
    from flows.annotation_tables import status_parts
    from schemas.config_file import load_config

    config = load_config(config_file, overrides or (), workspace=workspace)
    registry = read_raters(Path(config.annotate.raters), (config.workspace, config.releases))
    secret, ledger = study_secret(config.annotate), Ledger(config.workspace)
    if ledger.begun():
        ledger.study(secret_mark(secret))  # under another secret nobody would be known
    now = datetime.datetime.now().astimezone()
    told = status_of(ledger, config.annotate, pseudonyms(registry, secret), now)
    build = None if told.annotations is None else latest_build(config)
    for part in status_parts(told, None if build is None else standing_of(build, told.annotations)):
        _console(sys.stdout).print(part)


def _console(file: object = sys.stderr) -> Console:
    console = Console(file=file, highlight=False, markup=False)  # type: ignore[arg-type]
    if not console.is_terminal:
        console.width = 200
    return console


def _pushed(outcome: Outcome) -> Table:
    from flows.annotation_tables import counts_table

    table = counts_table("Pushed", "project", "number", "imported", "were there", "copies removed")
    for told in outcome.pushed:
        cells = (told.imported, told.there, told.copies_removed)
        table.add_row(told.project.title, str(told.project.project_id), *(f"{cell:,}" for cell in cells))
    return table


def _tell_pulled(pulled: Pulled) -> None:
    from flows.annotation_tables import counts_table

    table = counts_table("Pulled", "project", "number", "new", "")
    for told in pulled.fetched:
        problem = "was not read: see below" if told.there and told.problem else told.problem or ""
        table.add_row(told.project.title, str(told.project.project_id), f"{told.new:,}", problem)
    console = _console()
    console.print(table)
    console.print(
        f"{int(pulled.annotations['is_latest'].sum()):,} annotations count, "
        f"{pulled.annotations.filter(~pulled.annotations['is_latest']).height:,} are history, "
        f"{pulled.quarantine.height:,} were set aside"
    )


__all__ = ["annotate"]
