from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.decontamination import GROUPS, group_key
from corpus.splits import assign_splits, certified_entries, new_split
from schemas.config import SplitSettings
from schemas.tables import CASES, LEDGER, empty_frame, polars_schema

SETTINGS = SplitSettings(calibration=0.1, certify_queue=0.3)


def groups(*members: list[str], clean: bool = True) -> pl.DataFrame:
    rows = [(image, group_key(group), clean) for group in members for image in group]
    return pl.DataFrame(rows, schema=GROUPS, orient="row")


def cases(images: list[str]) -> pl.DataFrame:
    rows = [
        {
            "case_id": f"c-{i}",
            "source": "s",
            "image_ids": [i],
            "label_certainty": "consensus",
            "concepts": [],
            "facts": [],
        }
        for i in images
    ]
    return pl.DataFrame(rows, schema=polars_schema(CASES))


def assign(
    table: pl.DataFrame, ledger: pl.DataFrame | None = None
) -> tuple[dict[str, str], pl.DataFrame, pl.DataFrame]:
    known = empty_frame(LEDGER) if ledger is None else ledger
    result, entries = assign_splits(table, cases(table["image_id"].to_list()), known, SETTINGS)
    return dict(result.kept.select("image_id", "split").iter_rows()), entries, result.rejected


def published(ledger: pl.DataFrame, entries: pl.DataFrame, version: str) -> pl.DataFrame:
    return pl.concat([ledger, entries.with_columns(pl.lit(version).alias("since"))])


def group_in(split: str, start: int = 0) -> list[str]:
    """A group of two images that the salt deals to a split."""
    return next(
        [f"i{n}", f"j{n}"] for n in range(start, 10_000) if new_split(group_key([f"i{n}", f"j{n}"]), SETTINGS) == split
    )


def test_shares_come_out_as_configured() -> None:
    dealt = [new_split(f"group-{n}", SETTINGS) for n in range(20_000)]
    assert abs(dealt.count("calibration") / 20_000 - 0.1) < 0.01
    assert abs(dealt.count("certify_queue") / 20_000 - 0.3) < 0.015


def test_a_group_never_spans_two_splits_and_position_does_not_matter() -> None:
    table = groups(*[[f"a{n}", f"b{n}"] for n in range(50)])
    splits, _, _ = assign(table)
    assert all(splits[f"a{n}"] == splits[f"b{n}"] for n in range(50))
    assert assign(table.reverse())[0] == splits
    fewer, _, _ = assign(groups(*[[f"a{n}", f"b{n}"] for n in range(0, 50, 2)]))
    assert all(splits[image] == split for image, split in fewer.items())


def test_a_published_group_keeps_its_split_and_id_when_it_grows_or_the_salt_changes() -> None:
    held = group_in("certify_queue")
    _, entries, _ = assign(groups(held))
    ledger = published(empty_frame(LEDGER), entries, "0.1.0")
    grown = groups([*held, "new"])
    result, added = assign_splits(grown, cases([*held, "new"]), ledger, SplitSettings(salt="other", certify_queue=0.0))
    assert set(result.kept["split"]) == {"certify_queue"}
    assert set(result.kept["group_id"]) == {entries["group_id"][0]}
    assert added.select("reason", "members").rows() == [("grew", ["new"])]


def test_joining_a_training_group_to_a_held_out_one_withdraws_the_training_rows() -> None:
    train, held = group_in("train"), group_in("certify_queue")
    _, entries, _ = assign(groups(train, held))
    ledger = published(empty_frame(LEDGER), entries, "0.1.0")
    joined = groups([*train, *held, "fresh"])
    splits, added, rejected = assign(joined, ledger)
    assert splits == dict.fromkeys([*held, "fresh"], "certify_queue")
    images = rejected.filter(pl.col("record_kind") == "image")
    assert set(images["record_id"]) == set(train)
    assert set(images["rule"]) == {"joined_benchmark_group"}
    assert set(rejected.filter(pl.col("record_kind") == "case")["record_id"]) == {f"c-{i}" for i in train}
    # Once published, the same evidence gives the same answer and adds nothing; without the evidence they stay out.
    later = published(ledger, added, "0.2.0")
    again, more, rejected_again = assign(joined, later)
    assert (again, rejected_again.equals(rejected), more.height) == (splits, True, 0)
    alone, _, _ = assign(groups(train), later)
    assert alone == {}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=5), min_size=1, max_size=8), st.data())
def test_nothing_held_out_ever_trains_whatever_is_joined(first: list[list[int]], data: st.DataObject) -> None:
    def disjoint(lists: list[list[int]]) -> list[list[str]]:
        seen: set[int] = set()
        out = []
        for numbers in lists:
            fresh = sorted({n for n in numbers} - seen)
            seen |= set(fresh)
            if fresh:
                out.append([f"i{n}" for n in fresh])
        return out

    ledger = empty_frame(LEDGER)
    held_out: set[str] = set()
    for version in range(3):
        drawn = (
            first
            if version == 0
            else data.draw(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12), min_size=1, max_size=5))
        )
        splits, entries, _ = assign(groups(*disjoint(drawn)), ledger)
        assert not held_out & {image for image, split in splits.items() if split == "train"}
        held_out |= {image for image, split in splits.items() if split != "train"}
        ledger = published(ledger, entries, f"0.{version}.0")


def flag(images: list[str], reason: str = "flagged_wrong_label") -> dict[str, str]:
    return dict.fromkeys(images, reason)


@given(st.sampled_from(["train", "certify_queue", "calibration"]))
@settings(max_examples=3, deadline=None)
def test_what_raters_flagged_is_removed_for_good_with_their_reason_and_nothing_else(split: str) -> None:
    group = group_in(split)
    before, entries, _ = assign(groups(group))
    assert set(before.values()) == {split}
    ledger = published(empty_frame(LEDGER), entries, "0.1.0")
    table = groups(group)
    images = cases(group)
    result, added = assign_splits(table, images, ledger, SETTINGS, flag(group[:1]))
    assert dict(result.kept.select("image_id", "split").iter_rows()) == {group[1]: split}
    assert added.select("split", "reason", "members").rows() == [("withdrawn", "flagged_wrong_label", [group[0]])]
    told = set(result.rejected.select("record_kind", "record_id", "rule").rows())
    assert told == {("image", group[0], "flagged_wrong_label"), ("case", f"c-{group[0]}", "flagged_wrong_label")}
    later = published(ledger, added, "0.2.0")
    again, nothing = assign_splits(table, images, later, SETTINGS)  # the flag is gone, the removal is not
    assert again.kept.equals(result.kept) and again.rejected.equals(result.rejected)
    assert nothing.is_empty()


def test_what_joins_a_removed_held_out_image_stays_out_of_training() -> None:
    gone = group_in("certify_queue")
    others = ([f"i{n}", f"j{n}"] for n in range(5000, 6000))
    new = next(pair for pair in others if new_split(group_key([*gone, *pair]), SETTINGS) == "train")
    _, entries, _ = assign(groups(gone))
    ledger = published(empty_frame(LEDGER), entries, "0.1.0")
    joined = groups([*gone, *new])
    result, _ = assign_splits(joined, cases([*gone, *new]), ledger, SETTINGS, flag(gone))
    assert dict(result.kept.select("image_id", "split").iter_rows()) == dict.fromkeys(new, "certify_queue")


def test_a_certified_image_and_one_of_its_queue_are_one_side_of_the_split() -> None:
    group = group_in("certify_queue")
    _, entries, _ = assign(groups(group))
    known = pl.DataFrame({"case_id": ["c"], "group_id": [group_key(group)], "image_ids": [group[:1]]})
    ledger = published(empty_frame(LEDGER), pl.concat([entries, certified_entries(known)]), "0.1.0")
    assert ledger["split"].to_list() == ["certify_queue", "certified"]
    after, added, rejected = assign(groups(group), ledger)
    assert after == dict.fromkeys(group, "certify_queue")
    assert added.is_empty() and rejected.is_empty()
