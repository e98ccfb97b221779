"""Push and pull as Prefect flows, for whoever wants them on a schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.annotation import pull_config, push_config
from schemas.config_file import load_config


@flow(name="annotate-push", persist_result=False, validate_parameters=False)
def push_flow(config_file: str = "dermcot.yaml", overrides: tuple[str, ...] = (), workspace: str | None = None) -> Any:
    """Push the study of a configuration; returns what was imported, in all."""
    outcome = push_config(load_config(Path(config_file), overrides, workspace=workspace))
    return {"imported": sum(told.imported for told in outcome.pushed), "notes": list(outcome.notes)}


@flow(name="annotate-pull", persist_result=False, validate_parameters=False)
def pull_flow(config_file: str = "dermcot.yaml", overrides: tuple[str, ...] = (), workspace: str | None = None) -> Any:
    """Pull the scores of a configuration's study; returns how many there are and where they lie."""
    pulled = pull_config(load_config(Path(config_file), overrides, workspace=workspace))
    return {"annotations": int(pulled.annotations["is_latest"].sum()), "path": pulled.path}
