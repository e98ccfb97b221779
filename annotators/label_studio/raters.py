"""Who scores: the registry of raters, and the pseudonyms under which their work is kept.

The registry holds e-mail addresses, so it lies outside the workspace and nothing copies it there. A pseudonym is a
keyed digest of the address: without the secret nobody can try addresses until one fits.
"""

from __future__ import annotations

import datetime
import hmac
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import ConfigError, UserError
from schemas.tables import CREDENTIALS, RATER_KINDS

SECRET_VARIABLE = "DERMCOT_ANNOTATION_SECRET"
_LEAST_SECRET = 16
_PSEUDONYM_LENGTH = 16

Sensitive = Literal["genital", "paediatric", "graphic"]
#: Kinds of cases that are shown only to raters who said that they want them.
SENSITIVE: tuple[str, ...] = get_args(Sensitive)


class Rater(BaseModel):
    """One rater. ``sensitive``: cases the rater agreed to see; ``attested_by``: who vouched for the credential."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)]
    kind: Literal["human", "simulated"] = "human"
    credential: Literal["board_certified", "resident", "other"]
    attested_on: datetime.date | None = None
    attested_by: str | None = None
    sensitive: tuple[Sensitive, ...] = ()
    active: bool = True

    @model_validator(mode="after")
    def _attested(self) -> Rater:
        if self.kind == "human" and self.credential != "other" and not (self.attested_on and self.attested_by):
            raise ValueError(f"the credential {self.credential} of a person needs attested_on and attested_by")
        return self


class _Registry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    raters: Annotated[tuple[Rater, ...], Field(min_length=1)]


assert set(get_args(Rater.model_fields["kind"].annotation)) == set(RATER_KINDS)
assert set(get_args(Rater.model_fields["credential"].annotation)) == set(CREDENTIALS)


def read_raters(file: Path, outside: Iterable[str] = ()) -> tuple[Rater, ...]:
    """The raters of a registry file, which must not lie in any of the folders ``outside``."""
    for folder in outside:
        if "://" not in folder and file.resolve().is_relative_to(Path(folder).resolve()):
            raise ConfigError(f"{file} holds names of people and lies in {folder}: move it out of that folder")
    try:
        registry = _Registry.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(f"there is no file of raters {file}: write one, and name it as annotate.raters") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"the file of raters {file} cannot be read: it must be YAML with a list called raters"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(f"{file}: {place}: {str(first['msg']).removeprefix('Value error, ')}") from error
    emails = [_folded(rater.email) for rater in registry.raters]
    if twice := sorted({email for email in emails if emails.count(email) > 1}):
        raise ConfigError(f"{file}: {twice[0]} stands there twice: leave one of the two out")
    return registry.raters


def pseudonyms(raters: Iterable[Rater], secret: bytes) -> Mapping[str, Rater]:
    """Pseudonym -> rater."""
    return {pseudonym(rater.email, secret): rater for rater in raters}


def pseudonym(email: str, secret: bytes) -> str:
    """The name under which a rater's work is kept: 16 hex digits that only ``secret`` explains."""
    return hmac.digest(secret, b"rater\0" + _folded(email).encode(), "sha256").hex()[:_PSEUDONYM_LENGTH]


def secret_mark(secret: bytes) -> str:
    """Tells two secrets apart without telling either."""
    return hmac.digest(secret, b"mark\0", "sha256").hex()[:_PSEUDONYM_LENGTH]


def annotation_secret(file: Path | None = None, stored: Callable[[], str] | None = None) -> bytes:
    """The secret behind keys and pseudonyms: of the environment, else the ``stored`` one if there is such a place.

    Else that of the user's file, made on first use.
    """
    given = os.environ.get(SECRET_VARIABLE, "").strip()
    place = SECRET_VARIABLE
    if not given and stored is not None:
        given, place = stored().strip(), "the block named as annotate.secret_block"
    if given or stored is not None:
        if len(given.encode()) < _LEAST_SECRET:
            raise UserError(f"{place} is shorter than {_LEAST_SECRET} characters: take a longer random one")
        return given.encode()
    file = file or _secret_file()
    with suppress(FileExistsError):
        _make(file)
    if file.stat().st_mode & 0o077:
        raise UserError(f"{file} can be read by others: run chmod 600 on it, or give the secret as {SECRET_VARIABLE}")
    secret = file.read_bytes().strip()
    if len(secret) < _LEAST_SECRET:
        raise UserError(f"{file} is damaged: put back the file that this study was begun with")
    return secret


def _secret_file() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "dermcot" / "annotation_secret"


def _make(file: Path) -> None:
    """Write a new secret, whole or not at all, readable by its owner alone from the first byte on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        raise FileExistsError(file)
    new = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as output:
            output.write(secrets.token_hex(32) + "\n")
            output.flush()
            os.fsync(output.fileno())
        os.link(new, file)
    finally:
        new.unlink(missing_ok=True)


def _folded(email: str) -> str:
    return email.strip().casefold()
