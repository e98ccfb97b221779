"""``dermcot doctor``: what a run would use and what it lacks, before it is begun."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from flows.doctor_trial import Check

_DEFAULT = Path("dermcot.yaml")
_COLOUR = {"ok": "green", "warning": "yellow", "missing": "red"}


def doctor(
    config_file: Annotated[Path, typer.Option("-c", "--config", help="Configuration file.")] = _DEFAULT,
    workspace: Annotated[str | None, typer.Option("--workspace", help="Where the build keeps its work.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value over any field.")] = None,
) -> None:
    """Say which teacher, model and device a run would use, ask for one real answer, and name what is missing.

    Each server is asked one question about a drawn image and one of a few words; of your data nothing is sent. Exit
    status 2 when something is missing. Example: dermcot doctor -c dermcot.yaml
    """
    from flows.doctor import examine
    from schemas.config_file import load_config

    config = load_config(config_file, overrides or (), workspace=workspace)
    console = Console(highlight=False, markup=False)
    with _warnings_are_told_here(), Console(stderr=True, markup=False).status("looking") as status:
        checks = list(_told(examine(config, status.update), console))
    if console.is_terminal:
        _print_table(checks, console)
    missing = [check.about for check in checks if check.state == "missing"]
    warnings = sum(check.state == "warning" for check in checks)
    if missing:
        print(f"Not ready: see to {', '.join(missing)}.")
        raise typer.Exit(2)
    print(f"Ready{f', with {warnings} warning' + 's' * (warnings != 1) if warnings else ''}.")


@contextmanager
def _warnings_are_told_here() -> Iterator[None]:
    log = logging.getLogger("annotators")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _told(checks: Iterable[Check], console: Console) -> Iterator[Check]:
    """The checks; where nobody sits at a terminal, each is a line as soon as it is done."""
    for check in checks:
        if not console.is_terminal:
            todo = f". To do: {_one_line(check.todo)}" if check.todo else ""
            print(f"{check.state:<8} {check.about}: {_one_line(check.found)}{todo}", flush=True)
        yield check


def _print_table(checks: list[Check], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(pad_edge=False)
    for column in ("check", "", "what", "what to do"):
        table.add_column(column, overflow="fold")
    for check in checks:
        state = Text(check.state, style=_COLOUR[check.state])
        table.add_row(check.about, state, Text(_one_line(check.found)), Text(_one_line(check.todo)))
    console.print(table)


def _one_line(text: str) -> str:
    """Without line breaks and without what would steer a terminal."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
