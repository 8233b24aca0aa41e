"""The Python face: load, generate, stream, batch; what ends early, and what is refused by name."""

from __future__ import annotations

import copy
import gc
import json
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import rstitch
from rstitch import driver as driver_module
from rstitch import prompts
from rstitch import stream as stream_module
from rstitch.api import Answer, Piece, Stitch, Stream, load
from rstitch.decoder import alike, decoder
from rstitch.errors import BadRequest, OutOfMemory
from rstitch.explain import check
from rstitch.policy import make
from rstitch.text import Reasoned
from rstitch.types import Sampling, Side, sample_seed
from tests import pair as tiny
from tests.models import assert_clean
from tests.pair import QUESTION, TAU, pair

QUESTIONS = [QUESTION, "Why?", "What did Mia give away, and to whom?", "Count the boxes."]


@pytest.fixture(autouse=True)
def step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are taken as pieces are asked for, so that tests know how many there were."""
    monkeypatch.setattr(driver_module, "BURST", 0.0)


@pytest.fixture
def stitch() -> Iterator[Stitch]:
    """The shared pair; every test leaves it with nothing in flight and no KV."""
    shared = tiny.stitch()
    yield shared
    assert not shared._driver.inboxes
    assert_clean(shared.engine)


def joined(stream: Stream) -> str:
    return "".join(piece.text for piece in stream)


def told(answer: Answer) -> tuple[object, ...]:
    """What must be the same when an answer is written again, alone or beside others."""
    steps = [(p.token, p.side, p.keep, p.next_side) for p in answer.trace.proposals]
    return (answer.text, answer.reason, steps, answer.trace.texts, answer.trace.policy)


# -- answers --------------------------------------------------------------------------------------


def test_a_pair_is_loaded_by_directories() -> None:
    with rstitch.load(slm=str(pair().slm), llm=str(pair().llm), tau=TAU, max_rows=2) as stitch:
        answer = stitch.generate(QUESTION, max_tokens=20)
    assert answer.trace.models == {"slm": str(pair().slm), "llm": str(pair().llm)}
    assert answer.trace.policy == {"name": "entropy", "tau": TAU}
    assert stitch.engine.config.max_rows == 2


def test_both_sides_write_one_answer(stitch: Stitch) -> None:
    answer = stitch.generate(QUESTION, max_tokens=40)
    trace, usage = answer.trace, answer.usage
    kept = [p for p in trace.proposals if p.keep]
    assert answer.reason == "length" and usage.tokens == len(kept) == 40
    assert usage.slm_tokens == sum(p.side is Side.SLM for p in kept) > 0
    assert usage.llm_tokens == sum(p.side is Side.LLM for p in kept) > 0
    assert usage.discards == len(trace.proposals) - len(kept) > 0
    assert trace.end == {"reason": "length", "usage": usage.as_dict()}
    assert "".join(trace.texts) == answer.text
    assert answer.text == stitch.tokenizer.decode([p.token for p in kept])
    assert {forward.side for forward in trace.forwards} == set(Side)


def test_generate_is_the_joined_stream(stitch: Stitch) -> None:
    answer = stitch.generate(QUESTION, max_tokens=40)
    stream = stitch.stream(QUESTION, max_tokens=40)
    assert joined(stream) == answer.text
    assert told(stream.result()) == told(answer)


def test_text_held_back_until_the_end_reaches_readers_of_the_stream(stitch: Stitch) -> None:
    """The beginning of a stop string that never came; it used to be in `generate` alone."""
    text = stitch.generate(QUESTION, max_tokens=40).text
    stop = text[-5:] + "\0never"
    stream = stitch.stream(QUESTION, max_tokens=40, stop=[stop])
    pieces = list(stream)
    assert pieces[-1] == Piece(text[-5:], None)
    assert "".join(piece.text for piece in pieces) == text == stream.result().text
    assert "".join(stream.trace.texts) == text


def test_a_batch_is_its_prompts_one_by_one(stitch: Stitch) -> None:
    for sampling in (Sampling(), Sampling(temperature=1.0, top_k=40, seed=5)):
        together = stitch.batch(QUESTIONS, sampling=sampling, max_tokens=30)
        alone = [stitch.generate(q, sampling=sampling, max_tokens=30) for q in QUESTIONS]
        assert list(map(told, together)) == list(map(told, alone))
        assert len({answer.text for answer in together}) == len(QUESTIONS)


def test_an_empty_batch(stitch: Stitch) -> None:
    assert stitch.batch([]) == []


def test_two_streams_of_one_stitch_interleave(stitch: Stitch) -> None:
    alone = [stitch.generate(q, max_tokens=25).text for q in QUESTIONS[:2]]
    left, right = (stitch.stream(q, max_tokens=25) for q in QUESTIONS[:2])
    texts = ["", ""]
    for ours, theirs in zip(left, right, strict=False):
        texts[0] += ours.text
        texts[1] += theirs.text
    texts = [texts[0] + joined(left), texts[1] + joined(right)]
    # zip takes one more piece of the left than of the right, and drops it
    assert right.result().text == alone[1] == texts[1]
    assert left.result().text == alone[0]


def test_streams_may_be_read_by_threads(stitch: Stitch) -> None:
    alone = [stitch.generate(q, max_tokens=25).text for q in QUESTIONS]
    streams = [stitch.stream(q, max_tokens=25) for q in QUESTIONS]
    texts = [""] * len(streams)

    def read(i: int) -> None:
        texts[i] = joined(streams[i])

    threads = [threading.Thread(target=read, args=(i,)) for i in range(len(streams))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert texts == alone


def test_messages_are_rendered_by_the_template_of_each_side(stitch: Stitch) -> None:
    question = [{"role": "user", "content": QUESTION}]
    answer = stitch.generate(question, max_tokens=3)
    assert told(answer) == told(stitch.generate(QUESTION, max_tokens=3))
    rendered = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n<think>\n"
    for side in Side:
        assert stitch.tokenizer.decode(list(answer.trace.prompts[side])) == rendered
    system = [{"role": "system", "content": "Be brief."}, *question]
    assert stitch.generate(system, max_tokens=1).usage.prompt_tokens > answer.usage.prompt_tokens


def test_a_raw_prompt_is_left_as_it_is(stitch: Stitch) -> None:
    answer = stitch.generate("Mia has", raw=True, max_tokens=3)
    assert stitch.tokenizer.decode(list(answer.trace.prompts[Side.SLM])) == "Mia has"
    assert not answer.starts_thinking


def test_a_policy_by_name_or_object(stitch: Stitch) -> None:
    alone = stitch.generate(QUESTION, policy="slm", max_tokens=8)
    assert alone.usage.llm_tokens == 0 and set(alone.trace.prompts) == {Side.SLM}
    assert {forward.side for forward in alone.trace.forwards} == {Side.SLM}
    assert alone.trace.models == {"slm": str(pair().slm)}
    policy = make("random", p=0.5, q=0.5)
    assert stitch.generate(QUESTION, policy=policy, max_tokens=8).trace.policy == policy.spec()


def test_tau_of_the_call_goes_before_the_pair_s_own(stitch: Stitch) -> None:
    assert stitch.generate(QUESTION, max_tokens=2).trace.policy["tau"] == TAU
    assert stitch.generate(QUESTION, max_tokens=2, tau=0.25).trace.policy["tau"] == 0.25
    assert stitch.generate(QUESTION, max_tokens=8, tau=0).trace.policy["tau"] == 0


def test_seeds_are_recorded_and_repeat_the_answer(stitch: Stitch) -> None:
    """A fresh one where none was given, for each answer of a batch its own."""
    hot = Sampling(temperature=1.0)
    first, second = stitch.batch([QUESTION] * 2, sampling=hot, max_tokens=30)
    seeds = [answer.trace.sampling.seed for answer in (first, second)]
    assert None not in seeds and seeds[0] != seeds[1]
    assert first.text != second.text
    for answer in (first, second):
        again = stitch.generate(QUESTION, sampling=answer.trace.sampling, max_tokens=30)
        assert told(again) == told(answer)


def test_meta_goes_into_the_trace(stitch: Stitch) -> None:
    assert stitch.generate(QUESTION, max_tokens=1, meta={"id": 7}).trace.meta == {"id": 7}


def test_top_logprobs(stitch: Stitch) -> None:
    answer = stitch.generate(QUESTION, max_tokens=5, top_logprobs=3)
    for proposal in answer.trace.proposals:
        ids, values = zip(*proposal.top_logprobs, strict=True)
        assert len(ids) == 3 and sorted(values, reverse=True) == list(values)
        assert (ids[0], values[0]) == (proposal.token, proposal.logprob)  # greedy: the likeliest


def test_threads_are_set() -> None:
    """The setting used to be without effect."""
    before = torch.get_num_threads()
    try:
        load(slm=str(pair().slm), llm=str(pair().llm), threads=before + 1).close()
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("text", "inside", "expected"),
    [
        ("Seven.\n</think>\n\nIt is 7.", True, Reasoned("Seven.\n", "\n\nIt is 7.")),
        ("Seven and", True, Reasoned("Seven and", "")),
        ("It is 7.", False, Reasoned(None, "It is 7.")),
        ("<think>Seven.</think>7", False, Reasoned("Seven.", "7")),
    ],
)
def test_an_answer_is_split_into_reasoning_and_answer(
    stitch: Stitch, text: str, inside: bool, expected: Reasoned
) -> None:
    real = stitch.generate(QUESTION, max_tokens=1)
    assert Answer(text, inside, "stop", real.usage, real.trace).reasoned == expected


def test_a_template_that_opens_the_thinking_is_noticed(stitch: Stitch) -> None:
    answer = stitch.generate(QUESTION, max_tokens=5)
    assert answer.starts_thinking
    assert answer.reasoned == Reasoned(answer.text, "")


# -- stop strings ---------------------------------------------------------------------------------


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(stitch: Stitch) -> None:
    text = stitch.generate(QUESTION, max_tokens=60).text
    for stop in (text[20:23], text[30:41]):
        before = text.partition(stop)[0]
        for given in (stop, [stop], ["\0", stop]):
            stream = stitch.stream(QUESTION, max_tokens=60, stop=given)
            assert joined(stream) == before
            answer = stream.result()
            assert (answer.text, answer.reason) == (before, "stop")
            assert answer.usage.tokens < 60


def test_a_stop_string_that_never_comes_changes_nothing(stitch: Stitch) -> None:
    plain = stitch.generate(QUESTION, max_tokens=30)
    assert told(stitch.generate(QUESTION, max_tokens=30, stop=["\0"])) == told(plain)


# -- early ends -----------------------------------------------------------------------------------


def kv_lengths(stitch: Stitch) -> dict[str, dict[int, int]]:
    return {side.label: dict(model.runner.kv.length) for side, model in stitch.models.items()}


def test_a_stream_closed_in_the_middle_frees_both_sides_and_keeps_its_trace(
    stitch: Stitch,
) -> None:
    whole = stitch.generate(QUESTION, max_tokens=60)
    stream = stitch.stream(QUESTION, max_tokens=60)
    pieces = [next(stream) for _ in range(25)]
    held = kv_lengths(stitch)
    assert held["slm"] and held["llm"], held
    stream.close()
    assert kv_lengths(stitch) == {"slm": {}, "llm": {}}
    assert list(stream) == []
    trace = stream.trace
    assert trace.proposals[:25] == [p.proposal for p in pieces]
    steps = [
        [(p.token, p.side, p.keep) for p in one.proposals[:25]] for one in (trace, whole.trace)
    ]  # a pass with more threads differs in its last bits
    assert steps[0] == steps[1]
    assert check(trace) is None
    answer = stream.result()
    assert answer.reason == trace.end["reason"] == "cancelled"
    assert answer.text == "".join(trace.texts) and whole.text.startswith(answer.text.rstrip("�"))
    assert answer.usage.tokens == sum(p.keep for p in trace.proposals)
    assert trace.forwards


def test_a_stream_closed_before_its_first_token(stitch: Stitch) -> None:
    stream = stitch.stream(QUESTION)
    stream.close()
    answer = stream.result()
    assert (answer.text, answer.reason, answer.usage.tokens) == ("", "cancelled", 0)


def test_closing_twice_or_after_the_end_does_nothing(stitch: Stitch) -> None:
    stream = stitch.stream(QUESTION, max_tokens=3)
    answer = stream.result()
    for _ in range(2):
        stream.close()
    assert stream.result().reason == answer.reason == "length"


def test_closing_one_stream_leaves_the_others_alone(stitch: Stitch) -> None:
    alone = stitch.generate(QUESTIONS[1], max_tokens=25).text
    doomed, other = (stitch.stream(q, max_tokens=25) for q in QUESTIONS[:2])
    next(doomed), next(other)
    doomed.close()
    assert other.result().text == alone


def test_text_held_back_at_the_close_joins_the_last_kept_token(stitch: Stitch) -> None:
    """The last proposal may have been discarded, and such a token has no text."""
    text = stitch.generate(QUESTION, max_tokens=60).text
    stream = stitch.stream(QUESTION, max_tokens=60, stop=[text + "\0"])  # holds back everything
    while len(stream.trace.proposals) < 5 or stream.trace.proposals[-1].keep:
        next(stream)
    stream.close()
    trace = stream.trace
    assert "".join(trace.texts) == stream.result().text != ""
    dropped = [t for p, t in zip(trace.proposals, trace.texts, strict=True) if not p.keep]
    assert set(dropped) == {""}


def test_a_stream_let_go_of_is_cancelled(stitch: Stitch) -> None:
    """`for piece in stitch.stream(...): break`: the answer used to go on being written unread."""
    for _ in stitch.stream(QUESTION, max_tokens=60):
        break
    gc.collect()
    assert not stitch._driver.inboxes
    stitch.generate(QUESTION, max_tokens=2)  # the next step of the engine frees what it held
    assert_clean(stitch.engine)


def test_closing_the_stitch_ends_its_streams() -> None:
    """Reading on, and closing them, used to hang."""
    stitch = load(slm=str(pair().slm), llm=str(pair().llm), tau=TAU, max_rows=1)
    streams = [stitch.stream(q) for q in QUESTIONS[:2]]  # the second is still queued
    first = [next(streams[0]) for _ in range(5)]
    stitch.close()
    assert_clean(stitch.engine)
    rest = [list(stream) for stream in streams]
    assert not any(piece.proposal for piece in rest[0]) and not rest[1]  # held-back text at most
    answers = [stream.result() for stream in streams]
    assert [answer.reason for answer in answers] == ["cancelled"] * 2
    assert answers[0].trace.proposals == [piece.proposal for piece in first]
    assert answers[0].text == "".join(piece.text for piece in [*first, *rest[0]])
    for stream in streams:
        stream.close()
    stitch.close()
    with pytest.raises(BadRequest, match="the engine is closed; load the pair again"):
        stitch.stream(QUESTION)


def test_an_error_inside_a_pass_reaches_the_reader_and_nothing_stays(
    stitch: Stitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = stitch.stream(QUESTION, max_tokens=20)
    next(stream)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory")

    for model in stitch.models.values():
        monkeypatch.setattr(model.runner, "extend", broken)
    with pytest.raises(OutOfMemory, match="ran out of memory"):
        list(stream)
    stream.close()
    assert len(stream.trace.proposals) == len(stream.trace.forwards) == 1 and not stream.trace.end
    with pytest.raises(OutOfMemory, match="ran out of memory"):
        stream.result()


def test_closing_does_not_raise_what_ends_the_answer(
    stitch: Stitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who closes several streams closes them all; the error is told by those who ask for it."""
    streams = [stitch.stream(QUESTION, max_tokens=20) for _ in range(2)]
    next(streams[0])

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory")

    for model in stitch.models.values():
        monkeypatch.setattr(model.runner, "extend", broken)
    with pytest.raises(OutOfMemory):
        list(streams[0])
    for stream in streams:
        stream.close()
    with pytest.raises(OutOfMemory, match="ran out of memory"):
        streams[1].result()


def test_closing_from_another_thread_ends_the_reader(stitch: Stitch) -> None:
    """Twenty rounds: who of the two takes the end is a matter of chance."""
    for _ in range(20):
        stream = stitch.stream(QUESTION, policy="llm", max_tokens=60)
        next(stream)
        reader = threading.Thread(target=lambda s=stream: list(s), daemon=True)
        closer = threading.Thread(target=stream.close, daemon=True)
        for thread in (reader, closer):
            thread.start()
        for thread in (reader, closer):
            thread.join(20)
            assert not thread.is_alive(), "it waits for an end that another thread has taken"
        assert stream.trace.end["reason"] in ("cancelled", "length")


@pytest.mark.parametrize("place", ["_commit", "_ended", "_release", "_take_asked", "_feed"])
def test_ctrl_c_in_the_middle_of_a_step_loses_nothing(
    stitch: Stitch, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """It arrives when the step is whole: the trace has all tokens, and closing brings the end."""
    want = stitch.generate(QUESTION, max_tokens=12)
    stream, calls = stitch.stream(QUESTION, max_tokens=12), []
    real = getattr(stitch.in_process.loop, place)

    def interrupted(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == (4 if place in ("_commit", "_feed") else 1):
            signal.raise_signal(signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(stitch.in_process.loop, place, interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    stream.close()
    kept = [p.token for p in stream.trace.proposals if p.keep]
    assert kept == [p.token for p in want.trace.proposals if p.keep][: len(kept)]
    end = stream.trace.end["usage"]
    assert end["slm_tokens"] + end["llm_tokens"] == len(kept)
    assert stitch.generate(QUESTION, max_tokens=12).text == want.text


def test_a_prompt_is_read_once_where_both_sides_read_italike(
    stitch: Stitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = prompts.apply_template

    def counted(source: str, *rest: Any) -> str:
        asked.append(source)
        return real(source, *rest)

    monkeypatch.setattr(prompts, "apply_template", counted)
    rule = make("entropy", tau=TAU)
    once = stitch.prompts(QUESTION, policy=rule)
    assert len(asked) == (1 if stitch._alike else 2)
    monkeypatch.setattr(stitch, "_alike", False)
    assert stitch.prompts(QUESTION, policy=rule) == once and set(once) == set(Side)
    words = stitch.models[Side.LLM].tokenizer
    other = copy.deepcopy(words)
    assert alike([words, other]) and not alike([words])
    other.chat_template += "\n"
    assert not alike([words, other])
    changed = copy.deepcopy(words)
    changed.add_tokens(["<new>"])
    assert not alike([words, changed])


def test_costs_are_measured_before_or_after_answers(stitch: Stitch) -> None:
    costs = stitch.measure()
    assert min(costs.base) > 0 and min(costs.per_row) >= 0
    stream = stitch.stream(QUESTION, max_tokens=4)
    with pytest.raises(BadRequest, match="answers are being written; measure before the first"):
        stitch.measure()
    stream.close()


def test_an_end_that_never_came_is_told(stitch: Stitch) -> None:
    """Our own fault, should it happen: an error, no endless loop."""
    stream = stitch.stream(QUESTION, max_tokens=4)
    while not stitch.engine.idle:
        stitch.engine.step()  # somebody else takes the events
    with pytest.raises(RuntimeError, match="which has no end"):
        list(stream)
    stitch._driver.inboxes.clear()


def test_stop_token_ids_and_ignoring_the_end_of_text(stitch: Stitch) -> None:
    free = stitch.generate(QUESTION, max_tokens=30)
    tokens = [p.token for p in free.trace.proposals if p.keep]
    at = next(i for i in range(3, 30) if tokens[i] not in tokens[:i])
    cut = stitch.generate(QUESTION, max_tokens=30, stop_token_ids=[tokens[at]])
    assert cut.reason == "stop" and cut.usage.tokens == at + 1
    assert stitch.generate(QUESTION, max_tokens=30, ignore_eos=True).usage.tokens == 30


# -- refused by name ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_row": 4}, "unknown setting 'max_row'; known: max_rows, max_step_tokens, waiting"),
        ({"slm": "a"}, "give both slm and llm, or neither for a named pair"),
        ({"llm": "a"}, "give both slm and llm, or neither for a named pair"),
        ({"pair": "qwen"}, "unknown pair 'qwen'; known: builtin"),
        ({"max_rows": 0}, "max_rows is 0; it must be at least 1"),
        ({"threads": 0}, "threads is 0; it must be at least 1"),
        *(
            ({"waiting": wrong}, f"waiting is {wrong!r}; it must be 'table', 'eager', or 'fixed:'")
            for wrong in ("never", "fixed", "fixed:", "fixed:0", "fixed:-1", "fixed:2.5", "eager:6")
        ),
        ({"max_wait": -1}, "max_wait is -1; it must be 0 or more LLM steps"),
        ({"max_wait": float("nan")}, "max_wait is nan"),
        ({"kv_memory": 0}, "kv_memory is 0; it must be above 0 (GiB)"),
    ],
)
def test_load_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as error:
        load(**options)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ("Why?", {"tau": 0.1, "policy": "slm"}, "give tau (0.1) or policy (slm), not both"),
        ("Why?", {"tau": float("nan")}, "tau is nan; it must be a number"),
        ("Why?", {"tau": "0.1"}, "tau is '0.1'; it must be a number"),
        ("Why?", {"policy": "oracle"}, "unknown policy 'oracle'; known: confidence, entropy"),
        ("Why?", {"policy": "random"}, "policy 'random' needs a value for 'p'"),
        ("Why?", {"max_tokens": 0}, "max_tokens is 0; it must be at least 1"),
        ("Why?", {"stop": ""}, "a stop string is empty; give at least one character"),
        ("Why?", {"stop": ["x", ""]}, "a stop string is empty"),
        ("", {}, "the prompt is empty; say what should be answered"),
        (" \n", {}, "the prompt is empty"),
        ([], {}, "the prompt is empty"),
        ([{"role": "user", "content": ""}], {}, "the prompt is empty"),
        ("", {"raw": True}, "the SLM's prompt is empty"),
        ([{"role": "user", "content": "x"}], {"raw": True}, "a raw prompt is plain text"),
        ([{"content": "x"}], {}, f"{pair().slm}'s chat template refuses the messages: 'dict"),
    ],
)
def test_a_request_is_refused(
    stitch: Stitch, prompt: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequest) as error:
        stitch.generate(prompt, **options)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_an_unknown_option_is_refused_by_name(stitch: Stitch) -> None:
    with pytest.raises(TypeError, match="temprature"):
        stitch.generate(QUESTION, temprature=1.0)


def test_a_prompt_longer_than_the_context_names_the_numbers(stitch: Stitch) -> None:
    tokens = len(stitch.tokenizer.encode("7" * 300))
    with pytest.raises(BadRequest) as error:
        stitch.generate("7" * 300, raw=True)
    assert str(error.value) == (
        f"the prompt has {tokens} tokens for the SLM, whose context is 256; "
        "shorten it to at most 255"
    )


def test_a_prompt_longer_than_one_side_s_context(tmp_path: Any) -> None:
    """Refused although the other side could take it; that side alone may."""
    slm = pair().copy(Side.SLM, tmp_path / "slm")
    config = json.loads((slm / "config.json").read_text())
    (slm / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 64}))
    with load(slm=str(slm), llm=str(pair().llm)) as stitch:
        with pytest.raises(BadRequest, match="70 tokens for the SLM, whose context is 64"):
            stitch.generate("7" * 70, raw=True)
        assert stitch.generate("7" * 70, raw=True, policy="llm", max_tokens=3).reason == "length"


def test_an_answer_ends_where_the_context_does(stitch: Stitch) -> None:
    answer = stitch.generate("7" * 250, raw=True)
    assert answer.reason == "length" and answer.usage.tokens == 6


def test_one_bad_prompt_of_a_batch_starts_none(stitch: Stitch) -> None:
    with pytest.raises(BadRequest, match="the prompt is empty"):
        stitch.batch([QUESTION, ""])


# -- samples --------------------------------------------------------------------------------------


def test_n_samples_are_the_answers_of_their_seeds(stitch: Stitch) -> None:
    """`generate` and `batch` give lists then; each trace names the seed that gives it alone."""
    hot = Sampling(temperature=1.0, seed=11)
    answers = stitch.generate(QUESTION, n=3, sampling=hot, max_tokens=12)
    assert [a.trace.sampling.seed for a in answers] == [sample_seed(11, i) for i in range(3)]
    assert len({a.text for a in answers}) == 3
    for answer in answers:
        alone = stitch.generate(QUESTION, sampling=answer.trace.sampling, max_tokens=12)
        assert alone.text == answer.text
    (first, second) = stitch.batch([QUESTION, "Hello"], n=2, sampling=hot, max_tokens=12)
    assert [a.text for a in first] == [a.text for a in answers[:2]] and len(second) == 2
    assert stitch.generate(QUESTION, n=1, sampling=hot, max_tokens=12)[0].text == answers[0].text
    assert kv_lengths(stitch) == {"slm": {}, "llm": {}}


def test_no_samples_at_all_are_refused(stitch: Stitch) -> None:
    with pytest.raises(BadRequest, match="n is 0"):
        stitch.generate(QUESTION, n=0)


def test_text_is_decoded_as_transformers_does(stitch: Stitch) -> None:
    """Directly by the tokenizer behind, unless the class has something of its own to add."""
    tokenizer = stitch.tokenizer
    ids = [*range(2, 60), tokenizer.eos_token_id, 3]
    direct = decoder(tokenizer)
    for skip in (True, False):
        want = tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
        assert direct.decode(ids, skip_special_tokens=skip) == want

    class Loud(type(tokenizer)):  # type: ignore[misc]
        def _decode(self, *args: object, **kwargs: object) -> str:
            return str(super()._decode(*args, **kwargs)).upper()

    loud = Loud(tokenizer_object=tokenizer.backend_tokenizer)
    assert decoder(loud).decode(ids, skip_special_tokens=True).isupper()


def test_quick_steps_are_taken_together_and_slow_ones_are_not(
    stitch: Stitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a piece longer than a step and the burst."""

    def taken(seconds: float) -> int:
        monkeypatch.setattr(driver_module, "BURST", seconds)
        with_one = stitch.stream(QUESTION, policy=make("slm"), max_tokens=20, ignore_eos=True)
        next(with_one)
        count = len(stitch._driver.inboxes[with_one._name])
        with_one.close()
        return count

    assert taken(0.0) == 0
    assert taken(60.0) == 20  # 19 pieces and the end


def test_who_waits_ends_the_burst_of_another_thread(
    stitch: Stitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's long answer does not keep a stream's pieces back."""
    monkeypatch.setattr(stream_module, "UNSEEN", 60.0)
    entered = threading.Event()
    step = stitch.engine.step

    def slowly() -> list[Any]:
        entered.set()
        return step()

    monkeypatch.setattr(stitch.engine, "step", slowly)
    options = {"policy": make("slm"), "ignore_eos": True}
    long = stitch.stream(QUESTION, max_tokens=200, **options)
    reader = threading.Thread(target=long.result)
    reader.start()
    assert entered.wait(10)
    stitch.generate(QUESTION, max_tokens=2, **options)
    assert len(long.trace.proposals) < 200 or not reader.is_alive()
    long.close()
    reader.join(10)
    assert not reader.is_alive()
