"""A key from a Prefect Secret block, on a real Prefect server."""

from __future__ import annotations

import pytest

from annotators.engines.credentials import credential_of
from schemas.engine_config import EndpointSettings
from schemas.errors import UserError


@pytest.mark.soak
def test_a_key_comes_from_a_prefect_block() -> None:
    from prefect.blocks.system import Secret
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        Secret(value="sk-from-a-block").save("model-key")
        kept = credential_of(EndpointSettings(url="http://127.0.0.1:1/v1", api_key_block="model-key"))
        assert kept.scrubbed("it says sk-from-a-block") == "it says ***"
        assert "sk-from" not in repr(kept)
        with pytest.raises(UserError, match="'no-such-key'"):
            credential_of(EndpointSettings(url="http://127.0.0.1:1/v1", api_key_block="no-such-key"))


def test_a_block_is_looked_for_on_a_server_only() -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: None}),
        pytest.raises(UserError, match="set PREFECT_API_URL"),
    ):
        credential_of(EndpointSettings(url="http://127.0.0.1:1/v1", api_key_block="model-key"))
