"""Tables in every state people keep them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.sources.tabular import ROW, nearest, parse_object, read_header, read_table, sniff_delimiter
from schemas.errors import SourceError

TEXT = "id,site\na,Espírito\nb,naïve\n"


def write(folder: Path, data: bytes | str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize(
    ("encoding", "notes"),
    [
        ("utf-8", {}),
        ("utf-8-sig", {}),
        ("utf-16", {"encoding:utf-16": 1}),
        ("cp1252", {"encoding:cp1252": 2}),
        ("latin-1", {"encoding:cp1252": 2}),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_read_alike(
    tmp_path: Path, encoding: str, notes: dict[str, int], line_end: str
) -> None:
    table = read_table(write(tmp_path, TEXT.replace("\n", line_end).encode(encoding)))
    assert table.rows["id"].to_list() == ["a", "b"]
    assert table.rows["site"].to_list() == ["Espírito", "naïve"]
    assert bool(table.notes) == bool(notes)
    if line_end != "\r":  # with bare carriage returns the whole file is one line to the fallback
        assert table.notes == notes


def test_one_foreign_byte_spoils_only_its_own_line(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "id,site\na,é\n".encode("utf-8-sig") + b"b,\xe9\nc,\x81\n"), ("id",))
    assert table.rows["site"].to_list() == ["é", "é", "\x81"]
    assert table.notes == {"encoding:cp1252": 2}


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_delimiter_comes_from_the_header(tmp_path: Path, delimiter: str) -> None:
    table = read_table(write(tmp_path, 'id,"a;b",c\n1,2,3\n'.replace(",", delimiter)))
    assert table.rows.drop(ROW).row(0) == ("1", "2", "3")


def test_delimiters_inside_quotes_do_not_count() -> None:
    assert sniff_delimiter('"a;b;c;d",e') == ","
    assert sniff_delimiter("alone") == ","


@pytest.mark.parametrize("index", ["", "Unnamed: 0", "_unnamed_var"])
def test_index_column_is_left_out(tmp_path: Path, index: str) -> None:
    table = read_table(write(tmp_path, f"{index},id\n0,a\n"), ("id",))
    assert table.rows.columns == [ROW, "id"]


def test_cells_are_text_stripped_and_blank_is_null(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "id , n\n 007 ,1.50\n-9223372036854775808,  \n"))
    assert table.rows["id"].to_list() == ["007", "-9223372036854775808"]
    assert table.rows["n"].to_list() == ["1.50", None]


def test_ragged_rows_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "id,x\na,1\nb\nc,1,2\n\nd,4\n"))
    assert table.rows.select(ROW, "id").rows() == [("row-1", "a"), ("row-4", "d")]
    assert [row for row, _ in table.malformed] == ["row-2", "row-3"]
    assert "1 cells where the header has 2" in table.malformed[0][1]


def test_newline_inside_quotes_is_part_of_the_cell(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, 'id,x\na,"one\ntwo, ""three"""\nb,2\n'))
    assert table.rows["x"].to_list() == ['one\ntwo, "three"', "2"]
    assert not table.malformed


def test_stray_quote_costs_one_row(tmp_path: Path) -> None:
    rest = "".join(f"r{n},{n}\n" for n in range(1000))
    table = read_table(write(tmp_path, f'id,x\na,"open\n{rest}'))
    assert table.rows.height == 1000
    assert [row for row, _ in table.malformed] == ["row-1"]


def test_stray_quote_in_the_last_row_costs_one_row(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, 'id,x\na,1\nb,"open'))
    assert table.rows["id"].to_list() == ["a"]
    assert len(table.malformed) == 1


def test_two_stray_quotes_do_not_swallow_what_lies_between(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, 'id,x,y\na,"1,2\nb,1,2\nc,1",2,9\nd,1,2\ne,"1"2,3\nf,1,2\n'))
    assert table.rows["id"].to_list() == ["b", "d", "f"]
    assert [row for row, _ in table.malformed] == ["row-1", "row-3", "row-5"]


def test_header_only_is_an_empty_table(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "id,x\n"))
    assert table.rows.height == 0
    assert table.notes == {"table_empty": 1}


def test_missing_column_names_file_column_and_nearest(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"t\.csv has no column 'diagnosis'; the nearest is 'diagnosys'"):
        read_table(write(tmp_path, "id,diagnosys,age\n"), ("id", "diagnosis"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"id,x,id\n1,2,3\n", "names the column 'id' twice"),
        (b'"id,x\n1,2\n', "header row"),
    ],
)
def test_unusable_tables_are_one_sentence(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(SourceError, match=says) as caught:
        read_table(write(tmp_path, data))
    assert "\n" not in str(caught.value)


def test_unreadable_file_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read_table(tmp_path / "absent.csv")
    assert read_header(tmp_path / "absent.csv") == []


def test_json_lines_fold_the_archive_groups_in(tmp_path: Path) -> None:
    nested = {"name": "a", "_id": "x", "meta": {"clinical": {"age_approx": 55, "melanocytic": True, "sex": None}}}
    lines = [json.dumps(nested), '{"name": "b"', "[1]", '{"name": "\\ud800"}', "", '{"name": "c", "tags": ["t"]}']
    table = read_table(write(tmp_path, "\n".join(lines), "t.jsonl"))
    assert table.rows["name"].to_list() == ["a", "c"]
    assert table.rows.row(0, named=True)["age_approx"] == "55"
    assert table.rows.row(0, named=True)["melanocytic"] == "true"
    assert table.rows.row(0, named=True)["sex"] is None
    assert [row for row, _ in table.malformed] == ["row-2", "row-3", "row-4"]


def test_hostile_json_is_a_reason_not_an_exception() -> None:
    assert isinstance(parse_object(b"[" * 100_000), str)
    assert isinstance(parse_object(b'{"a": ' + b"9" * 5000 + b"}"), str)
    assert isinstance(parse_object(b"\xff\xfe{}"), str)


def test_nearest_of_nothing_is_none() -> None:
    assert nearest("a", []) is None


CELL = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELL, CELL, CELL), max_size=6))
def test_whatever_was_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("id", "x", "y"), *rows])
    table = read_table(write(tmp_path_factory.mktemp("t"), text.getvalue()))
    assert not table.malformed
    assert [tuple((cell or "").strip() for cell in row) for row in table.rows.drop(ROW).rows()] == [
        tuple(cell.strip() for cell in row) for row in rows
    ]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["t.csv", "t.jsonl"]))
def test_any_bytes_are_a_table_or_a_source_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    path = write(tmp_path_factory.mktemp("t"), data, name)
    read_header(path)
    try:
        table = read_table(path)
    except SourceError:
        return
    assert table.rows[ROW].is_unique().all()
