from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from corpus import lease as lease_module
from corpus.filesystem import Folder
from corpus.lease import Lease
from schemas.errors import StoreError

HOLD = """
import sys, time
from corpus.filesystem import Folder
from corpus.lease import Lease
with Lease(Folder(sys.argv[1]), "workspace"):
    print("held", flush=True)
    time.sleep(60)
"""

RACE = """
import os, sys, time
from corpus.filesystem import Folder
from corpus.lease import Lease
from schemas.errors import StoreError
folder, rounds = sys.argv[1], int(sys.argv[2])
for _ in range(rounds):
    try:
        with Lease(Folder(folder), "workspace"):
            handle = os.open(folder + "/inside", os.O_CREAT | os.O_EXCL)  # fails when two are inside
            os.close(handle)
            time.sleep(0.002)
            os.unlink(folder + "/inside")
    except StoreError:
        time.sleep(0.001)
"""


def _holder(folder: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_build_is_refused_in_one_sentence_and_a_killed_one_is_taken_over(tmp_path: Path) -> None:
    holder = _holder(tmp_path)
    try:
        with (
            pytest.raises(StoreError, match=f"another build is using workspace .*process {holder.pid}"),
            Lease(Folder(tmp_path), "workspace"),
        ):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with Lease(Folder(tmp_path), "workspace"):
        pass


def test_a_reused_process_id_is_not_mistaken_for_the_holder(tmp_path: Path) -> None:
    with Lease(Folder(tmp_path), "workspace"):
        record_path = next((tmp_path / ".leases").glob("*.json"))
        record = json.loads(record_path.read_text())
    record["started"] = "1"  # another process of the same id
    record_path.write_text(json.dumps(record))
    with Lease(Folder(tmp_path), "workspace"):
        pass


def test_a_lease_of_another_host_counts_until_its_heartbeat_is_old(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    record = {"host": "elsewhere", "pid": 1, "started": "1", "token": "t", "beat": time.time()}
    folder.write(".leases/000000001.json", json.dumps(record).encode())
    with pytest.raises(StoreError, match="elsewhere"), Lease(folder, "workspace"):
        pass
    record["beat"] = time.time() - lease_module.STALE_SECONDS - 1
    folder.write(".leases/000000001.json", json.dumps(record).encode())
    with Lease(folder, "workspace"):
        pass


def test_the_heartbeat_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "HEARTBEAT_SECONDS", 0.05)
    with Lease(Folder(tmp_path), "workspace"):
        path = next((tmp_path / ".leases").glob("*.json"))
        first = json.loads(path.read_text())["beat"]
        deadline = time.monotonic() + 10
        while json.loads(path.read_text())["beat"] == first:
            assert time.monotonic() < deadline, "no heartbeat"
            time.sleep(0.02)


def test_never_two_inside_under_contention_and_kills(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    command = [sys.executable, "-c", RACE, str(tmp_path), "40"]
    racers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    time.sleep(dice.uniform(0.3, 0.8))
    for racer in racers:
        _, errors = racer.communicate(timeout=120)
        assert racer.returncode == 0, errors
    assert not os.path.exists(tmp_path / "inside")
