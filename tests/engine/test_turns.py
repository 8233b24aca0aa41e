"""Accounts of the time that each owner's rows took."""

from __future__ import annotations

from rstitch.engine.turns import Turns


def turns(**rows: int) -> Turns:
    found = Turns()
    for owner, count in rows.items():
        for _ in range(count):
            found.enter(owner)
    return found


def test_a_step_is_paid_for_by_rows() -> None:
    found = turns(few=1, many=4)
    found.charge(["many", "few", "many", "many", "many"], 5.0)
    assert found.due(2.9) == {"few"}
    assert found.due(3.0) == {"few", "many"}


def test_who_is_behind_runs_until_it_has_caught_up() -> None:
    found = turns(few=1, many=4)
    found.charge(["many"] * 4, 3.0)
    steps = 0
    while found.due(0.5) == {"few"}:
        found.charge(["few"], 1.0)
        steps += 1
    assert steps == 3
    assert found.due(0.5) == {"few", "many"}


def test_who_was_away_has_no_claim_on_what_went_by() -> None:
    found = turns(old=1, other=1)
    found.charge(["old", "other"], 100.0)
    found.enter("new")
    assert found.due(0.0) == {"old", "other", "new"}


def test_an_account_ends_with_the_last_row() -> None:
    found = turns(one=2, other=1)
    found.leave("one")
    assert found.contested
    found.leave("one")
    assert not found.contested
    found.charge(["one", "other"], 1.0)  # the step in which it ended
    assert found.due(0.0) == {"other"}
