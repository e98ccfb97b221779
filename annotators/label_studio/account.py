"""The first account of a local Label Studio: its password and its token, in a file that only its owner reads."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from schemas.errors import UserError

FILE = "account.json"
_EMAIL = "owner@dermcot.local"
_TIMEOUT = 30.0


@dataclass(frozen=True)
class Account:
    """Whose e-mail and password log in by browser, and whose token, once there is one, works from programs."""

    email: str
    password: str = field(repr=False)
    token: str | None = field(repr=False, default=None)


def account_in(folder: Path) -> Account:
    """The account of the server in ``folder``; a new one with a random password where there is none yet."""
    file = folder / FILE
    try:
        return Account(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        if (folder / "data" / "label_studio.sqlite3").exists():
            raise UserError(
                f"{folder} has a Label Studio database but no {FILE}: put that file back, or name another folder"
            ) from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{file} is damaged: put it back as it was, or name another folder") from error
    account = Account(_EMAIL, secrets.token_urlsafe(16))
    _write(file, account)
    return account


def token_of(folder: Path, url: str, account: Account) -> str:
    """The personal access token of the account on the server at ``url``, made and kept in ``folder`` if need be."""
    if account.token is None:
        account = replace(account, token=_new_token(url, account))
        _write(folder / FILE, account)
    assert account.token is not None
    return account.token


def _new_token(url: str, account: Account) -> str:
    import httpx

    with httpx.Client(base_url=url, trust_env=False, timeout=_TIMEOUT) as browser:
        browser.get("/user/login/")
        form = {
            "email": account.email,
            "password": account.password,
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
        }
        if browser.post("/user/login/", data=form).status_code != httpx.codes.FOUND:
            raise UserError(
                f"{account.email} cannot log in to {url} with the password in {FILE}: put back the file that "
                "belongs to this server, or name another folder"
            )
        answer = browser.post("/api/token", headers={"X-CSRFToken": browser.cookies["csrftoken"]})
        if answer.status_code == httpx.codes.CONFLICT:
            raise UserError(
                f"{account.email} has a token that {FILE} does not know: revoke it under Account & Settings in the "
                "browser, or name another folder"
            )
        answer.raise_for_status()
        token: str = answer.json()["token"]
        return token


def _write(file: Path, account: Account) -> None:
    """Write the whole file or nothing, readable by its owner alone from the first byte on."""
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as output:
        json.dump(asdict(account), output, indent=1)
        output.flush()
        os.fsync(output.fileno())
    os.replace(new, file)
