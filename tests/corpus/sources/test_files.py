"""Which file a row means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.sources.files import find_table, locate, walk
from schemas.errors import SourceError


def verdict(root: Path, name: str, *, are_paths: bool = False) -> tuple[str | None, str | None, str | None]:
    """(file_path, rule, note) of one name."""
    located, _ = locate(walk(root, "s"), pl.Series([name]), are_paths=are_paths)
    row = located.row(0, named=True)
    return row["file_path"], row["path_rule"], row["path_note"]


@pytest.mark.parametrize(
    ("on_disk", "name", "note"),
    [
        ("a/a/ISIC_1.jpg", "ISIC_1", None),
        ("imgs_part_1/imgs_part_1/P.png", "P.png", None),
        ("ISIC_1.JPG", "ISIC_1", "path:repaired"),
        ("isic_1.jpg", "ISIC_1", "path:repaired"),
        ("ISIC_1.jpeg", "ISIC_1", "path:repaired"),
        ("x/P.jpg", "P.png", "path:repaired"),
        ("x/p.PNG", "P.png", "path:repaired"),
        ("x/cafe\u0301.png", "caf\u00e9.png", "path:repaired"),
    ],
)
def test_names_are_found_at_any_depth_case_and_suffix(dataset: Any, on_disk: str, name: str, note: str | None) -> None:
    dataset.images(on_disk, "other.jpg")
    assert verdict(dataset.root, name) == (on_disk, None, note)


def test_missing_file(dataset: Any) -> None:
    dataset.images("b.jpg", "a_segmentation.png")
    assert verdict(dataset.root, "a") == (None, "image_missing", None)


def test_equal_copies_are_one_image(dataset: Any) -> None:
    dataset.images("two/a.jpg", "one/a.jpg", data=b"same")
    assert verdict(dataset.root, "a") == ("one/a.jpg", None, None)


def test_two_different_files_of_one_id_are_refused(dataset: Any) -> None:
    dataset.images("one/a.jpg", "two/a.png")
    assert verdict(dataset.root, "a")[1] == "duplicate_id"


def test_a_named_suffix_wins_over_other_suffixes_but_not_over_folders(dataset: Any) -> None:
    dataset.images("one/a.png", "one/a.jpg")
    assert verdict(dataset.root, "a.png") == ("one/a.png", None, None)
    dataset.images("two/a.png")
    assert verdict(dataset.root, "a.png")[1] == "duplicate_id"


@pytest.mark.parametrize(
    "name", ["../a.jpg", "x/../../a.jpg", "/etc/a.jpg", "C:\\a.jpg", "..\\a.jpg", "..", "..\\..\\a", "x/.."]
)
@pytest.mark.parametrize("are_paths", [False, True])
def test_climbing_paths_are_refused(dataset: Any, name: str, are_paths: bool) -> None:
    dataset.images("a.jpg")
    (dataset.root.parent / "a.jpg").write_bytes(b"outside")
    rule = verdict(dataset.root, name, are_paths=are_paths)[1]
    assert rule == ("image_missing" if name == "x/.." else "path_outside_source")


def test_links_out_of_the_folder_are_refused_and_links_within_are_not(dataset: Any) -> None:
    secret = dataset.root.parent / "secret.jpg"
    secret.write_bytes(b"secret")
    dataset.images("real.jpg")
    (dataset.root / "a.jpg").symlink_to(secret)
    (dataset.root / "b.jpg").symlink_to(dataset.root / "real.jpg")
    (dataset.root / "broken.jpg").symlink_to(dataset.root / "nothing.jpg")
    (dataset.root / "loop.jpg").symlink_to(dataset.root / "loop.jpg")
    (dataset.root / "table.csv").symlink_to(secret)
    (dataset.root / "folder").symlink_to(dataset.root.parent, target_is_directory=True)
    assert verdict(dataset.root, "a") == (None, "path_outside_source", None)
    assert verdict(dataset.root, "b") == ("b.jpg", None, None)
    assert verdict(dataset.root, "broken")[1] == "image_missing"
    assert verdict(dataset.root, "secret")[1] == "image_missing"
    files = walk(dataset.root, "s")
    assert files.others == ()
    assert files.notes == {"files_unreadable": 2, "linked_files_skipped": 1, "linked_folders_skipped": 1}


def test_names_that_are_not_text_are_counted(dataset: Any) -> None:
    (dataset.root / os.fsdecode(b"\xff.jpg")).write_bytes(b"1")
    assert walk(dataset.root, "s").notes == {"names_unreadable": 1}


def test_a_linked_root_is_fine(dataset: Any) -> None:
    dataset.images("x/a.jpg")
    link = dataset.root.parent / "link"
    link.symlink_to(dataset.root, target_is_directory=True)
    assert verdict(link, "a") == ("x/a.jpg", None, None)


def test_paths_are_taken_literally_first(dataset: Any) -> None:
    dataset.images("a.jpg", "x/a.jpg", "y/A.JPG", "z/only.jpg")
    assert verdict(dataset.root, "a.jpg", are_paths=True) == ("a.jpg", None, None)
    assert verdict(dataset.root, "x/./../x/a.jpg", are_paths=True) == ("x/a.jpg", None, None)
    assert verdict(dataset.root, "x\\a.jpg", are_paths=True) == ("x/a.jpg", None, "path:repaired")
    assert verdict(dataset.root, "y/a.jpg", are_paths=True) == ("y/A.JPG", None, "path:repaired")
    assert verdict(dataset.root, "only.jpg", are_paths=True) == ("z/only.jpg", None, "path:repaired")
    assert verdict(dataset.root, "w/only.jpg", are_paths=True)[1] == "image_missing"


def test_two_names_for_one_file(dataset: Any) -> None:
    dataset.images("a.jpg")
    located, _ = locate(walk(dataset.root, "s"), pl.Series(["a", "A"]))
    assert dict(located.select("file_name", "path_rule").iter_rows()) == {"a": None, "A": "duplicate_id"}


def test_images_that_no_name_means_are_counted(dataset: Any) -> None:
    dataset.images("a.jpg", "copy/a.jpg", data=b"1")
    dataset.images("b.jpg", "c.png", ".hidden.jpg", "._a.jpg", "__MACOSX/a.jpg")
    _, unmentioned = locate(walk(dataset.root, "s"), pl.Series(["a", None, "zzz"]))
    assert unmentioned == 2


def test_missing_folder_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere .* sources\[s\]\.path"):
        walk(tmp_path / "nowhere", "s")


def test_the_table_nearest_the_top_is_read(dataset: Any) -> None:
    dataset.file("deep/er/Metadata.CSV", "1")
    dataset.file("deep/metadata.csv", "2")
    files = walk(dataset.root, "s")
    assert find_table(files, "s", None, ["metadata.csv"], "t") == dataset.root / "deep/metadata.csv"
    assert find_table(files, "s", "deep/er/Metadata.CSV", ["x"], "t").read_text() == "1"
    dataset.file("other/metadata.csv", "2")
    assert find_table(walk(dataset.root, "s"), "s", None, ["metadata.csv"], "t").read_text() == "2"
    dataset.file("other/metadata.csv", "3")
    with pytest.raises(SourceError, match=r"deep/metadata.csv and other/metadata.csv"):
        find_table(walk(dataset.root, "s"), "s", None, ["metadata.csv"], "t")


def test_missing_table_says_what_was_looked_for(dataset: Any) -> None:
    files = walk(dataset.root, "s")
    with pytest.raises(SourceError, match=r"metadata\.csv .*sources\[s\]\.metadata"):
        find_table(files, "s", None, ["metadata.csv"], "t")
    with pytest.raises(SourceError, match=r"gone\.csv is not there.*sources\[s\]\.metadata"):
        find_table(files, "s", "gone.csv", ["metadata.csv"], "t")


NAME = st.text(st.sampled_from("aA./\\:~é\0 \nj") | st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(max_examples=80, deadline=None)
@given(st.lists(NAME, max_size=6), st.booleans())
def test_every_name_gets_one_verdict(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], are_paths: bool
) -> None:
    root = tmp_path_factory.mktemp("r")
    (root / "a.jpg").write_bytes(b"1")
    (root / "j").mkdir()
    (root / "j" / "a.png").write_bytes(b"2")
    located, unmentioned = locate(walk(root, "s"), pl.Series(names, dtype=pl.String), are_paths=are_paths)
    assert sorted(located["file_name"]) == sorted(set(names))
    assert 0 <= unmentioned <= 2
    good = located.filter(pl.col("path_rule").is_null())["file_path"]
    assert set(good) <= {"a.jpg", "j/a.png"}
    assert good.is_unique().all()
