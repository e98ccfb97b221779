"""When the embedded server may be started before anybody has looked whether there is work."""

from __future__ import annotations

from pathlib import Path

from corpus.filesystem import Folder
from corpus.lease import Lease
from flows.embedded_server import may_start_early


def test_a_server_starts_early_only_where_one_ran_before_and_nobody_builds(tmp_path: Path) -> None:
    workspace, home = tmp_path / "workspace", tmp_path / "workspace/prefect"
    assert not may_start_early(home, str(workspace))
    assert not workspace.exists()
    home.mkdir(parents=True)
    (home / "server.log").touch()
    assert may_start_early(home, str(workspace))
    with Lease(Folder(workspace), "workspace"):
        assert not may_start_early(home, str(workspace))
    assert may_start_early(home, str(workspace))
