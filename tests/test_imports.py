"""What must be importable without what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "great_expectations", "label_studio_sdk", "ray", "datasets")

BLOCK = """
import sys, importlib, pkgutil
for name in {blocked!r}:
    sys.modules[name] = None  # as if it were not installed
for package in {packages!r}:
    module = importlib.import_module(package)
    for found in pkgutil.walk_packages(module.__path__, package + "."):
        if found.name not in {without!r}:
            importlib.import_module(found.name)
print("ok")
"""


@pytest.mark.parametrize(
    ("packages", "blocked", "without"),
    [
        (("schemas", "corpus", "annotators", "quality"), (*HEAVY, "prefect"), ()),
        (("flows",), HEAVY, ("flows.__main__",)),
        (("flows",), (*HEAVY, "prefect"), ("flows.__main__", "flows.annotation_flows", "flows.pipeline")),
    ],
)
def test_the_core_imports_without_heavy_packages(
    packages: tuple[str, ...], blocked: tuple[str, ...], without: tuple[str, ...]
) -> None:
    code = BLOCK.format(blocked=set(blocked), packages=packages, without=set(without))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert result.stdout == "ok\n", result.stderr


def test_the_prefect_server_module_imports_with_these_pins() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import prefect.server.api.server"], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert result.returncode == 0, result.stderr


def test_the_core_dependencies_do_not_include_torch() -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert not [name for name in project["dependencies"] if name.startswith(("torch", "transformers", "ray"))]
    pinned = (REPOSITORY / "constraints.txt").read_text()
    named = {name.split("[")[0] for extra in project["optional-dependencies"].values() for name in extra}
    assert {"torch", "transformers", "ray", "s3fs", "faiss-cpu"} <= named
    for line in pinned.split("the tried set")[0].splitlines():
        assert not line or line.startswith("#") or "#" in line, f"no reason beside {line}"
