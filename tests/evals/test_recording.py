"""Scores against the traces' own, harmful tokens against their definition, and going on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rstitch.api import Stitch, load
from rstitch.errors import BadRequest, BadRun
from rstitch.evals import drive
from rstitch.evals.directory import RECORDS, Run, read_records
from rstitch.evals.evaluate import Plan
from rstitch.evals.methods import make
from rstitch.evals.recording import record as recording
from rstitch.evals.recording import scored
from rstitch.evals.recording.harmful import Losing, Turning, Wrong, text_of
from rstitch.evals.recording.kinds import Kinds, kind
from rstitch.evals.recording.scored import score
from rstitch.evals.verify import Verifier
from rstitch.trace import Trace
from rstitch.types import Sampling, Side
from tests import wild
from tests.evals.doubles import QUESTIONS, STITCHED, plan, question
from tests.pair import QUESTION, TAU, stitch

CLOSE = 2e-5
"""A pass over a whole answer and one token at a time round differently."""


def answered(name: str, text: str = QUESTION, max_tokens: int = 24, **options: Any) -> Trace:
    rule = {"tau": TAU} if name == "stitched" else {"policy": name}
    return stitch().generate(text, max_tokens=max_tokens, **rule, **options).trace


# -- scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["slm", "llm", "stitched"])
def test_scores_are_those_that_the_answer_was_written_with(name: str) -> None:
    trace = answered(name)
    kept = [p for p in trace.proposals if p.keep]
    found = score(stitch(), QUESTION, trace)
    assert found["sides"] == "".join(p.side.name[0] for p in kept)
    assert found["tokens"] == [p.token for p in kept]
    for i, p in enumerate(kept):
        own = found[p.side.label]
        assert own["entropy"][i] == pytest.approx(p.entropy, abs=CLOSE), i
        assert own["logprob"][i] == pytest.approx(p.logprob, abs=50 * CLOSE), i
        assert own["top"][i] == p.token, f"greedy, position {i}"
    for side in ("slm", "llm"):
        assert len(found[side]["entropy"]) == len(kept)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_sampled_token_has_its_own_logprob_and_not_that_of_the_top() -> None:
    trace = answered("slm", sampling=Sampling(1.5, seed=1))
    found = score(stitch(), QUESTION, trace)
    kept = [p for p in trace.proposals if p.keep]
    assert found["slm"]["logprob"] == pytest.approx([p.logprob for p in kept], abs=50 * CLOSE)
    assert found["slm"]["top"] != found["tokens"]


def test_a_long_answer_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with 150,000 tokens, of which few rows of logits fit."""
    whole = score(stitch(), QUESTION, answered("stitched"))
    monkeypatch.setattr(scored, "LOGITS", 7 * stitch().engine.runners[Side.LLM].vocab_size)
    pieces = score(stitch(), QUESTION, answered("stitched"))
    for side in ("slm", "llm"):
        for name in ("entropy", "logprob"):
            assert pieces[side][name] == pytest.approx(whole[side][name], abs=50 * CLOSE)
        assert pieces[side]["top"] == whole[side]["top"]
    assert all(not one.kv.length for one in stitch().engine.runners.values()), "rows are left"


def test_sides_with_other_ids_see_the_same_answer() -> None:
    """The same network on both sides, special tokens under other ids."""
    with load(**wild.pair().names, tau=0.5) as two:
        for name in ("slm", "llm"):
            trace = two.generate(QUESTION, policy=name, max_tokens=16, raw=True).trace
            rows = {side: tuple(trace.prompts.values())[0] for side in Side}
            trace.prompts.update(rows)
            found = score(two, QUESTION, trace)
            assert len(found["tokens"]) == 16
            assert found["slm"]["top"] == found["llm"]["top"]
            assert found["slm"]["entropy"] == pytest.approx(found["llm"]["entropy"], abs=CLOSE)


def test_scores_end_at_a_token_that_one_side_does_not_have() -> None:
    with load(**wild.pair().names, tau=0.5) as two:
        table = two.engine.translation
        assert table is not None
        trace = two.generate(QUESTION, policy="slm", max_tokens=8).trace
        at = next(i for i, p in enumerate(trace.proposals) if i == 5 and p.keep)
        lost = next(iter(table.lost[Side.SLM]))
        trace.proposals[at] = replace(trace.proposals[at], token=lost)
        found = score(two, QUESTION, trace)
        assert len(found["tokens"]) == len(found["sides"]) == len(found["llm"]["top"]) == 5


# -- kinds of tokens ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("7", "digit"), (" 12", "digit"), ("½", "digit"), ("+", "sign"), (" =", "sign"),
        ("\n\n", "sign"), (").", "sign"), ("So", "word"), (" the", "word"), ("x2", "word"),
        ("\ufffd", "word"), ("是", "word"), ("\\boxed", "word"), ("$", "sign"), ("", "sign"),
    ],
)  # fmt: skip
def test_kinds_by_text(text: str, wanted: str) -> None:
    assert kind(text) == wanted


def test_marks_are_special_whether_their_tokenizer_says_so_or_not() -> None:
    kinds, words = Kinds(stitch()), stitch().tokenizer
    assert {kinds.of(token) for token in words.get_added_vocab().values()} == {"special"}
    assert kinds.of(words.encode("7", add_special_tokens=False)[0]) == "digit"


# -- harmful tokens -------------------------------------------------------------------------------


def odd(text: str, inside: bool) -> bool:
    """Right by chance, in a third of the answers."""
    return len(text) % 3 == 0


def never(text: str, inside: bool) -> bool:
    return False


def wrong(index: int, is_right: Callable[[str, bool], bool]) -> tuple[Wrong, list[int]]:
    text = QUESTIONS[index]
    found = score(stitch(), text, answered("slm", text))
    kinds = tuple(map(Kinds(stitch()).of, found["tokens"]))
    return Wrong(tuple(found["tokens"]), tuple(found["llm"]["top"]), kinds, is_right), found[
        "tokens"
    ]


def goes_on(name: str, text: str, prefix: Sequence[int]) -> str:
    """The whole answer that begins so, by the one model alone; the tiny pair never ends one."""
    (stream,) = stitch().streams(
        text, n=1, policy=name, sampling=Sampling(), max_tokens=24 - len(prefix), begun=prefix
    )
    rest = [p.token for p in stream.result().trace.proposals if p.keep]
    return text_of(stitch(), Side[name.upper()], [*prefix, *rest])


def brute(one: Wrong, text: str) -> tuple[int | None, int | None]:
    """Both definitions at every position, agreeing ones too."""
    n, tokens = len(one.tokens), one.tokens

    def right(name: str, prefix: Sequence[int]) -> bool:
        whole = text_of(stitch(), Side.SLM, prefix)
        return one.is_right(goes_on(name, text, prefix) if len(prefix) < n else whole, True)

    h1 = (t for t in range(n) if right("slm", (*tokens[:t], one.tops[t])))
    after = [right("llm", tokens[:t]) for t in range(n + 1)]
    h2 = (t for t in range(n) if after[t] and not after[t + 1])
    return next(h1, None), next(h2, None)


def searched(search: Any, index: int, one: Wrong) -> dict[str, Any]:
    return drive.one(stitch(), search(one), question(index))[0].extra


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_first_harmful_token_is_that_of_the_definition(index: int) -> None:
    """Brute force tries all positions. The answer itself is made to be wrong."""
    one, tokens = wrong(index, odd)
    own = text_of(stitch(), Side.SLM, tokens)

    def judge(text: str, inside: bool) -> bool:
        return text != own and odd(text, inside)

    one = Wrong(one.tokens, one.tops, one.kinds, judge)
    h1, h2 = brute(one, QUESTIONS[index])
    assert searched(Turning, index, one)["at"] == h1 is not None
    assert searched(Losing, index, one)["at"] == h2
    assert 0 < len(one.disagreeing)


def test_controls_are_harmless_positions_before_it_of_its_kind() -> None:
    one, _ = wrong(0, odd)
    tried: list[str] = []

    def third(text: str, inside: bool) -> bool:
        tried.append(text)
        return len(tried) == 3

    found = searched(Turning, 0, Wrong(one.tokens, one.tops, one.kinds, third))
    first, second, at = one.disagreeing[:3]
    assert (found["at"], found["tried"]) == (at, 3)
    same = [t for t in (first, second) if one.kinds[t] == one.kinds[at]]
    assert found["controls"] == same and found["kind"] == one.kinds[at]


def test_the_llm_loses_it_where_right_becomes_wrong() -> None:
    """Right, right, wrong, right, wrong: lost at the second disagreement; the first did no harm."""
    one, _ = wrong(0, odd)
    verdicts = iter([True, True, False, True, False])
    found = searched(
        Losing, 0, Wrong(one.tokens, one.tops, ("word",) * 24, lambda *_: next(verdicts))
    )
    assert found == {
        "at": one.disagreeing[1], "controls": [one.disagreeing[0]], "kind": "word", "tried": 3,
    }  # fmt: skip


def test_an_answer_that_nothing_helps_has_no_harmful_token() -> None:
    one, _ = wrong(1, never)
    for search in (Turning, Losing):
        found = searched(search, 1, one)
        assert (found["at"], found["controls"], found["kind"]) == (None, [], None)
        assert found["tried"] == len(one.disagreeing) + (search is Losing)


def test_an_end_of_text_in_the_place_of_a_token_ends_the_answer() -> None:
    one, tokens = wrong(2, odd)
    (end,) = stitch().engine.eos_token_ids[Side.LLM]
    texts: list[str] = []

    def keep(text: str, inside: bool) -> bool:
        texts.append(text)
        return True

    at = one.disagreeing[0]
    tops = (*one.tops[:at], end, *one.tops[at + 1 :])
    assert searched(Turning, 2, Wrong(one.tokens, tops, one.kinds, keep))["at"] == at
    assert texts == [text_of(stitch(), Side.SLM, tokens[:at])]


# -- the run --------------------------------------------------------------------------------------


class Stop(Exception):
    """What ends a run in the middle."""


def recorded(
    out: Path, *methods: str, after: int = 10**6, scores: bool = True, harmful: bool = True,
    chosen: Plan | None = None, two: Stitch | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    left = [after]

    def tell(what: str, done: int, total: int) -> None:
        left[0] -= not what.startswith("settling")
        if left[0] < 0:
            raise Stop

    about = {"vocabulary": {"slm": 10, "llm": 10}, "pair": {"tau": TAU}}
    given = chosen or plan(*(methods or ("slm", "llm", STITCHED)), n=4, in_flight=2)
    with Verifier() as verifier:
        recording.record(
            two or stitch(), given, out, about, verifier, tell, scores=scores, harmful=harmful
        )
    return sorted(
        ({k: v for k, v in one.items() if k not in ("seconds", "traces")}
         for one in read_records(out) if one["type"] not in ("batch", "trial")),
        key=lambda one: (one["type"], one["problem"], one.get("method", "")),
    )  # fmt: skip


def test_a_line_for_every_answer_its_scores_and_each_wrong_one(tmp_path: Path) -> None:
    found = recorded(tmp_path / "run")
    kinds = [one["type"] for one in found]
    answers = [one for one in found if one["type"] == "answer"]
    wrong = {o["problem"] for o in answers if o["method"] == "slm" and not o["right"]}
    assert kinds.count("answer") == kinds.count("scores") == 12
    harms = [one for one in found if one["type"] == "harm"]
    assert {one["problem"] for one in harms} == wrong != set()
    free = [one for one in found if one["type"] == "harmless"]
    assert {o["problem"] for o in answers} == wrong | {one["problem"] for one in free}
    assert set(harms[0]) == {
        "type", "problem", "h1", "h2", "h1_controls", "h2_controls", "kinds", "tried",
    }  # fmt: skip


@pytest.mark.parametrize("after", [0, 8, 17, 26, 28, 29])
def test_a_recording_that_was_stopped_goes_on(tmp_path: Path, after: int) -> None:
    whole = recorded(tmp_path / "whole")
    try:
        recorded(tmp_path / "run", after=after)
    except Stop:
        with (tmp_path / "run" / RECORDS).open("a") as file:
            file.write('{"type": "sco')
    assert recorded(tmp_path / "run") == whole
    done = (tmp_path / "run" / RECORDS).read_bytes()
    recorded(tmp_path / "run")
    assert (tmp_path / "run" / RECORDS).read_bytes() == done, "nothing is owed, nothing is written"


def test_no_prefix_is_continued_twice(tmp_path: Path) -> None:
    """Killed in the middle of a search: what had been tried has lines of its own."""
    whole = recorded(tmp_path / "run")
    path = tmp_path / "run" / RECORDS
    lines = path.read_text().splitlines(keepends=True)
    trials = [line for line in lines if '"type":"trial"' in line]
    harms = [one for one in whole if one["type"] == "harm"]
    assert len(trials) == sum(one["tried"] for one in harms) > 4
    others = [line for line in lines if '"type":"trial"' not in line and '"harm"' not in line]
    path.write_text("".join([*others, *trials[:-2]]))
    assert recorded(tmp_path / "run") == whole
    again = [line for line in path.read_text().splitlines(keepends=True) if '"trial"' in line]
    assert sorted(again) == sorted(trials)


def test_a_full_disk_in_a_search_ends_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no question without an answer, which would be written down as such."""
    add = Run.add

    def full(run: Run, one: dict[str, Any]) -> None:
        if one["type"] == "trial":
            raise BadRun("no room")
        add(run, one)

    monkeypatch.setattr(Run, "add", full)
    with pytest.raises(BadRun, match="no room"):
        recorded(tmp_path / "run")
    assert "harm" not in {one["type"] for one in read_records(tmp_path / "run")}
    monkeypatch.undo()
    assert recorded(tmp_path / "run") == recorded(tmp_path / "whole")


def test_scores_and_harm_may_be_asked_for_later(tmp_path: Path) -> None:
    plain = recorded(tmp_path / "run", scores=False, harmful=False)
    assert {one["type"] for one in plain} == {"answer"}
    assert recorded(tmp_path / "run") == recorded(tmp_path / "whole")


def test_other_answers_are_refused(tmp_path: Path) -> None:
    recorded(tmp_path / "run", "slm")
    with pytest.raises(BadRun, match="begun with methods.llm = null"):
        recorded(tmp_path / "run", "slm", "llm")


def test_a_question_that_fits_no_context_has_no_scores(tmp_path: Path) -> None:
    chosen = plan("slm", "llm", n=3, in_flight=2)
    long = replace(chosen.problems[1], text="e" * 2000)
    chosen = replace(chosen, problems=(chosen.problems[0], long, chosen.problems[2]))
    found = recorded(tmp_path / "run", chosen=chosen)
    assert {o["problem"] for o in found if o["type"] == "scores"} == {"a-0", "a-2"}
    assert "a-1" not in {o["problem"] for o in found if o["type"].startswith("harm")}


@pytest.mark.parametrize(
    ("methods", "harmful", "temperature", "message"),
    [
        (["vote,k=2"], False, 0.0, "--method vote,k=2 writes more than one answer"),
        (["brief"], False, 0.0, "--method brief writes more"),
        (["llm"], True, 0.0, "add --method slm"),
        (["slm"], True, 0.6, "--harmful with --temperature 0.6: a harmful token is one of a gre"),
    ],
)
def test_what_cannot_be_recorded_is_told(
    methods: list[str], harmful: bool, temperature: float, message: str
) -> None:
    from rstitch.evals.methods import parse

    named = {label: make(parse(label)[0], **parse(label)[1]) for label in methods}
    with pytest.raises(BadRequest, match=message):
        recording.check(named, harmful, temperature)
