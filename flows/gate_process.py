"""A process for the gates, begun before the first one is due.

Great Expectations takes seconds and a quarter of a gigabyte to import; a second process does that while the build goes
on, and gives the memory back. What that process imports besides is kept small, so this module imports next to nothing.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import TYPE_CHECKING, Any

from corpus.child_process import die_with

if TYPE_CHECKING:
    import polars as pl

    from quality.expectations import Gate
    from quality.gates import GateReport
    from schemas.config import GateSettings

#: What Great Expectations uses where it is installed, and no gate needs: databases and object stores.
_DO_WITHOUT = ("azure", "boto3", "botocore", "google.auth", "google.cloud", "pyspark", "sqlalchemy")

_process: ProcessPoolExecutor | None = None


@contextmanager
def gate_process() -> Iterator[None]:
    """Run the gates of the block in a process of their own. Without the block, gates run here."""
    global _process
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=die_with, initargs=(os.getpid(),)) as pool:
        _process = pool
        others = active_children()
        pool.submit(_import_great_expectations)
        try:
            yield
        finally:
            _process = None
            for child in active_children():  # it has nothing to finish, and its own farewell would take a second
                if child not in others:
                    child.kill()


def checked(gate: Gate, tables: Mapping[str, pl.DataFrame], settings: GateSettings) -> GateReport:
    """What :func:`quality.gates.run_gate` finds, in the process for gates where there is one."""
    from quality.gates import run_gate

    if _process is None:
        return run_gate(gate, tables, settings)
    return _process.submit(run_gate, gate, dict(tables), settings).result()


def _import_great_expectations() -> None:
    gc.disable()  # what imports make stays; looking through it again and again takes a tenth of their time
    _import_when_used("scipy.stats")  # for tests of distributions, which no gate makes: a third of the time
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(_DO_WITHOUT))
    import great_expectations  # noqa: F401
    from tqdm import tqdm

    import quality.gates  # noqa: F401

    gc.freeze()
    gc.enable()

    tqdm.set_lock(threading.RLock())  # its own would be a semaphore, left behind when this process is ended


def _import_when_used(name: str) -> None:
    """Let an import of the module ``name`` give one that is loaded once something of it is asked for."""
    package, _, last = name.rpartition(".")
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    if package:
        setattr(sys.modules[package], last, module)
