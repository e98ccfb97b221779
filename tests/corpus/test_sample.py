"""The drawn sample keeps its promises: published layouts, distinct photographs, and a truth that is true."""

from __future__ import annotations

import errno
import hashlib
import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import imagehash
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from corpus.sample import layouts
from corpus.sample.draw import SampleSummary, add_images, draw_sample, plan_sample
from corpus.sample.layouts import F17K, FOLDER, HAM, ID_COLUMN, PAD, TABLE, read_csv
from corpus.sample.looks import LOOK_OF_LABEL
from corpus.sample.plants import COPIES, EXPECTED, RECIPES
from corpus.sample.records import Record
from schemas.errors import StoreError, UserError

N_IMAGES = 96  # the least round number that holds every kind of defect
NEAR, FAR = 24, 40  # bits of 256: the search's threshold, and what unrelated photographs must exceed

Hashes = npt.NDArray[np.uint64]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleSummary]:
    folder = tmp_path_factory.mktemp("sample") / "drawn"
    return folder, draw_sample(folder, N_IMAGES, seed=11)


@pytest.fixture(scope="module")
def pictures(sample: tuple[Path, SampleSummary]) -> dict[tuple[str, str], tuple[Hashes, Hashes]]:
    """Hashes of every readable image by (source, image id): upright, and in all orientations."""
    folder, _ = sample
    unreadable = {
        (row["source"], row["source_image_id"])
        for row in read_csv(folder / layouts.TRUTH_FILE)
        if EXPECTED[row["kind"]][1] in ("inspect", "ingest")
    }
    found = {}
    for source in layouts.SOURCES:
        for path in sorted((folder / FOLDER[source]).rglob("*.[jp][pn]g")):
            key = (source, path.name if source == PAD else path.stem)
            if key not in unreadable:
                with Image.open(path) as picture:
                    turned = hashes(picture)
                    found[key] = (turned[[0, 8]], turned)
    return found


def rows_of(folder: Path, source: str) -> list[dict[str, str]]:
    return read_csv(folder / FOLDER[source] / TABLE[source])


def files_of(folder: Path) -> dict[str, str]:
    """Every file below a folder with the digest of its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def hashes(picture: Image.Image) -> Hashes:
    """Packed 256-bit hashes (16, 4) of the whole frame and its central square, each upright and in seven turns."""
    grey = picture.convert("L")
    width, height = grey.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    views = [
        turned
        for view in (grey, grey.crop((left, top, left + side, top + side)))
        for turned in (view, *(view.transpose(turn) for turn in Image.Transpose))
    ]
    bits = np.array([imagehash.phash(view, hash_size=16).hash.ravel() for view in views])
    return np.packbits(bits, axis=1).view(np.uint64)


def distance(one: Hashes, other: Hashes) -> int:
    return int(np.bitwise_count(one[:, None] ^ other[None]).sum(-1).min())


def test_summary_counts_rows_and_plants(sample: tuple[Path, SampleSummary]) -> None:
    folder, summary = sample
    assert summary.n_images == N_IMAGES and summary.drawn
    assert summary.per_source == {source: len(rows_of(folder, source)) for source in sorted(layouts.SOURCES)}
    assert sum(summary.per_source.values()) == N_IMAGES
    assert set(summary.planted) == set(EXPECTED) == {recipe.kind for recipe in RECIPES}
    truth = Counter(row["kind"] for row in read_csv(folder / layouts.TRUTH_FILE))
    truth["conflicting_label"] //= 2  # both images of a conflict are to be rejected
    assert summary.planted == dict(truth)


def test_tables_have_the_published_columns(sample: tuple[Path, SampleSummary]) -> None:
    folder, _ = sample
    for source, name in TABLE.items():
        header = (folder / FOLDER[source] / name).read_text().splitlines()[0]
        assert header == ",".join(layouts.COLUMNS[source])
    assert layouts.COLUMNS[PAD][13] == "fitspatrick" and len(layouts.COLUMNS[PAD]) == 26


def test_files_lie_where_the_publishers_put_them_and_are_large_enough(sample: tuple[Path, SampleSummary]) -> None:
    folder, _ = sample
    spoilt = {
        (row["source"], row["file_path"])
        for row in read_csv(folder / layouts.TRUTH_FILE)
        if EXPECTED[row["kind"]][1] in ("inspect", "ingest")
    }
    shapes: Counter[str] = Counter()
    for source, pattern, kind in (
        (HAM, "HAM10000_images_part_[12]/ISIC_*.jpg", "JPEG"),
        (PAD, "imgs_part_[123]/PAT_*_*_*.png", "PNG"),
        (F17K, "data/finalfitz17k/*.jpg", "JPEG"),
    ):
        base = folder / FOLDER[source]
        found = sorted(path for path in base.rglob("*") if path.suffix in (".jpg", ".png"))
        assert found == sorted(base.glob(pattern))
        for path in found:
            if (source, path.relative_to(base).as_posix()) in spoilt:
                continue
            with Image.open(path) as picture:
                picture.load()
                assert (picture.format, picture.mode) == (kind, "RGB")
                assert min(picture.size) >= 450 and max(picture.size) >= 600
                shapes[f"{source} {picture.size}"] += 1
    assert shapes[f"{HAM} (600, 450)"] > 20 and shapes[f"{PAD} (800, 600)"] > 3


def test_every_row_has_its_file_except_where_the_truth_says_so(sample: tuple[Path, SampleSummary]) -> None:
    folder, _ = sample
    missing = {
        (row["source"], row["source_image_id"])
        for row in read_csv(folder / layouts.TRUTH_FILE)
        if row["kind"] in ("missing_file", "path_climbs_out")
    }
    assert missing
    for source in layouts.SOURCES:
        names = {path.name for path in (folder / FOLDER[source]).rglob("*.*")}
        for row in rows_of(folder, source):
            identifier = row[ID_COLUMN[source]]
            name = identifier if source == PAD else f"{identifier}.jpg"
            assert (name in names) != ((source, identifier) in missing)


def test_fitzpatrick17k_ids_are_the_md5_of_whole_files(sample: tuple[Path, SampleSummary]) -> None:
    folder, _ = sample
    truth = {row["source_image_id"]: row["kind"] for row in read_csv(folder / layouts.TRUTH_FILE)}
    for row in rows_of(folder, F17K):
        data = (folder / FOLDER[F17K] / "data" / "finalfitz17k" / f"{row['md5hash']}.jpg").read_bytes()
        whole = hashlib.md5(data).hexdigest() == row["md5hash"]
        assert whole == (truth.get(row["md5hash"]) not in ("corrupt_file", "not_an_image"))


def test_groups_tones_and_blanks_occur() -> None:
    records, _ = plan_sample(300, seed=7)
    ham = [record.row for record in records if record.source == HAM]
    pad = [record.row for record in records if record.source == PAD]
    lesions = Counter(row["lesion_id"] for row in ham)
    assert max(lesions.values()) in (2, 3, 4, 5) and all(
        len({row["dx"] for row in ham if row["lesion_id"] == lesion}) == 1 for lesion in lesions
    )
    patients = Counter(row["patient_id"] for row in pad)
    assert sum(count > 1 for count in patients.values()) > 5
    owners = {(row["lesion_id"], row["patient_id"]) for row in pad}
    assert len(owners) > len({lesion for lesion, _ in owners}), "no lesion id occurs under two patients"
    blank = sum(row["gender"] == "" for row in pad) / len(pad)
    assert 0.15 < blank < 0.55
    assert {record.tone for record in records if record.source == PAD} == set(range(1, 7))
    assert {row["dx"] for row in ham} >= {"nv", "mel", "bkl", "bcc", "akiec", "vasc", "df"}
    assert {row["diagnostic"] for row in pad} >= {"BCC", "ACK", "NEV", "SEK", "SCC", "MEL"}
    f17k = [record.row for record in records if record.source == F17K]
    assert {row["label"] for row in f17k} >= set(layouts.F17K_PARTITIONS)
    assert "-1" in {row["fitzpatrick_scale"] for row in f17k}


def test_planted_copies_are_near_their_originals_and_nothing_else_is(
    sample: tuple[Path, SampleSummary], pictures: dict[tuple[str, str], tuple[Hashes, Hashes]]
) -> None:
    folder, _ = sample
    truth = read_csv(folder / layouts.TRUTH_FILE)
    planted = {
        frozenset(
            {(row["source"], row["source_image_id"]), (row["original_source"], row["original_source_image_id"])}
        ): row["kind"]
        for row in truth
        if row["kind"] in COPIES
    }
    assert len(planted) >= 15
    for one, other in combinations(sorted(pictures), 2):
        bits = min(distance(pictures[one][0], pictures[other][1]), distance(pictures[other][0], pictures[one][1]))
        kind = planted.pop(frozenset({one, other}), None)
        if kind is None:
            assert bits > FAR, (one, other, bits)
        else:
            assert bits <= NEAR, (kind, one, other, bits)
    assert not planted, "planted pairs whose files are not there"


def test_a_copy_is_never_surer_or_earlier_than_its_original() -> None:
    def certainty(record: Record) -> int:
        histology = record.row.get("dx_type") == "histo" or record.row.get("biopsed") == "True"
        return 2 if histology else 0 if record.source == F17K else 1

    _, plants = plan_sample(4000, seed=2)
    originals = [made.original for made in plants if made.original is not None]
    assert len(originals) > 100 and len({original.index for original in originals}) == len(originals)
    for made in plants:
        if made.recipe.kind in COPIES and made.original is not None:
            copy, original = made.record, made.original
            assert certainty(copy) <= certainty(original)
            if (certainty(copy), copy.source) == (certainty(original), original.source) and copy.source != F17K:
                assert copy.image_id > original.image_id
            same = {LOOK_OF_LABEL.get(label, label) for label in (copy.label, original.label)}
            assert (len(same) == 1) == (made.recipe.kind != "conflicting_label")


def test_exact_copies_have_equal_pixels_and_no_copy_is_larger(sample: tuple[Path, SampleSummary]) -> None:
    folder, _ = sample
    for row in read_csv(folder / layouts.TRUTH_FILE):
        if row["kind"] not in COPIES or row["kind"] == "conflicting_label":
            continue
        copy = folder / FOLDER[row["source"]] / row["file_path"]
        name = row["original_source_image_id"].removesuffix(".png")
        (original,) = (folder / FOLDER[row["original_source"]]).rglob(f"{name}.*")
        with Image.open(copy) as a, Image.open(original) as b:
            assert a.width * a.height <= b.width * b.height
            equal = a.size == b.size and a.convert("RGB").tobytes() == b.convert("RGB").tobytes()
        assert equal == (row["kind"] == "exact_copy")


def test_defective_files_are_defective(sample: tuple[Path, SampleSummary]) -> None:
    folder, _ = sample
    seen = set()
    for row in read_csv(folder / layouts.TRUTH_FILE):
        path, kind = folder / FOLDER[row["source"]] / row["file_path"], row["kind"]
        seen.add(kind)
        if kind == "corrupt_file":
            with Image.open(path) as picture, pytest.raises(OSError, match="truncated"):
                picture.load()
        elif kind == "zero_bytes":
            assert path.stat().st_size == 0
        elif kind == "not_an_image":
            with pytest.raises(OSError, match="cannot identify"):
                Image.open(path)
        elif kind == "too_small":
            assert max(Image.open(path).size) < 64
        elif kind == "path_climbs_out":
            assert path.is_file() and not path.resolve().is_relative_to((folder / FOLDER[row["source"]]).resolve())
        elif kind == "duplicate_id":
            same = [r for r in rows_of(folder, row["source"]) if r[ID_COLUMN[row["source"]]] == row["source_image_id"]]
            assert len(same) == 2 and same[0] != same[1]
    assert seen == set(EXPECTED)


def test_manifest_names_exactly_the_benchmark_images(
    sample: tuple[Path, SampleSummary], pictures: dict[tuple[str, str], tuple[Hashes, Hashes]]
) -> None:
    folder, _ = sample
    digests = {Path(path).name: digest for path, digest in files_of(folder).items()}
    named = set()
    for row in read_csv(folder / layouts.MANIFEST_FILE):
        theirs = [
            np.frombuffer(bytes.fromhex(row[name]), np.uint8).view(np.uint64)[None]
            for name in ("phash_whole", "phash_centre")
            if row[name]
        ]
        for (source, identifier), (_, mine) in pictures.items():
            file_name = identifier if source == PAD else f"{identifier}.jpg"
            if (
                (row["dataset"], row["name"]) == (source, identifier)
                or row["file_digest"] == digests[file_name]
                or (theirs and all(distance(mine, one) <= NEAR for one in theirs))
            ):
                named.add((source, identifier))
    truth = read_csv(folder / layouts.TRUTH_FILE)
    wanted = {(row["source"], row["source_image_id"]) for row in truth if row["kind"] == "benchmark_image"}
    assert named == wanted and len(wanted) >= 4


def test_same_seed_same_bytes_whatever_the_number_of_processes(tmp_path: Path) -> None:
    draw_sample(tmp_path / "one", 40, seed=5, size=(300, 200))
    draw_sample(tmp_path / "two", 40, seed=5, size=(300, 200), workers=2)
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


def test_a_larger_sample_contains_a_smaller_one_and_another_seed_does_not(
    sample: tuple[Path, SampleSummary], tmp_path: Path
) -> None:
    folder, _ = sample
    draw_sample(tmp_path / "small", 40, seed=11)
    draw_sample(tmp_path / "other", 20, seed=12)
    tables = {*TABLE.values(), layouts.TRUTH_FILE, layouts.MANIFEST_FILE, layouts.MARKER_FILE}
    small, large, other = (files_of(f) for f in (tmp_path / "small", folder, tmp_path / "other"))
    images = {path: digest for path, digest in small.items() if Path(path).name not in tables}
    assert len(images) >= 38 and images.items() <= large.items()
    assert not set(images.values()) & set(other.values())
    for source in layouts.SOURCES:
        rows = rows_of(tmp_path / "small", source)
        assert rows_of(folder, source)[: len(rows)] == rows


def test_a_complete_sample_is_left_alone_and_an_unfinished_one_is_drawn_anew(tmp_path: Path) -> None:
    ticks: list[tuple[int, int]] = []
    first = draw_sample(tmp_path, 20, size=(300, 200), progress=lambda done, total: ticks.append((done, total)))
    assert ticks[-1][0] == ticks[-1][1] == len(ticks) and first.drawn
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    second = draw_sample(tmp_path, 20, size=(300, 200))
    assert not second.drawn and (second.per_source, second.planted) == (first.per_source, first.planted)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    whole = files_of(tmp_path)
    (tmp_path / layouts.MARKER_FILE).rename(tmp_path / layouts.UNFINISHED_FILE)  # as a killed run leaves it
    (tmp_path / FOLDER[HAM] / TABLE[HAM]).unlink()
    assert draw_sample(tmp_path, 20, size=(300, 200)).drawn
    assert files_of(tmp_path) == whole


def test_other_parameters_replace_a_sample(tmp_path: Path) -> None:
    draw_sample(tmp_path, 12, size=(300, 200))
    assert draw_sample(tmp_path, 4, size=(300, 200)).drawn
    assert sum(len(rows_of(tmp_path, source)) for source in layouts.SOURCES) == 4
    assert len([path for path in tmp_path.rglob("*.[jp][pn]g")]) == 4
    assert json.loads((tmp_path / layouts.MARKER_FILE).read_text())["n_images"] == 4


def test_a_folder_with_anything_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "HAM10000").mkdir()
    precious = tmp_path / "HAM10000" / "thesis.txt"
    precious.write_text("years of work")
    with pytest.raises(StoreError, match="is not empty and holds no drawn sample"):
        draw_sample(tmp_path, 4)
    assert files_of(tmp_path) == {"HAM10000/thesis.txt": hashlib.sha256(b"years of work").hexdigest()}


def test_a_full_disk_is_one_sentence_and_leaves_no_complete_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="No space left on device"):
        patch.setattr(layouts, "write_csv", full)
        draw_sample(tmp_path, 4, size=(300, 200))
    assert not (tmp_path / layouts.MARKER_FILE).exists()
    assert draw_sample(tmp_path, 4, size=(300, 200)).drawn


@pytest.mark.parametrize(("n_images", "size"), [(0, None), (5, (600, 90))])
def test_impossible_parameters_are_one_sentence(tmp_path: Path, n_images: int, size: tuple[int, int] | None) -> None:
    with pytest.raises(UserError, match="at least 1 image"):
        draw_sample(tmp_path / "s", n_images, size=size)
    assert not (tmp_path / "s").exists()


def test_added_images_follow_and_nothing_else_changes(tmp_path: Path) -> None:
    draw_sample(tmp_path, 8, size=(300, 200))
    before, rows = files_of(tmp_path), rows_of(tmp_path, HAM)
    first = add_images(tmp_path, 2)
    second = add_images(tmp_path, 1)
    after = files_of(tmp_path)
    table = f"{FOLDER[HAM]}/{TABLE[HAM]}"
    del before[table], after[table]
    assert before.items() <= after.items() and len(after) == len(before) + 3
    added = rows_of(tmp_path, HAM)[len(rows) :]
    assert [row["image_id"] for row in added] == first + second and len(set(first + second)) == 3
    assert rows_of(tmp_path, HAM)[: len(rows)] == rows
    assert not draw_sample(tmp_path, 8, size=(300, 200)).drawn
    with pytest.raises(StoreError, match="no complete drawn sample"):
        add_images(tmp_path / "nowhere", 1)
