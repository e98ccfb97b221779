"""The audit command: its files, its exit status, its sentences for mistakes, and the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.audit_limits import read_limit
from flows.cli import app, guarded
from schemas.errors import UserError

SHARED = Path(os.environ.get("DERMCOT_SHARED_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))
SEEN = "Red, scaly plaques with a sharp border and silvery scale lie on the elbows."
ROWS = [
    ("a", "psoriasis", f"{SEEN} In conclusion, this is most consistent with psoriasis."),
    ("b", "lichen planus", f"{SEEN} In conclusion, this is most consistent with psoriasis, as your skin shows."),
    ("b", "psoriasis", f"{SEEN} <script>alert(1)</script> You should rest. The diagnosis is psoriasis."),
    ("d", "odd thing", f"=1+1 {SEEN} The diagnosis is <b>psoriasis</b>. You &amp; I agree."),
]
FILES = ("findings.parquet", "findings.csv", "texts.parquet", "summary.json", "report.html")


def table(folder: Path) -> Path:
    file = folder / "set.csv"
    pl.DataFrame(ROWS, schema=["case_id", "diagnosis", "completion"], orient="row").write_csv(file)
    return file


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", *map(str, words)])
    status = 1 if type(done.exception).__name__ == "GateError" else 2 if isinstance(done.exception, UserError) else 0
    assert done.exception is None or status, done.exception
    return status or done.exit_code, f"{done.output}{done.exception or ''}"


def test_it_writes_tables_a_summary_and_a_report(tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, output = run(table(tmp_path), "--out", out)
    assert status == 0
    assert output.rstrip().splitlines()[-1] == str(out / "report.html")
    assert sorted(file.name for file in out.iterdir()) == sorted(FILES)
    findings, texts = pl.read_parquet(out / "findings.parquet"), pl.read_parquet(out / "texts.parquet")
    assert texts["id"].to_list() == ["a", "b", "b (2)", "d"]
    assert findings.filter(pl.col("rule") == "contradicts_label")["id"].to_list() == ["b"]
    original = dict(zip(texts["id"], (text for _, _, text in ROWS), strict=True))
    for row in findings.iter_rows(named=True):
        assert original[row["id"]][row["start"] : row["end"]].strip()
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["texts"], summary["labels"]["unmapped"]) == (4, 1)
    assert summary["rules"]["second_person"]["texts"] == 3
    assert summary["relations"] == {
        **dict.fromkeys(summary["relations"], 0),
        "agree": 2,
        "contradiction": 1,
        "no_label": 1,
    }
    assert pl.read_csv(out / "findings.csv", infer_schema=False).height == findings.height


def test_whatever_a_text_holds_is_shown_and_not_run(tmp_path: Path) -> None:
    run(table(tmp_path), "--out", tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "http" not in html.replace('http-equiv="Content-Security-Policy"', "")
    assert not any(
        line.startswith("=") for cell in pl.read_csv(tmp_path / "out" / "findings.csv")["sentence"] for line in [cell]
    )


def test_the_same_set_gives_the_same_bytes(tmp_path: Path) -> None:
    file = table(tmp_path)
    for name in ("one", "two"):
        run(file, "--out", tmp_path / name)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("limits", "status"),
    [([], 0), (["contradicts_label=1"], 0), (["contradicts_label=25%"], 0), (["contradicts_label"], 1),
     (["contradicts_label=24.9%"], 1), (["error=9", "second_person=1"], 1), (["beyond_photograph"], 0), (["error"], 1)],
)  # fmt: skip
def test_limits_decide_the_exit_status(tmp_path: Path, limits: list[str], status: int) -> None:
    options = [word for limit in limits for word in ("--fail-on", limit)]
    got, output = run(table(tmp_path), "--out", tmp_path / "out", *options)
    assert got == status
    assert ("more findings than allowed" in output) is bool(status)


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    file, out = table(tmp_path), tmp_path / "out"
    for words, said in (
        ([tmp_path / "none.csv", "--out", out], "is not there"),
        (
            [file, "--out", out, "--text-column", "prose"],
            "has no column 'prose'; it has case_id, diagnosis, completion",
        ),
        ([file, "--out", out, "--fail-on", "contradict_label"], "the nearest is 'contradicts_label'"),
        ([file, "--out", out, "--fail-on", "error=many"], "has no limit that can be read"),
        ([file, "--out", out, "--evaluation-set", tmp_path / "none.csv"], "there is no evaluation manifest"),
        ([file, "--out", file / "below"], "cannot be written"),
    ):
        status, output = run(*words)
        assert (status, said in output) == (2, True), output
    (tmp_path / "empty.csv").write_text("id,text\n1,\n")
    assert "holds no text that can be audited (no_text 1)" in run(tmp_path / "empty.csv", "--out", out)[1]


def test_guarded_turns_an_exceeded_limit_into_status_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", str(table(tmp_path)), "--out", str(tmp_path / "out"), "--fail-on", "error"]
    assert guarded(lambda: app(words, standalone_mode=False)) == 1
    assert "more findings than allowed: error: 1 texts (25.0 %), at most 0 allowed" in capsys.readouterr().err


def test_what_an_evaluation_set_lists_is_found(tmp_path: Path) -> None:
    digest = hashlib.sha256(ROWS[0][2].encode()).hexdigest()
    (tmp_path / "bench.csv").write_text(f"dataset,name,file_digest\nbench,d.png,\nbench,,{digest}\n")
    out = tmp_path / "out"
    run(table(tmp_path), "--out", out, "--evaluation-set", tmp_path / "bench.csv")
    rows = pl.read_parquet(out / "findings.parquet").filter(pl.col("rule") == "in_evaluation_set")
    assert rows.select("id", "detail").rows() == [
        ("a", "its text is listed as bench"),
        ("d", "its id d is listed as bench/d.png"),
    ]


def test_limits_are_read_as_counts_and_shares() -> None:
    assert (read_limit("error").most, read_limit("error=3").most, read_limit("error=2.5%").most) == (0, 3, 2.5)
    assert [read_limit(told).is_share for told in ("error", "error=3", "error = 2.5 %")] == [False, False, True]


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    file = tmp_path / "set.parquet"
    texts = [f"{SEEN} Case {n} is red. In conclusion, this is most consistent with psoriasis." for n in range(1100)]
    pl.DataFrame({"text": texts, "label": ["psoriasis", "acne"] * 550}).write_parquet(file)
    for workers in (1, 2):
        assert run(file, "--out", tmp_path / str(workers), "--workers", workers)[0] == 0
    for name in FILES:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_the_shared_set_is_audited(tmp_path: Path) -> None:
    if not (SHARED / "dermbench").is_dir():
        pytest.skip(f"{SHARED / 'dermbench'} is not here: real-data test")
    assert run(SHARED / "dermbench", "--out", tmp_path)[0] == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["texts"], summary["rejections"]) == (1000, {})
    assert 0.5 < summary["relations"]["agree"] / 1000 < 0.8
    assert summary["rules"]["caption_talk"]["share"] > 0.9
    assert 0 < summary["rules"]["site_mismatch"]["texts"] < 60
