"""Held-out problems stay out of training, and every split is the same on every machine."""

from __future__ import annotations

import hashlib

import pytest

from rstitch.pairs.recipe.kinds import OOD_KINDS, TRAINED
from rstitch.pairs.recipe.splits import SPLITS, TRAIN_LEVELS, part_of, problem_id, problems, spread


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_deterministic_and_has_no_problem_twice(split: str) -> None:
    first = problems(split, 300)
    assert first == problems(split, 300)
    assert len({(p.kind, p.numbers) for p in first}) == 300


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_splits_are_decided_by_kind_and_numbers(split: str) -> None:
    assert all(part_of(p.kind, p.numbers) == split for p in problems(split, 300))
    assert all(part_of(p.kind, p.numbers) == split for p in problems(split, 100, seed=5))


def test_parts_have_their_shares() -> None:
    parts = [part_of("x", (i, i + 1)) for i in range(20_000)]
    assert parts.count("test") == pytest.approx(1000, abs=120)
    assert parts.count("dev") == pytest.approx(1000, abs=120)


def test_the_hash_is_the_documented_one() -> None:
    digest = hashlib.sha256(b"bakery:12,3").digest()
    bucket = int.from_bytes(digest[:8], "big") % 20
    assert part_of("bakery", (12, 3)) == {0: "test", 1: "dev"}.get(bucket, "train")


def test_kinds_and_levels_are_balanced() -> None:
    drawn = problems("test", len(TRAINED) * 6)
    assert {(p.kind, p.level) for p in drawn} == {
        (k, level) for k in TRAINED for level in range(1, 7)
    }


def test_out_of_distribution_splits_are_what_they_say() -> None:
    assert {p.kind for p in problems("ood-kind", 60)} == set(OOD_KINDS)
    assert {p.level for p in problems("ood-depth", 60)} == {7, 8}
    wording = problems("ood-wording", 200)
    assert {p.kind for p in wording} <= set(TRAINED)
    assert all(part_of(p.kind, p.numbers) == "test" for p in wording)


def test_another_seed_draws_other_problems() -> None:
    assert problems("test", 50) != problems("test", 50, seed=1)


def test_an_unknown_split_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="known: train, dev, test, ood-kind, ood-depth"):
        problems("validation")


def test_ids() -> None:
    assert problem_id("test", 17) == "test-00017"


def test_spread_takes_each_once_however_many_are_asked_for() -> None:
    """More than there are used to give the first ones twice and never the last."""
    assert spread(range(3), 5) == [0, 1, 2]
    assert spread(range(10), 10) == list(range(10))
    found = spread(range(1000), 7)
    assert found == spread(range(1000), 7)
    assert [i * 7 // 1000 for i in found] == list(range(7))  # one of each seventh
    assert spread([], 3) == []


@pytest.mark.parametrize("n", [50, 100, 300, 500])
def test_a_round_number_of_problems_is_of_all_kinds_and_levels(n: int) -> None:
    """Every n-th was of 3 of the 30 kinds at 50 and at 100. By chance, 50 draws of 30 have 24.5
    kinds (deviation 1.8)."""
    found = spread(problems("dev"), n)
    assert len({one.kind for one in found}) >= (18 if n == 50 else 27)
    assert {one.level for one in found} == set(TRAIN_LEVELS)
