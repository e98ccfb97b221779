"""Data files parsed once: the kept copy is used, never stale, and never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.parsed_yaml import cache_folder, parsed


class Parser:
    """Parses YAML and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, name: str, text: str) -> Any:
        self.calls += 1
        return yaml.safe_load(text)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


def test_what_was_parsed_once_is_not_parsed_again_until_a_text_changes() -> None:
    parse = Parser()
    texts = {"a.yaml": "x: 1", "b.yaml": "- y"}
    assert parsed(texts, parse) == parsed(texts, parse) == {"a.yaml": {"x": 1}, "b.yaml": ["y"]}
    assert parse.calls == 2
    assert parsed({**texts, "b.yaml": "- z"}, parse)["b.yaml"] == ["z"]
    assert parse.calls == 4


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"c.yaml": 1}'])
def test_a_damaged_copy_is_made_again(cache: Path, damage: bytes) -> None:
    parse = Parser()
    parsed({"a.yaml": "x: 1"}, parse)
    (kept,) = cache.iterdir()
    kept.write_bytes(damage)
    assert parsed({"a.yaml": "x: 1"}, parse) == {"a.yaml": {"x": 1}}
    assert parsed({"a.yaml": "x: 1"}, parse) == {"a.yaml": {"x": 1}}
    assert parse.calls == 2


def test_where_nothing_can_be_kept_files_are_parsed_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    parse = Parser()
    assert parsed({"a.yaml": "x: 1"}, parse) == parsed({"a.yaml": "x: 1"}, parse)
    assert parse.calls == 2


def test_what_json_cannot_hold_is_parsed_each_time_and_an_error_is_not_kept(cache: Path) -> None:
    parse = Parser()
    for text in ("day: 2026-01-01", "1: one", "x: .nan"):
        assert str(parsed({"a.yaml": text}, parse)) == str(parsed({"a.yaml": text}, parse))
    with pytest.raises(yaml.YAMLError):
        parsed({"a.yaml": "["}, parse)
    assert parse.calls == 7
    assert not list(cache.glob("*"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(min_size=1), VALUES, min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_kept_copy_says_what_parsing_says(documents: dict[str, Any]) -> None:
    texts = {name: yaml.safe_dump(document) for name, document in documents.items()}
    first = parsed(texts, Parser())
    again = Parser()
    assert parsed(texts, again) == first == documents
    assert again.calls == 0
