"""The LLM on a vLLM engine of its own: what it is told, and what vLLM's own methods write there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from rstitch.api import Stitch
from rstitch.config import EngineConfig
from rstitch.errors import BadModel, BadRequest
from rstitch.evals import drive
from rstitch.evals.methods import make, on_vllm, parse
from rstitch.evals.methods.base import Question, Written
from rstitch.types import Sampling, Side
from rstitch.vllm.alone import GATED, Alone, alone
from rstitch.vllm.hidden import ASKED
from rstitch.vllm.side import Shape, VllmSide
from rstitch.vllm.starting import THREADS
from tests.same import first_difference
from tests.vllm.asking import needs_vllm
from tests.vllm.test_pair import GREEDY, questions

METHODS = ("vllm", "vllm-draft,k=3")
TOKENS = 200
ON_CPU = EngineConfig(kv_memory=1.0)


def sides() -> dict[Side, VllmSide]:
    options = {**dict.fromkeys(GATED, 1), "max_num_seqs": 4, "enable_prefix_caching": False}
    return {
        side: VllmSide(Shape(side.label, 300, 400, 100, 8 + side), options, {"A": "b"})
        for side in Side
    }


def test_it_is_the_llm_s_side_without_the_gate() -> None:
    one = alone(sides(), None)
    assert one.options == {"max_num_seqs": 4, "enable_prefix_caching": False}
    assert one.environment == {"A": "b", ASKED: ""}, "nor does it listen"
    assert (one.shape.source, one.token_bytes) == ("llm", 9)


def test_a_draft_has_its_part_of_the_memory() -> None:
    one = alone(sides(), {"method": "draft_model"})
    assert one.options["speculative_config"] == {"method": "draft_model"}
    assert one.token_bytes == 17


def test_it_has_all_cores_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    found = list[str | None]()
    monkeypatch.setattr(VllmSide, "start", lambda *_: found.append(os.environ.get(THREADS)))
    monkeypatch.delenv(THREADS, raising=False)
    Alone(sides(), ON_CPU, None).close()
    assert found == [str(os.cpu_count())]
    monkeypatch.setenv(THREADS, "1")
    Alone(sides(), ON_CPU, None).close()
    assert found[1:] == ["1"]


@pytest.fixture(scope="module", params=METHODS)
def method(request: Any, pair: Stitch) -> Iterator[Any]:
    """Its engine runs for the tests of this module alone."""
    name, params = parse(request.param)
    found = make(name, **params)
    found.check(pair)
    yield found
    engine = on_vllm._ENGINES.get(pair, {}).pop(found, None)
    if engine is not None:
        engine.close()


def asked(i: int, **changes: Any) -> Question:
    return Question(i, questions(i + 1)[i], **{"sampling": GREEDY, "max_tokens": TOKENS, **changes})


def tokens(written: Written) -> list[int]:
    found: list[int] = written.extra["trace"]["tokens"]
    return found


def test_it_writes_what_the_llm_alone_writes(pair: Stitch, reference: Stitch, method: Any) -> None:
    """Drafts are lossless. One answer at a time, and many in flight."""
    jobs = [(i, method, asked(i)) for i in range(8)]
    together = {i: written for i, written, _ in drive.many(pair, jobs, 4)}
    apart = [drive.one(pair, method, asked(i))[0] for i in range(3)]
    own = [drive.one(reference, make("llm"), asked(i))[0] for i in range(8)]
    want = [[p.token for p in one.answers[0].trace.proposals] for one in own]
    differ = [i for i in range(8) if first_difference(tokens(together[i]), want[i]) is not None]
    assert len(differ) <= 1, "one may be a near tie"
    for i in set(range(3)) - set(differ):
        assert tokens(apart[i]) == want[i]
        assert (apart[i].text, apart[i].inside) == (own[i].text, own[i].inside)
        assert apart[i].reason == own[i].reason == "stop"
        assert apart[i].extra["llm_tokens"] == len(want[i])


def test_a_length_and_a_seed(pair: Stitch, method: Any) -> None:
    short = drive.one(pair, method, asked(0, max_tokens=5))[0]
    assert (short.reason, len(tokens(short))) == ("length", 5)
    hot = Sampling(temperature=1.5, top_p=0.95, seed=11)
    drawn = [drive.one(pair, method, asked(0, sampling=hot))[0].text for _ in range(2)]
    if method.name == "vllm":  # with drafts, vLLM's CPU build draws from more than the seed
        assert drawn[0] == drawn[1]
    assert drawn[0] != drive.one(pair, method, asked(0))[0].text


def test_what_is_given_up_leaves_nothing(pair: Stitch, method: Any) -> None:
    engine = on_vllm.engine_of(pair, method)
    assert on_vllm.engine_of(pair, method) is engine, "started once"
    pending = engine.begin((12, 13, 14), 10_000, GREEDY, ())
    pending.close()
    with pytest.raises(BadRequest, match="vLLM: "):
        engine.begin((), 5, GREEDY, ()).result()
    drive.one(pair, method, asked(0, max_tokens=2))
    assert not engine._side.llm.output_processor.request_states


def test_loose_acceptance_where_vllm_has_it(pair: Stitch, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM 0.32 has none; 0.33 has, in Model Runner V2 alone."""
    from vllm.config import speculative

    loose = make("vllm-fly")
    monkeypatch.setattr(speculative, "RejectionSampleMethod", Literal["standard"])
    with pytest.raises(BadRequest, match="has no rejection_sample_method 'fly', 0.33 has"):
        loose.check(pair)
    monkeypatch.setattr(speculative, "RejectionSampleMethod", Literal["standard", "fly"])
    loose.check(pair)


def test_a_runner_that_would_take_no_notice_is_refused(pair: Stitch) -> None:
    """`block` stands for it, which vLLM has as long."""
    needs_vllm()
    draft: Any = make("vllm-draft", k=2)
    two = {side: model.runner for side, model in pair.models.items()}
    asked_for = {**draft.draft(pair), "rejection_sample_method": "block"}
    with pytest.raises(BadModel, match="Model Runner V1 here, which takes no notice of 'block'"):
        Alone(two, pair.engine.config, asked_for)
