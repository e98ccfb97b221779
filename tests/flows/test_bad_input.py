"""Whatever people feed it: one plain sentence or a rejection row, nothing lost, and the run otherwise finishes.

Bad records share one source and one build, because each must be refused beside all the others; mistakes that end a run
are each made on their own, and mended afterwards where something could have been lost.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image

from corpus.store import StepOutput, Store
from flows.build import Outcome, finished_build, run_build
from flows.cli import guarded
from flows.execute import InProcess
from schemas.config import Config
from schemas.config_file import load_config
from tests.conftest import REPOSITORY, Quiet

LABELS = ("nevus", "melanoma", "basal cell carcinoma")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
COMMAND = [sys.executable, "-m", "flows", "run", "-c"]
#: A build in a process of its own, without Prefect; its files may not grow beyond so many bytes (0: no limit).
PLAIN = """
import resource, signal, sys
from pathlib import Path
from flows.build import run_build
from flows.cli import guarded
from flows.execute import InProcess
from schemas.config_file import load_config
from tests.conftest import Quiet

if int(sys.argv[2]):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
sys.exit(guarded(lambda: run_build(load_config(Path(sys.argv[1])), InProcess(), Quiet())))
"""


# -- small sources by hand --------------------------------------------------------------------------------------------


def photo(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A blotchy photograph, unlike that of any other seed."""
    dice = np.random.default_rng(seed)
    blotches = Image.fromarray(dice.integers(40, 220, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = dice.integers(-6, 7, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(blotches).astype(int) + grain).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def png(width: int, height: int, depth: int, colour: int, lines: bytes) -> bytes:
    """A PNG file by hand; ``lines``: scan lines, each after its filter byte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def claiming(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header claims another size."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


def table(rows: list[tuple[str, ...]], header: str = "image,label") -> bytes:
    return "\n".join([header, *(",".join(row) for row in rows), ""]).encode()


def good_source(folder: Path, n: int = 12, first_seed: int = 0) -> Path:
    """A ``folder`` source of ``n`` photographs that become training rows."""
    folder.mkdir(parents=True)
    for number in range(n):
        photo(first_seed + number).save(folder / f"good_{number:02}.jpg", quality=90)
    rows = [(f"good_{number:02}.jpg", LABELS[number % 3]) for number in range(n)]
    (folder / "metadata.csv").write_bytes(table(rows))
    return folder


def ham_source(folder: Path, rows: int, recode: Callable[[str], bytes]) -> Path:
    (folder / "HAM10000_images_part_1").mkdir(parents=True)
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for number in range(rows):
        photo(500 + number).save(folder / f"HAM10000_images_part_1/ISIC_{number:07}.jpg", quality=90)
        lines.append(f"HAM_{number:07},ISIC_{number:07},nv,histo,45.0,female,back")
    (folder / "HAM10000_metadata.csv").write_bytes(recode("\n".join(lines) + "\n"))
    return folder


def described(name: str, path: Path, **more: Any) -> dict[str, Any]:
    """A ``folder`` source of the configuration."""
    settings = {"name": name, "adapter": "folder", "path": str(path), "licence": "CC0-1.0", "synthetic": True}
    return {**settings, "columns": {"image": "image", "label": "label"}, **more}


def write(folder: Path, *sources: dict[str, Any], **changes: Any) -> Path:
    """A configuration file whose workspace and releases lie beside it; everything that can be kept is kept."""
    names = ("accuracy", "safety", "medical_groundedness", "clinical_coverage", "reasoning_coherence",
             "description_precision", "aggregate")  # fmt: skip
    document: dict[str, Any] = {
        "sources": list(sources),
        "split": {"calibration": 0.0, "certify_queue": 0.0},
        "select": {"thresholds": dict.fromkeys(names, 0.0)},
        "gate": {"max_rejected_share": 1.0},
        "release": {"allow_text_only": True},
        "execution": {"rows_per_shard": 4, "workers": 2},
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    return folder / "config.yaml"


def build(config: Config) -> Outcome:
    return run_build(config, InProcess(), Quiet())


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def the_sentence(errors: str) -> str:
    """The one line that begins with ``Error:``; there is no other, nothing follows it, and no traceback."""
    lines = errors.strip().splitlines()
    assert "Traceback" not in errors, errors
    assert [line for line in lines if line.startswith("Error: ")] == lines[-1:], errors
    return lines[-1]


def refusal(file: Path, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """What the program says, and nothing else, when it refuses to build this configuration."""
    capsys.readouterr()
    assert guarded(lambda: build(load_config(file, overrides))) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    return the_sentence(said.err)


# -- bad records: a rejection row each --------------------------------------------------------------------------------

#: Files that must be refused, and by which rule.
BAD_FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "truncated.jpg": ("corrupt_image", lambda: _jpeg()[: len(_jpeg()) // 2]),
    "without_end.jpg": ("corrupt_image", lambda: _jpeg()[:-2]),
    "header_only.jpg": ("corrupt_image", lambda: _jpeg()[:20]),
    "truncated.png": ("corrupt_image", lambda: encoded(photo(101), "PNG")[:-400]),
    "bomb.png": ("too_many_pixels", lambda: png(10_001, 10_000, 1, 0, (b"\0" + b"\xaa" * 1251) * 10_000)),
    "bomb_by_header.jpg": ("too_many_pixels", lambda: claiming(_jpeg(), 60_000, 60_000)),
    "text.jpg": ("not_an_image", lambda: b"This is not a photograph.\n" * 20),
    "page.png": ("not_an_image", lambda: b"<!DOCTYPE html><title>403 Forbidden</title>"),
    "animated.gif": ("animated", lambda: _moving("GIF", duration=100)),
    "animated.webp": ("animated", lambda: _moving("WEBP", duration=100)),
    "animated.png": ("animated", lambda: _moving("PNG", duration=100)),
    "pages.tiff": ("animated", lambda: _moving("TIFF")),
    "float.tiff": ("unsupported_mode", lambda: encoded(photo(105).convert("F"), "TIFF")),
    "small.jpg": ("too_small", lambda: encoded(photo(106, (63, 200)), "JPEG")),
    "large.jpg": ("file_too_large", lambda: _jpeg() + b"\0" * 400_000),
    "empty.jpg": ("empty_file", lambda: b""),
}
#: Images unlike a plain photograph that are kept, and why their payload is stored re-encoded (None: it is not).
ODD_FILES: dict[str, tuple[str | None, Callable[[], bytes]]] = {
    "cmyk.jpg": ("cmyk", lambda: encoded(photo(132).convert("CMYK"), "JPEG")),
    "sixteen_grey.png": ("16_bit", lambda: _sixteen_bit_grey(130)),
    "sixteen_colour.png": ("16_bit", lambda: _sixteen_bit_colour(133)),
    "palette.png": ("palette", lambda: encoded(photo(134).quantize(64), "PNG")),
    "palette.gif": ("format", lambda: encoded(photo(135).quantize(64), "GIF")),
    "translucent.png": ("alpha", lambda: encoded(_translucent(131), "PNG")),
    "still.webp": ("format", lambda: encoded(photo(136), "WEBP", lossless=True)),
    "misnamed.png": (None, lambda: encoded(photo(137), "JPEG")),
}
#: Paths in the table that mean no file of the source.
BAD_PATHS = {
    "../outside.jpg": "path_outside_source",
    "a/../../outside.jpg": "path_outside_source",
    "..\\other.jpg": "path_outside_source",
    "/photographs/absolute.jpg": "path_outside_source",
    "link.jpg": "path_outside_source",
    "away/photo.jpg": "image_missing",
    "loop.jpg": "image_missing",
    "dangling.jpg": "image_missing",
    "pipe.jpg": "image_missing",
    "directory.jpg": "image_missing",
    "absent.jpg": "image_missing",
}
#: The first rows of the table, as written: row-1, row-2 ...
ROWS = """\
twice.jpg,melanoma,
twice.jpg,nevus,
same.jpg,nevus,
same.jpg,nevus,
,nevus,
extra.jpg,nevus,,oops
"stray.jpg,nevus,
unknown.jpg,zebra stripes,
unsaid.jpg,,
pair_a.jpg,nevus,pair
pair_b.jpg,melanoma,pair
"""
BAD_ROWS = {
    "hand:twice.jpg": ("image", "ingest", "duplicate_id"),
    "hand:row-4": ("image", "ingest", "duplicate_row"),
    "hand:row-5": ("image", "ingest", "blank_id"),
    "hand:row-6": ("image", "ingest", "malformed_row"),
    "hand:row-7": ("image", "ingest", "malformed_row"),
    "hand:unknown.jpg": ("case", "map_labels", "unknown_label"),
    "hand:unsaid.jpg": ("case", "map_labels", "unknown_label"),
    "hand:pair": ("case", "ingest", "images_disagree"),
}
REJECTED = [
    *(("image", f"hand:{name}", "ingest" if rule == "empty_file" else "inspect", rule)
      for name, (rule, _) in BAD_FILES.items()),
    *(("image", f"hand:{name}".replace("\\", "/"), "ingest", rule) for name, rule in BAD_PATHS.items()),
    *((kind, name, stage, rule) for name, (kind, stage, rule) in BAD_ROWS.items()),
]  # fmt: skip


def _jpeg() -> bytes:
    return encoded(photo(100), "JPEG", quality=90)


def _moving(kind: str, **options: Any) -> bytes:
    return encoded(photo(102), kind, save_all=True, append_images=[photo(103), photo(104)], **options)


def _sixteen_bit_grey(seed: int) -> bytes:
    return encoded(Image.fromarray(np.asarray(photo(seed).convert("L")).astype(np.uint16) * 257), "PNG")


def _sixteen_bit_colour(seed: int) -> bytes:
    pixels = np.asarray(photo(seed)).astype(">u2") * 257
    return png(160, 120, 16, 2, b"".join(b"\0" + line.tobytes() for line in pixels))


def _translucent(seed: int) -> Image.Image:
    image = photo(seed).convert("RGBA")
    image.putalpha(128)
    return image


def _bad_source(folder: Path) -> Path:
    """The source ``hand``: everything above in one folder, with links and special files around it."""
    folder.mkdir(parents=True)
    lines = ROWS.splitlines()
    for name, (_, make) in (BAD_FILES | ODD_FILES).items():
        (folder / name).write_bytes(make())
        lines.append(f"{name},nevus,")
    lines += [f"{name},nevus," for name in BAD_PATHS]
    for seed, name in enumerate(("twice", "same", "unknown", "unsaid", "pair_a", "pair_b"), 120):
        photo(seed).save(folder / f"{name}.jpg")
    for seed, name in enumerate(("outside", "other", "linked", "away/photo"), 140):
        (folder.parent / name).parent.mkdir(exist_ok=True)
        photo(seed).save(folder.parent / f"{name}.jpg")
    for name, target in (("link", "../linked"), ("loop", "loop"), ("dangling", "nowhere")):
        (folder / f"{name}.jpg").symlink_to(f"{target}.jpg")
    (folder / "away").symlink_to("../away")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "directory.jpg").mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/name_\xff.jpg")).write_bytes(_jpeg())
    (folder / "metadata.csv").write_text("\n".join(["image,label,case", *lines]) + "\n")
    return folder


@dataclass(frozen=True)
class Built:
    """The finished build over the bad source, a good one, and two whose tables are oddly encoded."""

    config: Config
    outcome: Outcome
    rejections: pl.DataFrame
    index: pl.DataFrame

    def output(self, step: str) -> StepOutput:
        return next(report.output for report in self.outcome.reports if report.output.step == step)

    def table(self, step: str, name: str) -> pl.DataFrame:
        return Store(self.config.workspace).table(self.output(step), name)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("bad")
    western = good_source(folder / "western", 3, first_seed=300)
    rows = [(f"good_{n:02}.jpg", LABELS[n], caption) for n, caption in enumerate(("Läsion", "plain", "größer"))]
    lines = table(rows, "image,label,caption").decode().splitlines(keepends=True)
    mixed = [line.encode("utf-8" if n == 3 else "cp1252") for n, line in enumerate(lines)]
    (western / "metadata.csv").write_bytes(b"".join(mixed))
    wide = ham_source(folder / "wide", 3, lambda text: text.encode("utf-16"))
    file = write(
        folder,
        described("good", good_source(folder / "good")),
        described("hand", _bad_source(folder / "hand"), columns={"image": "image", "label": "label", "case": "case"}),
        described("western", western, columns={"image": "image", "label": "label", "caption": "caption"}),
        {"name": "wide", "adapter": "ham10000", "path": str(wide), "synthetic": True},
        inspect={"max_megabytes": 0.3},
    )
    config = load_config(file)
    outcome = build(config)
    release = Path(outcome.path(config))
    tables = [pl.read_parquet(release / f"{name}.parquet") for name in ("rejections", "index")]
    return Built(config, outcome, *tables)


@pytest.mark.parametrize(("kind", "record", "stage", "rule"), REJECTED, ids=[f"{r[1]}-{r[3]}" for r in REJECTED])
def test_a_bad_record_is_a_rejection_row(built: Built, kind: str, record: str, stage: str, rule: str) -> None:
    rows = built.rejections.filter((pl.col("record_kind") == kind) & (pl.col("record_id") == record))
    assert rows.select("stage", "rule").rows() == [(stage, rule)]


@pytest.mark.parametrize("name", ODD_FILES)
def test_an_unusual_image_is_published_as_plain_pixels(built: Built, name: str) -> None:
    images = built.table("ingest", "images").filter(pl.col("image_id") == f"hand:{name}")
    selection = built.table("inspect", "selection")
    inspected = Store(built.config.workspace).read_rows("inspect", selection, ["file_digest", "reencoded"])
    (reason,) = inspected.join(images.select("file_digest"), on="file_digest")["reencoded"]
    assert reason == ODD_FILES[name][0]
    (file,) = built.index.filter(pl.col("case_id") == f"hand:{name}")["file"]
    rows = pl.read_parquet(Path(built.outcome.path(built.config)) / file, columns=["case_id", "images"])
    (stored,) = rows.filter(pl.col("case_id") == f"hand:{name}")["images"][0]
    with Image.open(io.BytesIO(stored["bytes"])) as image:
        image.load()
        assert (image.format, image.mode, image.size) == ("PNG" if reason else "JPEG", "RGB", (160, 120))


def test_everything_else_is_released_and_nothing_is_lost(built: Built) -> None:
    released = set(built.index["case_id"])
    kept = {f"hand:{name}" for name in (*ODD_FILES, "same.jpg")}
    good = {f"good:good_{n:02}.jpg" for n in range(12)} | {f"western:good_{n:02}.jpg" for n in range(3)}
    assert released == kept | good | {f"wide:ISIC_{n:07}" for n in range(3)}
    images = {row[1] for row in REJECTED if row[0] == "image"}
    assert set(built.rejections.filter(pl.col("record_kind") == "image")["record_id"]) == images
    notes = built.output("read").stats["notes"]["hand"]
    assert notes["rows"] == len(ROWS.splitlines()) + len(BAD_FILES) + len(ODD_FILES) + len(BAD_PATHS)


def test_a_bad_record_is_refused_again_at_no_cost(built: Built) -> None:
    again = finished_build(built.config)
    assert again is not None
    assert again.release == built.outcome.release


def test_tables_in_another_encoding_are_read(built: Built) -> None:
    cases = built.table("ingest", "cases")
    captions = cases.filter(pl.col("source") == "western").sort("case_id")["caption"].to_list()
    assert captions == ["Läsion", "plain", "größer"]
    assert cases.filter(pl.col("source") == "wide").select("raw_label", "site", "age_years").unique().rows() == [
        ("nv", "back", 45.0)
    ]
    notes = built.output("read").stats["notes"]
    assert notes["western"]["encoding:cp1252"] == 1
    assert notes["wide"]["encoding:utf-16"] == 1


@pytest.mark.parametrize("table_is", ["of truncated photographs", "empty below its header"])
def test_a_source_with_nothing_usable_is_refused_by_the_gate(
    table_is: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = good_source(tmp_path / "source", 3)
    for path in source.glob("*.jpg"):
        path.write_bytes(path.read_bytes()[:1000])
    if table_is.startswith("empty"):
        (source / "metadata.csv").write_bytes(table([]))
    config = load_config(write(tmp_path, described("hand", source)))
    assert guarded(lambda: build(config)) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: The ingest gate failed: no image is left")
    assert "Traceback" not in said
    assert not list(tmp_path.glob("releases/dermcot-*"))


# -- mistakes: a sentence each ----------------------------------------------------------------------------------------


def _renamed(source: Path) -> None:
    ham_source(source, 2, lambda text: text.replace(",dx,", ",diagnosis,").encode())


def _lacking(source: Path) -> None:
    good_source(source, 2)
    (source / "metadata.csv").write_bytes(table([("good_00.jpg",)], "image"))


def _named_twice(source: Path) -> None:
    good_source(source, 2)
    (source / "metadata.csv").write_bytes(table([("good_00.jpg", "nevus", "melanoma")], "image,label,label"))


def _no_bytes(source: Path) -> None:
    good_source(source, 2)
    (source / "metadata.csv").write_bytes(b"")


def _a_photograph(source: Path) -> None:
    good_source(source, 2)
    (source / "metadata.csv").write_bytes(_jpeg())


def _a_folder(source: Path) -> None:
    good_source(source, 2)
    (source / "metadata.csv").unlink()
    (source / "metadata.csv").mkdir()


def _two_tables(source: Path) -> None:
    good_source(source, 2)
    (source / "metadata.tsv").write_bytes(table([("good_01.jpg", "melanoma")]))


def _nothing(source: Path) -> None:
    source.mkdir()


def _not_a_folder(source: Path) -> None:
    source.write_text("a file")


def _not_there(source: Path) -> None:
    return


MISTAKES: list[tuple[Callable[[Path], None], str, str]] = [
    (_renamed, "ham10000", r"no column 'dx'; the nearest is 'dx_type'"),
    (_lacking, "folder", r"no column 'label'"),
    (_named_twice, "folder", r"column 'label' twice"),
    (_no_bytes, "folder", r"is empty: it needs a header row"),
    (_a_photograph, "folder", r"header row|no column 'image'"),
    (_a_folder, "folder", r"holds no table"),
    (_two_tables, "folder", r"metadata\.csv and metadata\.tsv, and they differ"),
    (_nothing, "folder", r"holds no table"),
    (_nothing, "ham10000", r"holds no HAM10000_metadata"),
    (_not_a_folder, "folder", r"is not a folder.* sources\S+path"),
    (_not_there, "folder", r"is not there.* sources\S+path"),
]


@pytest.mark.parametrize(("spoil", "adapter", "says"), MISTAKES, ids=[f"{m[0].__name__}-{m[1]}" for m in MISTAKES])
def test_a_source_that_cannot_be_read_is_one_sentence(
    spoil: Callable[[Path], None], adapter: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(tmp_path / "source")
    settings = described("hand", tmp_path / "source", adapter=adapter)
    if adapter != "folder":
        settings = {name: settings[name] for name in ("name", "adapter", "path")}
    assert re.search(says, refusal(write(tmp_path, settings), capsys))
    assert not list(tmp_path.glob("releases/dermcot-*"))


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sources.0.adapter=ham1000", "did you mean 'ham10000'"),
        ("sources.0.adapter=whatever", "sources.0.adapter"),
        ("deduplicate.max_distanse=3", "did you mean 'max_distance'"),
        ("selekt.aggregate=min", "did you mean 'select'"),
        ("deduplicate.max_distance=many", "deduplicate.max_distance"),
    ],
)
def test_a_misspelt_setting_is_one_sentence_of_the_command(override: str, says: str, tmp_path: Path) -> None:
    file = write(tmp_path, {"name": "hand", "adapter": "ham10000", "path": "source"})
    done = subprocess.run(
        [*COMMAND, str(file), "--set", override], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert says in the_sentence(done.stderr)
    assert not (tmp_path / "workspace").exists()


# -- circumstances: a sentence, and nothing is lost -------------------------------------------------------------------


@dataclass(frozen=True)
class Finished:
    """A finished build over twelve good photographs; read only (copy ``folder`` to go on)."""

    folder: Path
    source: Path
    outcome: Outcome

    def copy_to(self, folder: Path) -> Path:
        """A copy of everything but the source, in which nothing is left to do; returns its configuration file."""
        shutil.copytree(self.folder, folder)
        outcome = build(load_config(folder / "config.yaml"))
        assert (outcome.release, outcome.is_new) == (self.outcome.release, False)
        return folder / "config.yaml"

    def release(self) -> dict[str, bytes]:
        return tree(self.folder / "releases" / self.outcome.release.name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    source = good_source(tmp_path_factory.mktemp("good") / "source")
    folder = tmp_path_factory.mktemp("finished")
    outcome = build(load_config(write(folder, described("hand", source))))
    assert outcome.release.manifest["counts"]["rows"] == 12
    return Finished(folder, source, outcome)


def test_a_second_build_in_the_same_workspace_is_refused(finished: Finished, tmp_path: Path) -> None:
    file = finished.copy_to(tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/workspace/steps/release")
    holding = ("import sys; from corpus.filesystem import Folder; from corpus.lease import Lease\n"
               "with Lease(Folder(sys.argv[1]), 'workspace'): print('held', flush=True); sys.stdin.read()")  # fmt: skip
    holder = subprocess.Popen(
        [sys.executable, "-c", holding, str(tmp_path / "copy/workspace")], env=ENVIRONMENT, cwd=REPOSITORY,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before = tree(tmp_path / "copy/workspace/steps") | tree(tmp_path / "copy/workspace/rows")
        done = subprocess.run([*COMMAND, str(file)], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        sentence = the_sentence(done.stderr)
        assert f"another build is using workspace {tmp_path / 'copy/workspace'} (process {holder.pid} on" in sentence
        assert tree(tmp_path / "copy/workspace/steps") | tree(tmp_path / "copy/workspace/rows") == before
        holder.kill()
    outcome = build(load_config(file))
    assert (outcome.release, outcome.is_new) == (finished.outcome.release, False)


def test_a_source_that_vanishes_between_runs_loses_nothing(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished.source, tmp_path / "source")
    file = write(tmp_path, described("hand", tmp_path / "source"))
    config = load_config(file)
    outcome = build(config)
    before = tree(Path(config.releases))
    (tmp_path / "source").rename(tmp_path / "elsewhere")
    assert "is not there" in refusal(file, capsys)
    assert tree(Path(config.releases)) == before
    (tmp_path / "elsewhere").rename(tmp_path / "source")
    again = finished_build(config)
    assert again is not None
    assert again.release == outcome.release


@pytest.mark.parametrize("which", ["workspace", "releases"])
@pytest.mark.parametrize("below", ["", "/below"])
def test_a_file_where_a_folder_must_be_is_one_sentence(
    which: str, below: str, finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = finished.copy_to(tmp_path / "copy")
    (tmp_path / "file").write_text("precious")
    assert f"--{which}" in refusal(file, capsys, f"{which}={tmp_path / 'file'}{below}")
    assert (tmp_path / "file").read_text() == "precious"
    build(load_config(file, [f"{which}={tmp_path / 'other'}"]))


def flip(path: Path, at: int) -> None:
    """Damage one byte of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def only(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


#: A file of the workspace to damage, and the steps whose results are taken away so that it is read again.
DAMAGE = {
    "step table": ("steps/split/*/cases.parquet", ("propose", "select")),
    "selection": ("steps/inspect/*/selection.parquet", ("deduplicate",)),
    "rows": ("rows/propose/*.parquet", ("standardise",)),
    "pack": ("rows/inspect/*.tar", ("release",)),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_file_of_the_workspace_is_named_and_made_again_once_it_is_gone(
    what: str, finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = finished.copy_to(tmp_path / "copy")
    pattern, after = DAMAGE[what]
    workspace = tmp_path / "copy/workspace"
    for step in after:
        shutil.rmtree(workspace / "steps" / step)
        shutil.rmtree(workspace / "rows" / step, ignore_errors=True)
    shutil.rmtree(tmp_path / "copy/releases")
    damaged = sorted(workspace.glob(pattern)) if pattern.startswith("steps/") else [only(workspace, pattern)]
    for path in damaged:  # a step may be filed under two keys
        flip(path, 1000 if what == "pack" else 60)
    sentence = refusal(file, capsys)
    named = re.search(r"delete (?:the folder )?(\S+) and run", sentence) or re.search(r"(\S+) .*: delete it", sentence)
    assert named, sentence
    gone = Path(named[1])
    assert any(path == gone or gone in path.parents for path in damaged)
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    config = load_config(file)
    outcome = build(config)
    assert tree(Path(outcome.path(config))) == finished.release()


@pytest.mark.parametrize("pattern", ["rows/inspect/*.tar", "rows/inspect/*.json", "rows/propose/*.parquet"])
def test_a_deleted_part_is_made_again(pattern: str, finished: Finished, tmp_path: Path) -> None:
    config = load_config(finished.copy_to(tmp_path / "copy"))
    path = only(tmp_path / "copy/workspace", pattern)
    assert finished_build(config) is not None
    path.unlink()
    assert finished_build(config) is None
    outcome = build(config)
    assert (outcome.release, outcome.is_new) == (finished.outcome.release, False)
    assert [(r.output.step, r.made) for r in outcome.reports if r.state == "ran"] == [(path.parent.name, 4)]


def test_a_damaged_manifest_of_a_release_is_one_sentence(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = finished.copy_to(tmp_path / "copy")
    manifest = only(tmp_path / "copy/releases", "dermcot-*/manifest.json")
    manifest.write_bytes(manifest.read_bytes()[:-20])
    assert str(manifest) in refusal(file, capsys)
    manifest.write_bytes(finished.release()["manifest.json"])
    assert finished_build(load_config(file)) is not None


# -- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A disk of 3 MB, or None where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        yield None
        return
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def committed(workspace: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file that a manifest vouches for, and of the manifests."""
    found: list[Path] = []
    for manifest in workspace.glob("steps/*/*/manifest.json"):
        found += manifest.parent.iterdir()
    for manifest in workspace.glob("rows/*/*.json"):
        found += manifest.parent.glob(f"{manifest.stem}.*")
    return {str(path.relative_to(workspace)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def plain(file: Path, limit: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PLAIN, str(file), str(limit)]
    return subprocess.run(command, env=ENVIRONMENT, cwd=REPOSITORY, capture_output=True, text=True)


#: Bytes left on the small disk (None: there is plenty), and bytes a file may have where no disk may be mounted.
ROOM = {"within a pack": (None, 20_000), "between files": (300_000, 40_000), "within the release": (None, 100_000)}


@pytest.mark.parametrize("where", ROOM)
def test_a_full_disk_loses_nothing(where: str, finished: Finished, small_disk: Path | None, tmp_path: Path) -> None:
    room, limit = ROOM[where]
    disk = small_disk if room else None
    workspace = (disk or tmp_path) / "workspace"
    file = write(tmp_path / "run", described("hand", finished.source), workspace=str(workspace))
    if disk is not None and room is not None:
        (disk / "ballast").write_bytes(bytes(3 * 1024 * 1024 - room))
    done = plain(file, limit if disk is None else 0)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "the disk is full" in the_sentence(done.stderr)
    assert not list((tmp_path / "run/releases").glob("dermcot-*/manifest.json"))
    before = committed(workspace)
    assert before
    if disk is not None:
        (disk / "ballast").unlink()
    build(load_config(file))
    after = committed(workspace)
    assert {path: after.get(path) for path in before} == before
    assert tree(tmp_path / "run/releases" / finished.outcome.release.name) == finished.release()
