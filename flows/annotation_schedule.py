"""Push and pull at set times, through flows served on a Prefect server."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows.annotation_credentials import image_keys, prefect_refusals, study_secret, study_token
from schemas.config import Config
from schemas.errors import UserError

if TYPE_CHECKING:
    from prefect.schedules import Schedule


def serve_study(
    config: Config,
    told: tuple[str, Sequence[str], str],
    times: Mapping[str, str | None],
    timezone: str,
    name: str,
) -> None:
    """Register push and pull under ``name`` and run them when it is time, until interrupted; one at a time.

    ``told``: configuration file, overrides and workspace for the runs; ``times``: push and pull -> cron expression.
    Secrets reach the runs through the environment of this process, never as parameters. Raises :class:`UserError` when
    something is wrong that would let every run fail.
    """
    if not any(times.values()):
        raise UserError('no time is given: say when with --push "0 6 * * *", --pull "*/15 * * * *", or both')
    from prefect import serve
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if url is None:
        raise UserError("no Prefect server is configured: set PREFECT_API_URL, such as http://127.0.0.1:4200/api")
    config_file, overrides, workspace = told
    parameters = {"config_file": config_file, "overrides": list(overrides), "workspace": workspace}
    deployments = [
        _deployment(what, _schedule(what, when, timezone), name, parameters) for what, when in times.items() if when
    ]
    study_secret(config.annotate)
    study_token(config.annotate)
    image_keys(config.annotate)
    with prefect_refusals(url):
        with get_client(sync_client=True) as client:
            client.read_deployments(limit=1)
        serve(*deployments, limit=1)


def _schedule(what: str, when: str, timezone: str) -> Schedule:
    from prefect.schedules import Cron

    if timezone not in zoneinfo.available_timezones():
        raise UserError(f"--timezone {timezone!r} is none: name one such as Europe/Berlin")
    try:
        return Cron(when, timezone=timezone)
    except ValueError:
        raise UserError(f'--{what} {when!r} is no time that cron knows: write it such as "*/15 * * * *"') from None


def _deployment(what: str, schedule: Schedule, name: str, parameters: dict[str, Any]) -> Any:
    from prefect.exceptions import InvalidNameError
    from prefect.types.entrypoint import EntrypointType

    from flows.annotation_flows import pull_flow, push_flow

    flow = {"push": push_flow, "pull": pull_flow}[what]
    try:
        return flow.to_deployment(
            name, schedule=schedule, parameters=parameters, tags=["dermcot"], enforce_parameter_schema=False,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )  # fmt: skip
    except InvalidNameError:
        raise UserError(f"{name!r} holds a character that no name may hold: give another with --name") from None
