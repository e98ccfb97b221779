"""Reading a configuration file and ``--set`` overrides, with errors that say what to mend.

Relative paths in a file are relative to that file, so a configuration works from any folder; paths given on the command
line are relative to the current folder, as a person expects there.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from schemas.config import AnnotateSettings, Config
from schemas.errors import ConfigError


def load_config(
    path: Path,
    overrides: Iterable[str] = (),
    *,
    workspace: str | None = None,
    releases: str | None = None,
    limit: int | None = None,
) -> Config:
    """The configuration of ``path`` with ``key=value`` overrides applied and its paths made absolute.

    Raises :class:`ConfigError` with one sentence for an unreadable file, unknown key or impossible value.
    """
    document = _read(path)
    for override in overrides:
        _apply(document, override)
    config = _validated(document, path)
    base = path.resolve().parent
    sources = tuple(s.model_copy(update={"path": _absolute(s.path, base)}) for s in config.sources)
    manifests = tuple(_absolute(name, base) for name in config.decontaminate.manifests)
    imported = tuple(told.model_copy(update={"path": _absolute(told.path, base)}) for told in config.propose.imported)
    taught = config.propose.vlm
    if taught is not None and taught.transformers is not None:
        taught = taught.model_copy(update={"model": _absolute(taught.model, base)})
    named = config.certification.annotations
    annotations = None if named is None else _absolute(named, base)
    return config.model_copy(
        update={
            "sources": sources,
            "decontaminate": config.decontaminate.model_copy(update={"manifests": manifests}),
            "propose": config.propose.model_copy(update={"imported": imported, "vlm": taught}),
            "annotate": _annotate(config.annotate, base),
            "certification": config.certification.model_copy(update={"annotations": annotations}),
            "workspace": _absolute(workspace, Path.cwd()) if workspace else _absolute(config.workspace, base),
            "releases": _absolute(releases, Path.cwd()) if releases else _absolute(config.releases, base),
            "limit": config.limit if limit is None else limit,
        }
    )


def _annotate(told: AnnotateSettings, base: Path) -> AnnotateSettings:
    paths = {name: getattr(told, name) for name in ("token_file", "raters", "document_root", "gold")}
    return told.model_copy(update={name: path and _absolute(path, base) for name, path in paths.items()})


def _absolute(path: str, base: Path) -> str:
    return path if "://" in path else str((base / Path(path).expanduser()).resolve())


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}: name one with -c FILE") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1} of " if mark is not None else ""
        raise ConfigError(f"{where}{path} is not YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must hold a mapping of settings, with sources among them")
    return document


def _apply(document: dict[str, Any], override: str) -> None:
    """Set ``a.b.0.c=value`` in the document; the value is read as YAML."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {override!r} is not key=value, such as --set select.thresholds.accuracy=3.5")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"the value of --set {override!r} is not YAML") from None
    steps = key.strip().split(".")
    at: Any = document
    for place, step in enumerate(steps):
        here = ".".join(steps[: place + 1])
        if isinstance(at, list):
            if not step.isdecimal() or int(step) >= len(at):
                raise ConfigError(f"--set {key}: {here} does not exist; the list has {len(at)} entries, counted from 0")
            if place == len(steps) - 1:
                at[int(step)] = value
            else:
                at = at[int(step)]
        elif isinstance(at, dict):
            if place == len(steps) - 1:
                at[step] = value
            else:
                at = at.setdefault(step, {})
                if at is None:
                    raise ConfigError(f"--set {key}: {here} is empty in the configuration; set it whole")
        else:
            raise ConfigError(f"--set {key}: {'.'.join(steps[:place])} is a single value and has no field {step!r}")


def _validated(document: Mapping[str, Any], path: Path) -> Config:
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        told = "; ".join(_sentence(item, path) for item in error.errors()[:3])
        raise ConfigError(told) from None  # it quotes what it was given, which may be a password


def _sentence(error: Any, path: Path) -> str:
    location = [part for part in error["loc"]]
    dotted = ".".join(map(str, location)) or "the configuration"
    if error["type"] == "extra_forbidden":
        known = _fields_at(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return f"{path}: unknown field {dotted!r}; {hint}"
    if error["type"] == "missing":
        return f"{path}: the field {dotted!r} is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "literal_error":
        expected = [part.strip(" '") for part in error["ctx"]["expected"].replace(" or ", ", ").split(",")]
        near = difflib.get_close_matches(str(error["input"]), expected, n=1, cutoff=0.5)
        message += f"; did you mean {near[0]!r}?" if near else ""
    model = _model_at(location[:-1])
    hidden = model is not None and model.model_config.get("hide_input_in_errors", False)
    given = "" if hidden or isinstance(error["input"], dict | list) else f" (given: {error['input']!r})"
    return f"{path}: {dotted}: {message}{given}"


def _fields_at(location: list[Any]) -> list[str]:
    """Known field names of the model at a location such as ``("sources", 0, "columns")``."""
    model = _model_at(location)
    return [] if model is None else list(model.model_fields)


def _model_at(location: list[Any]) -> type[BaseModel] | None:
    model: type[BaseModel] = Config
    for step in location:
        if isinstance(step, int):
            continue
        field = model.model_fields.get(step)
        found = [] if field is None else _models_in(field.annotation)
        if not found:
            return None
        model = found[0]
    return model


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
