"""The HTML report: whole, harmless, made from the release alone, and the same every time."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner

from flows.build import run_build
from flows.cli import app
from flows.execute import InProcess
from flows.html_report import gallery, published_report
from quality.report import composition
from schemas.config_file import load_config
from schemas.errors import UserError
from schemas.tables import DIMENSIONS
from schemas.tone import TONE_GROUPS
from tests.conftest import Quiet, write_config


def report_of(release: Path) -> str:
    return published_report(str(release))[1]


VOID = {"meta", "img", "br", "rect", "line", "input", "hr", "link"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; open tags must close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


@pytest.fixture(scope="module")
def release(drawn_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    config = load_config(write_config(folder / "config.yaml", drawn_sample))
    return Path(run_build(config, InProcess(), Quiet()).path(config))


def test_the_same_release_gives_the_same_report_wherever_it_lies(release: Path, tmp_path: Path) -> None:
    shutil.copytree(release, tmp_path / "elsewhere")
    assert report_of(release) == report_of(tmp_path / "elsewhere")


def test_it_tells_what_the_release_is_and_loads_nothing_from_anywhere(release: Path) -> None:
    html = report_of(release)
    page, manifest = Page(html), json.loads((release / "manifest.json").read_text())
    told = " ".join(page.text.split())
    assert "every image was drawn by a program" in told
    assert f"{manifest['counts']['rows']} published cases" in told
    assert "".join(manifest["intended_use"].replace("`", "").split()) in "".join(page.text.split())
    for title in ("From source to release", "Composition", "Gates", "What is not here, and why"):
        assert title in told
    for name in (*DIMENSIONS, *TONE_GROUPS):
        assert name.replace("_", " ") in told
    assert "script" not in {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not {"href", "srcset", "onload", "onerror"} & set(attributes), tag
        assert (attributes.get("src") or "data:").startswith("data:")
    assert not re.search(r"url\(|@import|https?://[^ <]*\.(?:css|js|png|jpg)", html)


def test_every_rejection_is_in_the_table_with_its_count(release: Path) -> None:
    told = " ".join(Page(report_of(release)).text.split())
    counts = pl.read_parquet(release / "rejections.parquet").group_by("stage", "rule", "record_kind").len()
    for stage, rule, kind, n in counts.iter_rows():
        assert f"{stage} {rule.replace('_', ' ')} {n:,} {kind}{'s' if n > 1 else ''}" in told


def test_images_are_shown_small_with_their_case_and_credit(release: Path) -> None:
    page = Page(report_of(release))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    rows = pl.read_parquet(release / "data/train/*.parquet", columns=["case_id", "attribution"])
    images = [attributes for attributes in images if "of case" in (attributes["alt"] or "")]
    assert len(images) == min(24, rows.height)
    for attributes in images:
        with Image.open(io.BytesIO(base64.b64decode((attributes["src"] or "").split(",")[1]))) as image:
            assert max(image.size) <= 420
        assert re.search(r"Image of case \S+, ", attributes["alt"] or "")
    assert any(credit in page.text for credit in rows["attribution"])


def test_what_a_narrative_says_is_text_and_never_markup(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import html_report

    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    real = html_report._exhibit
    said = {"text": hostile, "attribution": hostile}
    monkeypatch.setattr(html_report, "_exhibit", lambda row, image: real({**row, **said}, image))
    page = Page(report_of(release))
    assert "script" not in {tag for tag, _ in page.tags}
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert hostile in page.text


def test_the_gallery_shows_many_diagnoses_and_tones_before_it_repeats_one() -> None:
    rows = pl.DataFrame(
        [(f"s:{n}", f"d{n % 9 if n % 3 else 0}", TONE_GROUPS[n % 5]) for n in range(300)],
        schema=["case_id", "diagnosis", "tone_group"], orient="row",
    )  # fmt: skip
    shown = rows.filter(pl.col("case_id").is_in(gallery(rows)))
    assert shown.height == 24
    assert shown["diagnosis"].n_unique() == rows["diagnosis"].n_unique()
    assert shown["tone_group"].n_unique() == 5
    assert gallery(rows.reverse()) == gallery(rows)


def test_a_row_of_the_tone_table_is_there_when_nobody_is_in_it() -> None:
    bars = composition(pl.DataFrame({"tone_group": ["I-II", "I-II", "unknown"]}), "tone_group", TONE_GROUPS)
    assert [(bar.label, bar.count) for bar in bars] == [("I-II", 2), ("III-IV", 0), ("V-VI", 0), ("spread", 0),
                                                       ("unknown", 1)]  # fmt: skip


def test_the_release_holds_its_report_and_the_command_makes_it_anew(release: Path, tmp_path: Path) -> None:
    written = (release / "report.html").read_text()
    manifest = json.loads((release / "manifest.json").read_text())
    assert manifest["files"]["report.html"]["sha256"] == hashlib.sha256(written.encode()).hexdigest()
    done = CliRunner().invoke(app, ["report", str(release), "--out", str(tmp_path / "again.html")])
    assert done.output.strip() == str(tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == written


def test_duplicates_are_shown_as_pictures_with_what_was_kept_and_why(release: Path) -> None:
    page = Page(report_of(release))
    told = " ".join(page.text.split())
    shown = pl.read_parquet(release / "duplicates.parquet")
    assert shown["cluster_id"].n_unique() >= 3
    assert {"survivor", "near_duplicate"} <= set(shown["relation"])
    for image, relation, distance in shown.select("image_id", "relation", "distance").iter_rows():
        assert image in told
        if relation == "near_duplicate":
            assert f"near duplicate, {distance} of 256 bits" in told
    pictures = [a for tag, a in page.tags if tag == "img" and (a["alt"] or "").startswith("Image ") and "case" not in
                (a["alt"] or "")]  # fmt: skip
    assert len(pictures) == shown.height


def test_no_held_out_case_is_among_the_candidates_or_the_pictures(release: Path) -> None:
    held = pl.read_parquet(release / "queue.parquet")
    candidates = pl.read_parquet(release / "candidates.parquet")
    assert held.height
    assert not set(held["case_id"]) & set(candidates["case_id"])
    shown = set(pl.read_parquet(release / "duplicates.parquet")["image_id"])
    assert not set(held["image_ids"].explode()) & shown


def test_refused_candidates_come_with_scores_reasons_and_text(release: Path) -> None:
    told = " ".join(Page(report_of(release)).text.split())
    candidates = pl.read_parquet(release / "candidates.parquet")
    rows = pl.read_parquet(release / "data/train/*.parquet", columns=["narrative_id"])
    published = candidates.filter(pl.col("outcome") == "published")
    assert set(published["narrative_id"]) == set(rows["narrative_id"])
    worst = candidates.filter(pl.col("text").is_not_null())
    assert 0 < worst.height <= 12
    assert "published" not in set(worst["outcome"])
    refused = candidates.filter(pl.col("outcome") != "published")
    below = refused.filter(pl.col("outcome") == "below_threshold")
    assert worst["overall"].min() == (below if below.height else refused)["overall"].min()
    for text, critique in worst.select("text", "critique").iter_rows():
        assert " ".join(text.split())[:80] in told
        assert all(" ".join(advice.split()) in told for advice in json.loads(critique).values())


def test_diversity_and_repetition_are_told(release: Path) -> None:
    told = " ".join(Page(report_of(release)).text.split())
    distances = pl.read_parquet(release / "candidates.parquet")["sibling_distance"]
    assert f"mean distance {distances.mean():.2f}" in told
    assert distances.min() > 0.2  # type: ignore[operator]
    assert "Commonest limitation sentences" in told


def test_kinds_of_reasoning_are_counted_and_a_constructed_impression_is_named(release: Path) -> None:
    html = report_of(release)
    told = " ".join(Page(html).text.split())
    written = dict(pl.read_parquet(release / "candidates.parquet")["trajectory"].value_counts().iter_rows())
    counts = json.loads((release / "manifest.json").read_text())["counts"]
    for kind, n in counts["by_trajectory"].items():
        assert f"{kind} {written[kind]:,} {n:,}" in told
    assert f"The first impression of {counts['synthetic_trajectories']} of the published texts is constructed" in told
    assert told.count("revised (first impression constructed)") == told.count("## First impression") - sum(
        "## First impression" in text for text in pl.read_parquet(release / "candidates.parquet")["text"].drop_nulls()
    )


def test_a_folder_that_is_no_release_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no whole release \(.*manifest.json"):
        report_of(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("manifest.json", b"[]", "not what this version writes"),
        ("manifest.json", b"{", "manifest.json is damaged"),
        ("candidates.parquet", b"", "candidates.parquet"),
        ("duplicates.parquet", b"PAR1", "duplicates.parquet"),
    ],
)
def test_a_damaged_release_gets_one_sentence_that_names_the_file(
    file: str, content: bytes, says: str, release: Path, tmp_path: Path
) -> None:
    shutil.copytree(release, tmp_path / "broken")
    (tmp_path / "broken" / file).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(says)):
        report_of(tmp_path / "broken")


def test_a_table_with_other_columns_gets_one_sentence(release: Path, tmp_path: Path) -> None:
    shutil.copytree(release, tmp_path / "other")
    for name in ("candidates", "duplicates"):
        whole = (tmp_path / "other" / f"{name}.parquet").read_bytes()
        pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "other" / f"{name}.parquet")
        with pytest.raises(UserError, match="not what this version writes"):
            report_of(tmp_path / "other")
        (tmp_path / "other" / f"{name}.parquet").write_bytes(whole)
