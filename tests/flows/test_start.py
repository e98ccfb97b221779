"""What a build imports before it works: seconds that every start would pay for nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def modules_after(code: str) -> set[str]:
    """The names of all modules that a new interpreter has after ``code``."""
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return set(told.stdout.splitlines()[-1].split())


def test_the_command_line_answers_before_anything_heavy_is_imported() -> None:
    assert not modules_after("import flows.cli") & {"polars", "pyarrow", "numpy", "pydantic", "multiprocessing"}


def test_a_build_starts_without_what_only_audits_images_and_gates_need() -> None:
    loaded = modules_after("import flows.cli, flows.run, flows.artifacts, flows.runners, flows.gate_process")
    assert "flows.steps" in loaded
    assert not loaded & {"datasketch", "scipy", "great_expectations", "pandas", "prefect"}


def test_the_process_for_gates_imports_little_besides_great_expectations() -> None:
    loaded = modules_after("from flows.gate_process import _import_great_expectations as go; go()")
    assert {"great_expectations", "quality.gates", "scipy.stats"} <= loaded
    assert not loaded & {"scipy.stats._stats_py", "flows.narrative_steps", "prefect", "datasketch"}
    assert not loaded & {"boto3.session", "google.auth.credentials", "pyspark.sql", "sqlalchemy.orm"}


def test_what_multiprocessing_imports_again_in_every_process_is_next_to_nothing() -> None:
    assert not modules_after("import flows.__main__") & {"flows.cli", "polars", "pydantic", "typer"}


def test_what_is_imported_when_used_is_the_module_itself() -> None:
    code = "from flows.gate_process import _import_when_used as later; later('scipy.stats')\nfrom scipy import stats"
    assert "scipy.stats._stats_py" not in modules_after(code)
    assert "scipy.stats._stats_py" in modules_after(f"{code}\nassert 0.69 < stats.entropy([0.5, 0.5]) < 0.7")
