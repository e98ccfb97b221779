"""The request cache: several writers, kills, tears and flips in any order, and object stores that come and go."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from annotators.engines import segments
from annotators.engines.cache import RequestCache
from annotators.engines.protocol import Completion
from schemas.errors import StoreError


def key(n: int) -> str:
    return hashlib.sha256(str(n).encode()).hexdigest()


def completion(n: int) -> Completion:
    return Completion(key(n), f"answer {n} é \udcff " * (n % 50), "stop", n, n + 1, n / 10, "here", "tiny")


def kill(cache: RequestCache) -> None:
    """What SIGKILL does: the segment is neither sealed nor synced, and its lock is gone."""
    if cache._writer is not None:
        os.close(cache._writer._file)
        cache._writer = None


class AnySequence(RuleBasedStateMachine):
    """Three writers at once in one folder; ``kept``: what must be there; ``spoilt``: what may be."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.open: list[RequestCache | None] = [None, None, None]
        self.kept: dict[int, Completion] = {}
        self.spoilt: set[int] = set()
        self.hurt: set[Path] = set()
        self.n = 0

    def teardown(self) -> None:
        for cache in self.open:
            if cache is not None:
                cache.close()
        shutil.rmtree(self.folder)

    def writer(self, which: int) -> RequestCache:
        cache = self.open[which] or RequestCache(self.folder, seal_bytes=3_000)
        self.open[which] = cache
        return cache

    def at_rest(self) -> list[Path]:
        """Segments that nobody writes."""
        busy = {cache._writer.path for cache in self.open if cache is not None and cache._writer is not None}
        return sorted(set(self.folder.glob("*.segment")) - busy - self.hurt)

    def spans(self, path: Path) -> dict[int, tuple[int, int]]:
        """Which bytes each record takes, told from where its key stands."""
        data = path.read_bytes()
        begins = sorted((data.find(bytes.fromhex(key(n))) - 8, n) for n in self.kept if bytes.fromhex(key(n)) in data)
        seal = data.rfind(bytes(32)) - 8 if data.endswith(segments.seal(len(begins))) else len(data)
        ends = [begin for begin, _ in begins[1:]] + [seal]
        return {n: (begin, end) for (begin, n), end in zip(begins, ends, strict=True)}

    @rule(which=st.integers(0, 2), times=st.integers(1, 6))
    def put(self, which: int, times: int) -> None:
        for _ in range(times):
            self.n += 1
            self.writer(which).put(completion(self.n))
            self.kept[self.n] = completion(self.n)

    @rule(which=st.integers(0, 2), n=st.integers(1, 30))
    def put_once_more(self, which: int, n: int) -> None:
        if n in self.kept and n not in self.spoilt:
            self.writer(which).put(completion(n))

    @rule(which=st.integers(0, 2))
    def close(self, which: int) -> None:
        self.writer(which).close()
        self.open[which] = None

    @rule(which=st.integers(0, 2))
    def killed(self, which: int) -> None:
        kill(self.writer(which))
        self.open[which] = None

    @precondition(lambda self: self.at_rest())
    @rule(data=st.data())
    def torn(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(self.at_rest()))
        at = data.draw(st.integers(0, path.stat().st_size - 1))
        lost = {n for n, (_, end) in self.spans(path).items() if end > at}
        os.truncate(path, at)
        self.spoilt |= lost
        self.hurt.add(path)

    @precondition(lambda self: self.at_rest())
    @rule(data=st.data(), bit=st.integers(0, 7))
    def flipped(self, data: st.DataObject, bit: int) -> None:
        path = data.draw(st.sampled_from(self.at_rest()))
        at = data.draw(st.integers(0, path.stat().st_size - 1))
        lost = {n for n, (begin, end) in self.spans(path).items() if begin <= at < end}
        held = bytearray(path.read_bytes())
        held[at] ^= 1 << bit
        path.write_bytes(held)
        assert len(lost) <= 1
        self.spoilt |= lost
        self.hurt.add(path)

    @invariant()
    def everything_else_is_there(self) -> None:
        with RequestCache(self.folder) as cache:
            for n, expected in self.kept.items():
                found = cache.get(key(n))
                assert found == expected or (found is None and n in self.spoilt), n


AnySequence.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
TestAnySequence = AnySequence.TestCase


def test_a_torn_tail_is_cut_once_and_told(tmp_path: Path) -> None:
    writer = RequestCache(tmp_path)
    for n in range(5):
        writer.put(completion(n))
    kill(writer)
    (path,) = tmp_path.glob("*.segment")
    whole = path.stat().st_size
    os.truncate(path, whole - 3)
    first, second = (RequestCache(tmp_path).report for _ in range(2))
    assert (first.completions, first.torn, first.living, first.damaged) == (4, 1, 0, 0) and first.torn_bytes > 10
    assert (second.completions, second.torn, second.torn_bytes) == (4, 0, 0)


def test_a_segment_that_is_being_written_is_read_and_left_alone(tmp_path: Path) -> None:
    with RequestCache(tmp_path) as writer:
        writer.put(completion(1))
        other = RequestCache(tmp_path)
        assert other.get(key(1)) == completion(1) and other.report.living == 1
        writer.put(completion(2))
    assert RequestCache(tmp_path).get(key(1)[:40] + key(2)[40:]) is None
    assert RequestCache(tmp_path).report.living == 0 and len(RequestCache(tmp_path)) == 2


def test_many_threads_write_at_once(tmp_path: Path) -> None:
    def work(cache: RequestCache, part: int) -> None:
        for n in range(part, 400, 8):
            cache.put(completion(n))
            assert cache.get(key(n)) == completion(n)

    with RequestCache(tmp_path, seal_bytes=20_000) as cache:
        threads = [threading.Thread(target=work, args=(cache, part)) for part in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    reopened = RequestCache(tmp_path)
    assert [reopened.get(key(n)) for n in range(400)] == [completion(n) for n in range(400)]
    assert reopened.report.segments > 3 and reopened.report.damaged == 0


def test_the_first_answer_to_a_key_stays(tmp_path: Path) -> None:
    with RequestCache(tmp_path) as one, RequestCache(tmp_path) as two:
        one.put(completion(1))
        time.sleep(0.002)
        second = Completion(key(1), "another", "stop", 1, 1, 1.0, "there")
        two.put(second)
        one.put(second)
        assert (one.get(key(1)), two.get(key(1))) == (completion(1), second)
    assert {RequestCache(tmp_path).get(key(1)) for _ in range(3)} == {completion(1)}


def test_a_full_disk_is_one_sentence_and_what_was_kept_stays(tmp_path: Path) -> None:
    import resource
    import signal

    with RequestCache(tmp_path) as cache:
        for n in range(1, 20):
            cache.put(completion(n))
        (path,) = tmp_path.glob("*.segment")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, before[1]))
        try:
            with pytest.raises(StoreError, match="disk is full"):
                cache.put(completion(49))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        cache.put(completion(48))
    reopened = RequestCache(tmp_path)
    assert reopened.report.damaged == reopened.report.torn == 0
    assert [reopened.get(key(n)) for n in range(1, 20)] == [completion(n) for n in range(1, 20)]
    assert (reopened.get(key(48)), reopened.get(key(49))) == (completion(48), None)


def test_a_newer_format_is_refused_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "FORMAT_VERSION", 2)
    with RequestCache(tmp_path) as cache:
        cache.put(completion(1))
    monkeypatch.undo()
    with pytest.raises(StoreError, match="newer version"):
        RequestCache(tmp_path)


def test_machines_share_an_object_store(s3_bucket: str, tmp_path: Path) -> None:
    url = f"{s3_bucket}/completions"
    with RequestCache(url, local=tmp_path / "one") as one, RequestCache(url, local=tmp_path / "two") as two:
        one.put(completion(1))
        two.put(completion(2))
        assert "60 s" in one.at_risk
    with RequestCache(url, local=tmp_path / "three") as three:
        assert [three.get(key(n)) for n in (1, 2)] == [completion(1), completion(2)]
    shutil.rmtree(tmp_path / "one")
    assert RequestCache(url, local=tmp_path / "one").get(key(1)) == completion(1)


def test_what_a_killed_process_left_goes_up_when_the_cache_is_next_opened_there(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/completions"
    killed = RequestCache(url, local=tmp_path / "here")
    killed.put(completion(1))
    killed._timer.cancel()  # type: ignore[union-attr]
    kill(killed)
    assert RequestCache(url, local=tmp_path / "elsewhere").get(key(1)) is None
    with RequestCache(url, local=tmp_path / "here") as again:
        assert again.get(key(1)) == completion(1)
    assert RequestCache(url, local=tmp_path / "elsewhere").get(key(1)) == completion(1)


def test_segments_go_up_by_size_and_by_time(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/timed"
    with RequestCache(url, local=tmp_path / "here", seal_bytes=2_000, seal_seconds=0.3) as cache:
        for n in range(1, 40):
            cache.put(completion(n))
        until = time.monotonic() + 30
        while len(RequestCache(url, local=tmp_path / "there")) < 39:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert cache.get(key(39)) == completion(39)  # though its segment has moved


def test_an_object_store_that_is_away_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def away(*_: object, **__: object) -> None:
        raise ConnectionError("away")

    url = f"memory://{tmp_path.name}/away"
    cache = RequestCache(url, local=tmp_path / "here")
    cache.put(completion(1))
    with monkeypatch.context() as patch, pytest.raises(StoreError, match="Nothing is lost"):
        patch.setattr(MemoryFileSystem, "put_file", away)
        cache.close()
    RequestCache(url, local=tmp_path / "here").close()
    assert RequestCache(url, local=tmp_path / "there").get(key(1)) == completion(1)
