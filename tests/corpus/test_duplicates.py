from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.duplicates import deduplicate
from schemas.config import DeduplicateSettings
from schemas.stage import StageResult
from schemas.tables import CASES, IMAGES, INSPECTIONS, polars_schema
from schemas.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
Hash = np.ndarray[Any, np.dtype[np.uint8]]


def hashes(seed: int) -> Hash:
    """Eight unrelated 256-bit hashes."""
    return np.random.default_rng(seed).integers(0, 256, (8, 32), dtype=np.uint8)


def flipped(base: Hash, bits: Sequence[int]) -> Hash:
    """The same eight hashes with some bits of the upright one flipped."""
    out = base.copy()
    for bit in bits:
        out[0, bit // 8] ^= 1 << (bit % 8)
    return out


def image(name: str, whole: Hash, **more: Any) -> dict[str, Any]:
    return {"name": name, "whole": whole, **more}


def run(
    specs: Sequence[dict[str, Any]], published: frozenset[str] = frozenset(), **changes: Any
) -> tuple[StageResult, pl.DataFrame]:
    images, inspections, cases = [], [], []
    for spec in specs:
        name = spec["name"]
        pixel = spec.get("pixel", f"pixel-{name}")
        images.append(
            {
                "image_id": name, "source": spec.get("source", "s"), "source_image_id": name, "file_path": name,
                "file_bytes": 1, "file_digest": f"file-{name}", "licence": "CC0-1.0",
                "licence_class": spec.get("licence_class", "open"), "attribution": "a", "external_processing": True,
                "synthetic": False, "modality": "clinical", "tone_observations": [], "notes": [],
            }
        )  # fmt: skip
        inspections.append(
            {
                "file_digest": f"file-{name}", "image_digest": f"image-{name}", "pixel_digest": pixel,
                "width": spec.get("side", 100), "height": 100, "source_format": "JPEG", "stored_format": "JPEG",
                "exif_orientation": 1, "reencoded": None, "phash_whole": spec["whole"].tobytes(),
                "phash_centre": spec.get("centre", hashes(sum(map(ord, name)) + 1000)).tobytes(), "sharpness": 1.0,
                "luma_std": 50.0, "low_variance": False, "stored_bytes": 1, "pack": "p", "pack_offset": 0,
            }
        )  # fmt: skip
        cases.append(
            {
                "case_id": f"case-{name}", "source": "s", "image_ids": [name], "raw_label": "x",
                "node_id": spec.get("node", "melanoma"), "label_rule": "name",
                "label_certainty": spec.get("certainty", "consensus"), "concepts": [], "facts": [],
            }
        )  # fmt: skip
    return deduplicate(
        pl.DataFrame(images, schema=polars_schema(IMAGES)),
        pl.DataFrame(inspections, schema=polars_schema(INSPECTIONS)),
        pl.DataFrame(cases, schema=polars_schema(CASES)),
        DeduplicateSettings(**changes),
        TAXONOMY,
        published,
    )


def kept(result: StageResult) -> set[str]:
    return set(result.kept.filter("kept")["image_id"])


def rules(result: StageResult) -> set[tuple[str, str]]:
    return set(result.rejected.filter(pl.col("record_kind") == "image").select("record_id", "rule").rows())


def test_near_and_exact_duplicates_are_dropped_and_others_kept() -> None:
    base = hashes(1)
    result, edges = run(
        [
            image("a", base, side=300),
            image("b", flipped(base, range(24)), side=200),
            image("c", flipped(base, range(40, 66)), side=200),  # 26 bits away from a, 50 from b
            image("d", hashes(2), pixel="same"),
            image("e", hashes(2), pixel="same"),
        ]
    )
    assert kept(result) == {"a", "c", "d"}
    assert rules(result) == {("b", "near_duplicate"), ("e", "exact_duplicate")}
    near = result.rejected.filter((pl.col("record_id") == "b") & (pl.col("record_kind") == "image")).row(0, named=True)
    assert (near["value"], near["threshold"], near["survivor"]) == ("24", "24", "a")
    case = result.rejected.filter(pl.col("record_id") == "case-b").row(0, named=True)
    assert (case["rule"], case["survivor"]) == ("near_duplicate", "case-a")
    assert set(edges.select("left", "right", "relation").rows()) == {("a", "b", "near_duplicate"), ("d", "e", "exact")}


def test_a_turned_central_square_is_found() -> None:
    base = hashes(3)
    other = hashes(4)
    other[5] = base[0]
    result, _ = run([image("a", hashes(9), centre=base, side=300), image("b", hashes(8), centre=other)])
    assert rules(result) == {("b", "near_duplicate")}


def test_a_chain_of_unrelated_images_is_cut_and_every_dropped_image_is_near_its_survivor() -> None:
    base = hashes(5)
    chain = [image(f"i{n}", flipped(base, range(0, 20 * n)), side=100 + n) for n in range(6)]
    result, edges = run(chain)
    assert edges.height == 5
    decisions = result.kept
    assert int(decisions["distance"].max() or 0) <= 24  # type: ignore[arg-type]
    assert decisions.filter("kept").height >= 2
    assert result.stats["cut_components"] == 1
    narrow, _ = run(chain[:3])  # diameter 40: one cluster
    assert narrow.kept["cluster_diameter"].to_list() == [40, 40, 40]
    assert kept(narrow) == {"i2"}


def test_survivor_order_is_certainty_licence_resolution_priority() -> None:
    base = hashes(6)
    near = [flipped(base, [n]) for n in range(4)]
    certain, _ = run([image("a", near[0], side=900), image("b", near[1], certainty="histopathology")])
    assert kept(certain) == {"b"}
    licensed, _ = run([image("a", near[0], licence_class="nc", side=900), image("b", near[1])])
    assert kept(licensed) == {"b"}
    large, _ = run([image("a", near[0]), image("b", near[1], side=101)])
    assert kept(large) == {"b"}
    preferred, _ = run([image("a", near[0], source="x"), image("b", near[1], source="y")], source_priority=("y",))
    assert kept(preferred) == {"b"}
    labelled, _ = run([image("a", near[0], node=None, certainty="histopathology"), image("b", near[1])])
    assert kept(labelled) == {"b"}
    sticky, _ = run([image("a", near[0]), image("b", near[1], side=900)], published=frozenset({"a"}))
    assert kept(sticky) == {"a"}


def test_coarser_and_finer_labels_agree_and_the_finer_wins() -> None:
    base = hashes(7)
    pair = [image("a", base, node="benign_keratosis", side=900), image("b", base, node="seborrheic_keratosis")]
    result, _ = run(pair)
    row = result.kept.filter("kept").row(0, named=True)
    assert (row["image_id"], row["node_id"], row["label_from"]) == ("a", "seborrheic_keratosis", "b")


def test_contradicting_labels_reject_the_cluster_unless_configured_otherwise() -> None:
    base = hashes(8)
    pair = [image("a", base, node="melanoma", side=900), image("b", base, node="psoriasis")]
    result, _ = run(pair)
    assert kept(result) == set()
    assert rules(result) == {("a", "label_conflict"), ("b", "label_conflict")}
    assert set(result.rejected["value"]) == {"melanoma | psoriasis"}
    other, _ = run(pair, on_label_conflict="keep_survivor")
    assert kept(other) == {"a"}


def test_no_image_and_one_image() -> None:
    assert run([])[0].kept.height == 0
    assert kept(run([image("a", hashes(1))])[0]) == {"a"}


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_each_image_is_kept_or_rejected_and_input_order_does_not_matter(data: st.DataObject) -> None:
    bases = [hashes(100 + n) for n in range(3)]
    nodes = st.sampled_from(["melanoma", "psoriasis", "benign_keratosis", "seborrheic_keratosis", None])
    specs = [
        image(
            f"i{n}",
            flipped(
                data.draw(st.sampled_from(bases)), data.draw(st.lists(st.integers(0, 255), max_size=16, unique=True))
            ),
            node=data.draw(nodes),
            side=data.draw(st.integers(90, 92)),
            centre=hashes(500 + n),
        )
        for n in range(data.draw(st.integers(0, 8)))
    ]
    result, _ = run(specs)
    assert sorted(result.kept["image_id"]) == sorted(spec["name"] for spec in specs)
    dropped = {record for record, _ in rules(result)}
    assert dropped | kept(result) == {spec["name"] for spec in specs}
    assert not dropped & kept(result)
    shuffled = random.Random(1).sample(specs, len(specs))
    again, _ = run(shuffled)
    assert again.kept.equals(result.kept)
    assert again.rejected.equals(result.rejected)
    assert run(specs, published=frozenset(kept(result)))[0].kept.equals(result.kept)  # its own result is a fixed point
