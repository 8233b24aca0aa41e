"""From records to rows, against figures worked by hand."""

from __future__ import annotations

from typing import Any

import pytest

from rstitch.cli.tabled import aligned, by_group, lines
from rstitch.evals.table import Row, groups, table

METHODS = {"llm": {"name": "llm"}, "st": {"name": "stitched"}, "coin": {"name": "coin"}}


def config(problems: int, samples: int = 1, in_flight: int = 1) -> dict[str, Any]:
    asked = {
        "problems": problems, "samples": samples, "in_flight": in_flight,
        "reference": "st", "max_tokens": 400,
    }  # fmt: skip
    return {"asked": asked, "methods": METHODS}


def record(method: str, problem: int, right: bool, seconds: list[float], **more: Any) -> Any:
    given = {
        "type": "answer", "method": method, "problem": f"p{problem}", "sample": 0, "right": right,
        "seconds": seconds, "tokens": 10, "llm_tokens": 10, "handoffs": 0, "reason": "stop",
        "extra": {}, "group": "",
    }  # fmt: skip
    return {**given, **more}


RECORDS = [
    record("llm", 0, True, [4.0, 9.0, 4.0]),  # the median: a repeat that was disturbed is none
    record("llm", 1, True, [6.0], reason="length"),
    record("st", 0, True, [1.0], tokens=5, llm_tokens=1, handoffs=2),
    record("st", 1, False, [8.0], tokens=5, llm_tokens=0),
    record("coin", 0, False, [2.0], tokens=10, llm_tokens=4),
]


def rows(records: list[Any], **about: Any) -> dict[str, Row]:
    found = table(config(**{"problems": 2, **about}), records)
    return {row.method: row for row in found.rows}


def test_a_row_by_hand() -> None:
    found = rows(RECORDS)
    llm, st, coin = found["llm"], found["st"], found["coin"]
    assert (llm.right, llm.truncated, llm.seconds, llm.comparison) == (1.0, 0.5, 5.0, None)
    assert (st.right, st.tokens, st.llm_share, st.handoffs) == (0.5, 5.0, 0.1, 1.0)
    assert st.comparison is not None and st.comparison.points == -50.0
    assert st.speed is not None
    assert (st.speed.ratio, st.speed.tokens, st.speed.slower) == pytest.approx((10 / 9, 2.0, 0.5))
    assert coin.comparison is not None and coin.comparison.n == 1, "on the problems of both"
    assert coin.share_off == pytest.approx(0.3)


def test_warnings() -> None:
    found = table(config(2), RECORDS).warnings
    assert "max_tokens 400 cut off 50% of the answers of llm: any method with shorter" in found[0]
    assert "coin is no fair control: its LLM share is +30.0 points from that of st" in found[1]
    assert found[2] == "not finished: coin"
    assert "2 problems cannot show that a method is not worse within a point; 299 could" in found[3]
    assert len(found) == 4


def test_p_values_are_corrected_for_all_methods() -> None:
    """5 losses of 5 twice: 0.0625 each, 0.125 after Holm."""
    records = [record(m, i, m == "llm", [1.0]) for m in METHODS for i in range(5)]
    found = rows(records, problems=5)
    assert [found[m].p for m in METHODS] == [None, 0.125, 0.125]
    assert found["st"].comparison is not None and found["st"].comparison.p == 0.0625


def test_several_samples_are_clustered() -> None:
    records = [
        record(m, i, i % 2 == 0, [1.0], sample=s)
        for m in METHODS
        for i in range(8)
        for s in range(4)
    ]
    found = rows(records, problems=8, samples=4)["llm"]
    low, high = found.interval
    assert (found.problems, found.answers, found.right) == (8, 32, 0.5)
    assert high - low > 0.5, "as wide as of 8 answers, not of 32"


def test_rates_instead_of_latencies_many_in_flight() -> None:
    batches: list[Any] = [
        {"type": "batch", "method": "llm", "answers": 1, "tokens": 10, "seconds": s} for s in (1, 4)
    ]
    found = table(config(2, in_flight=16), [*RECORDS, *batches])
    assert found.rows[0].rate == 4.0 and found.rows[1].speed is None
    assert "tokens/s, 16 at once" in "\n".join(lines(found))


def test_a_method_that_answers_one_at_a_time_has_no_rate() -> None:
    """Its rate is that of one, and it would be on no frontier, or on it for no merit of its own."""
    batches: list[Any] = [
        {"type": "batch", "method": m, "answers": 2, "tokens": 20, "seconds": 1.0, "batches": b}
        for m, b in (("llm", True), ("st", False))
    ]
    found = table(config(2, in_flight=16), [*RECORDS, *batches])
    rate = {row.method: (row.rate, row.frontier, row.alone) for row in found.rows}
    assert rate["llm"] == (20.0, True, False)
    assert rate["st"] == (None, False, True)
    assert rate["coin"] == (None, False, False), "not known yet"
    assert any(line.startswith("st answered one at a time: no rate") for line in found.warnings)
    assert not any("one at a time" in line for line in table(config(2), RECORDS).warnings)


def test_failed_answers_are_in_no_seconds() -> None:
    """They end at once, so that a method that fails often was the fastest."""
    records = [
        record("llm", 0, True, [4.0]), record("llm", 1, True, [6.0]),
        record("st", 0, True, [7.0]), record("st", 1, False, [0.0], reason="failed",
                                             tokens=0, llm_tokens=0, extra={"error": "long"}),
        record("coin", 0, False, [0.0], reason="failed", tokens=0, llm_tokens=0,
               extra={"error": "long"}),
    ]  # fmt: skip
    found = rows(records)
    assert (found["llm"].seconds, found["st"].seconds, found["coin"].seconds) == (5.0, 7.0, 0.0)
    assert {m: row.frontier for m, row in found.items()} == {
        "llm": True,
        "st": False,
        "coin": False,
    }
    batches = [
        {"type": "batch", "method": m, "answers": 2, "tokens": 20, "seconds": s}
        for m, s in (("llm", 10), ("st", 14))
    ]
    even = [record(m, i, i == 0, [1.0]) for m in ("llm", "st") for i in range(2)]
    even[-1] = {**even[-1], "reason": "failed", "tokens": 0, "extra": {"error": "long"}}
    many = {row.method: row for row in table(config(2, in_flight=4), [*even, *batches]).rows}
    assert (many["llm"].frontier, many["st"].frontier) == (True, False), "7 s an answer, not 3.5"


def test_tokens_in_vain_and_the_bound_of_checks() -> None:
    """30 written, 10 of them rejected drafts, 5 of the 20 others the LLM's; of 8 s in the last
    repeats 2 s on trials: without them 8 / 6 as fast."""
    records = [
        record("st", i, True, [9.0, 4.0], tokens=15, lost_tokens=5, llm_tokens=2.5,
               extra={"trial_seconds": 1.0})
        for i in range(2)
    ]  # fmt: skip
    found = rows(records)["st"]
    assert (found.tokens, found.llm_share) == (15, 0.25)
    assert found.bound == pytest.approx(8 / 6)
    assert "checks free" in "\n".join(lines(table(config(2), records)))
    assert "1.33x" in "\n".join(lines(table(config(2), records)))
    assert "checks free" not in "\n".join(lines(table(config(2), RECORDS)))


def test_the_frontier_of_a_group_many_in_flight() -> None:
    """By the rate of the run and the tokens of the group: without rates it went by seconds in which
    others were answered too."""
    records = [record(m, i, True, [1.0], group=f"level {i}") for m in ("llm", "st") for i in (0, 1)]
    records[0]["seconds"] = [0.1]
    rates = [
        {"type": "batch", "method": m, "answers": 2, "tokens": 20, "seconds": s}
        for m, s in (("llm", 4), ("st", 1))
    ]
    for one in groups(config(2, in_flight=4), [*records, *rates]).values():
        assert [(row.method, row.rate, row.frontier) for row in one.rows] == [
            ("llm", 5.0, False), ("st", 20.0, True),
        ]  # fmt: skip


def test_the_frontier() -> None:
    """Coin is slower and worse than stitched; the LLM is slower than stitched, and better."""
    seconds, right = {"llm": 5.0, "st": 1.0, "coin": 2.0}, {"llm": 3, "st": 2, "coin": 1}
    records = [record(m, i, i < right[m], [seconds[m]]) for m in METHODS for i in range(4)]
    found = rows(records, problems=4)
    assert {m: found[m].frontier for m in METHODS} == {"llm": True, "st": True, "coin": False}
    even = [record(m, i, i < 2, [seconds[m]]) for m in METHODS for i in range(4)]
    found = rows(even, problems=4)
    assert [m for m in METHODS if found[m].frontier] == ["st"], "as accurate and faster is better"


def test_without_the_llm_alone_nothing_is_compared() -> None:
    found = table(config(2), [r for r in RECORDS if r["method"] != "llm"])
    assert all(row.comparison is None and row.speed is None for row in found.rows)
    assert table(config(2), []).rows == []


def test_tables_per_group() -> None:
    """Two levels of two problems; stitched is right on the first alone."""
    records = [
        record(m, i, m == "llm" or i < 2, [1.0], group=f"level {i // 2}")
        for m in ("llm", "st")
        for i in range(4)
    ]
    found = groups(config(4), records)
    right = {name: [row.right for row in one.rows] for name, one in found.items()}
    assert right == {"level 0": [1.0, 1.0], "level 1": [1.0, 0.0]}
    assert by_group(found)[1:] == [
        "right %    llm     st",
        "level 0  100.0  100.0",
        "level 1  100.0    0.0",
    ]
    assert by_group(groups(config(4), [record("llm", 0, True, [1.0])])) == []


def test_the_text_of_a_table() -> None:
    text = lines(table(config(2), RECORDS))
    assert text[0].split()[:3] == ["right", "%", "95"] and "against llm" in text[0]
    assert text[2].startswith("st") and "-50.00" in text[2] and "1.11x" in "\n".join(text)
    assert aligned([["", "a", "b"], ["x", "1", ""], ["yy", "22", ""]]) == [
        "     a",
        "x    1",
        "yy  22",
    ]
