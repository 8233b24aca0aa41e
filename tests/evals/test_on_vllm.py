"""vLLM's own ways to write as methods; its engine is made up here, tests/vllm has the real one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from rstitch.errors import BadRequest
from rstitch.evals import directory, drive
from rstitch.evals.methods import make, on_vllm, parse
from rstitch.policy import make as policy
from rstitch.report.recheck import recheck
from rstitch.types import Sampling, Side
from rstitch.vllm.alone import Answered, Pending
from tests.evals.doubles import question
from tests.pair import stitch
from tests.report.made import run

METHODS = ("vllm", "vllm-draft,k=3")


class Engine:
    """Writes what the LLM alone writes, and answers when `due` questions have come."""

    def __init__(self, due: int = 1) -> None:
        self.due, self.waiting = due, list[tuple[Future[Answered], Any]]()
        self.most = 0

    def begin(self, prompt: Any, max_tokens: int, given: Sampling, ends: Any) -> Pending:
        future: Future[Answered] = Future()
        self.waiting.append((future, (tuple(prompt), max_tokens, given)))
        self.most = max(self.most, len(self.waiting))
        if len(self.waiting) >= self.due:
            for one, asked in self.waiting:
                one.set_result(self._answered(*asked))
            self.waiting.clear()
        return Pending(future)

    def _answered(self, prompt: Any, max_tokens: int, given: Sampling) -> Answered:
        text = stitch().tokenizer.decode(list(prompt))
        written = stitch().generate(
            text, policy=policy("llm"), max_tokens=max_tokens, sampling=given, raw=True
        )
        tokens = tuple(p.token for p in written.trace.proposals)
        return Answered(tokens, written.reason, 1e-6)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    made = Engine()
    monkeypatch.setattr(on_vllm, "engine_of", lambda stitch, method: made)
    monkeypatch.setattr(on_vllm._OnVllm, "check", lambda self, stitch: None)
    yield made


@pytest.mark.parametrize("name", ["vllm", "vllm-draft", "vllm-fly"])
def test_for_pairs_on_vllm_alone(name: str) -> None:
    with pytest.raises(BadRequest, match=f"{name} is compared with a pair on vLLM: add --engine"):
        make(name).check(stitch())


@pytest.mark.parametrize(
    ("name", "params", "told"),
    [
        ("vllm", {"k": 3}, "'vllm' has no parameter 'k'"),
        ("vllm-draft", {"k": 0}, "k is 0; it must be a whole number from 1"),
        ("vllm-draft", {"theta": 0.3}, "has no parameter 'theta'; it takes k"),
        ("vllm-fly", {"k": 6}, "window is 6; it must be below k"),
        ("vllm-fly", {"theta": "much"}, "theta is 'much'"),
    ],
)
def test_parameters(name: str, params: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        make(name, **params)
    assert make("vllm-fly").spec() == {"name": "vllm-fly", "k": 10, "theta": 0.3, "window": 6}


def test_what_vllm_is_told_of_the_draft() -> None:
    """Rows of logits differ, and so does what vLLM calls the vocabulary."""
    from types import SimpleNamespace

    def pair(columns: int, translation: Any = None, **options: Any) -> Any:
        sides = {
            side: SimpleNamespace(
                runner=SimpleNamespace(
                    shape=SimpleNamespace(columns=own, source=side.label), options=options
                )
            )
            for side, own in ((Side.SLM, columns), (Side.LLM, 320))
        }
        return SimpleNamespace(models=sides, engine=SimpleNamespace(translation=translation))

    told: Any = make("vllm-draft", k=3)
    assert told.draft(pair(320)) == {
        "method": "draft_model",
        "model": "slm",
        "num_speculative_tokens": 3,
        "use_heterogeneous_vocab": False,
    }
    assert told.draft(pair(300))["use_heterogeneous_vocab"]
    assert told.draft(pair(320, translation=object()))["use_heterogeneous_vocab"]
    assert told.draft(pair(320, revision="r", quantization=None))["revision"] == "r"
    loose: Any = make("vllm-fly", theta=0.5, window=4, k=5)
    found = loose.draft(pair(320))
    assert found["rejection_sample_method"] == "fly"
    assert (found["fly_entropy_threshold"], found["fly_window_size"]) == (0.5, 4)


@pytest.mark.parametrize("name", METHODS)
def test_one_question(name: str, engine: Engine) -> None:
    method = make(parse(name)[0], **parse(name)[1])
    found = drive.one(stitch(), method, question())[0]
    alone = drive.one(stitch(), make("llm"), question())[0]
    assert (found.text, found.inside, found.reason) == (alone.text, alone.inside, alone.reason)
    assert (found.extra["slm_tokens"], found.extra["llm_tokens"]) == (0, 24)
    with pytest.raises(BadRequest, match="knows no presence_penalty"):
        drive.one(stitch(), method, question(sampling=Sampling(presence_penalty=1.0)))


def test_questions_in_flight_are_in_flight_there(engine: Engine) -> None:
    """An answer is waited for when its turn has come, and not before the next is asked."""
    engine.due = 4
    jobs = ((i, make("vllm"), question(i)) for i in range(4))
    found = {key: written for key, written, _ in drive.many(stitch(), jobs, 2)}
    assert engine.most == 4
    assert sorted(found) == [0, 1, 2, 3]
    assert found[1].text == drive.one(stitch(), make("llm"), question(1))[0].text


def test_what_is_left_when_somebody_stops_reading_is_given_up(engine: Engine) -> None:
    def jobs() -> Iterator[Any]:
        yield 0, make("vllm"), question(0)
        engine.due = 9  # from here on nothing is answered
        yield 1, make("vllm"), question(1)

    replies = drive.many(stitch(), jobs(), 1)
    next(replies)
    ((future, _),) = engine.waiting
    assert not future.done()
    replies.close()  # type: ignore[attr-defined]  # a generator
    assert future.cancelled()


@pytest.mark.parametrize("in_flight", [1, 3])
def test_a_run_with_them_is_found_to_be_honest(
    tmp_path: Path, engine: Engine, in_flight: int
) -> None:
    path = run(tmp_path, "llm", *METHODS, in_flight=in_flight)
    found = recheck(path, directory.read_config(path))
    assert found.differences == []
    rates = [one for one in directory.read_records(path) if one["type"] == "batch"]
    assert {one["method"]: one["batches"] for one in rates} == (
        dict.fromkeys(("llm", *METHODS), True) if in_flight > 1 else {}
    )
