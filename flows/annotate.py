"""The commands of ``dermcot annotate``: dermatologists' scores through Label Studio."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

annotate = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Dermatologists' scores through Label Studio.",
)  # fmt: skip


@annotate.command()
def serve(
    folder: Annotated[Path, typer.Option("--folder", help="Where it is installed and keeps its data (1 GB).")] = Path(
        "label_studio"
    ),
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="A free one by default.")] = None,
) -> None:
    """Run a Label Studio on this machine until Ctrl+C, for trying the labelling screen; installs it the first time.

    Example: dermcot annotate serve --folder label_studio
    """
    from annotators.label_studio.account import FILE
    from annotators.label_studio.server import running_server

    console = Console(file=sys.stderr, highlight=False)
    told = [""]

    def say(sentence: str) -> None:
        what = sentence.rpartition(":")[0]
        if console.is_terminal:
            status.update(sentence)
        elif what != told[-1]:
            told.append(what)
            console.print(what)

    with ExitStack() as stack:
        stack.enter_context(_terminated_like_interrupted())
        with console.status("") as status:
            server = stack.enter_context(running_server(folder, port=port, say=say))
        console.print(f"Log in as {server.account.email}; the password and the token are in {folder / FILE}")
        console.print("It answers on this machine only, until Ctrl+C.")
        print(server.url, flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
    console.print("Label Studio has ended; its data stays.")


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl+C does, so that what was opened is closed."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
