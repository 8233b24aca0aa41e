"""What happens where nobody says: tau, its units, sampling, and the prediction beside an answer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from rstitch import load
from rstitch.defaults import Defaults, from_generation
from rstitch.errors import BadRequest
from rstitch.types import Forward, Sampling, Side, Usage, llm_alone_seconds
from rstitch.units import nats, normalised
from tests.pair import QUESTION, pair, stitch

SLM, LLM = Side.SLM, Side.LLM


# -- tau ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0.24nats", " 0.24 nats ", "0.24NATS", "24e-2nats"])
def test_nats(text: str) -> None:
    assert nats(text) == 0.24
    assert normalised(text, 151_665) == pytest.approx(0.02012, abs=1e-5)  # the paper's 0.02


@pytest.mark.parametrize("text", ["nats", "xnats", "nannats", "infnats", "0.1 0.2nats"])
def test_nats_that_are_no_number(text: str) -> None:
    with pytest.raises(BadRequest) as error:
        nats(text)
    assert str(error.value) == f"tau is {text!r}; write nats as in 0.24nats"


def test_other_values_are_left_for_the_policy() -> None:
    assert nats("0.24") is None
    assert normalised(0.5, 100) == 0.5 and normalised("low", 100) == "low"


def test_tau_in_nats_per_request() -> None:
    answer = stitch().generate(QUESTION, tau="3nats", max_tokens=1)
    assert answer.trace.policy["tau"] == 3 / math.log(len(stitch().tokenizer))


def test_a_pair_that_nobody_knows_gets_the_paper_s_tau() -> None:
    with load(slm=str(pair().slm), llm=str(pair().llm)) as unknown:
        assert unknown.tau == 0.02 and not unknown.defaults.tau_is_known
    line = unknown.defaults.tau_line
    assert line.startswith("tau is 0.02, the paper's: this pair has none of its own; give --tau")
    with load(slm=str(pair().slm), llm=str(pair().llm), tau="3nats") as known:
        assert known.defaults.tau_is_known and known.tau == pytest.approx(0.52, abs=0.01)


def test_a_tau_in_no_unit() -> None:
    with pytest.raises(BadRequest, match="tau is 'low'; it must be a number such as 0.02, or"):
        load(slm=str(pair().slm), llm=str(pair().llm), tau="low")


# -- sampling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sampling", "origin"),
    [
        ({}, Sampling(), ""),
        ({"temperature": 0.6}, Sampling(), ""),  # transformers asks for do_sample
        ({"do_sample": True}, Sampling(1.0), "the LLM's generation_config"),
        (
            {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 40, "min_p": 0.01},
            Sampling(0.6, 40, 0.95, 0.01),
            "the LLM's generation_config",
        ),
    ],
)
def test_sampling_of_a_generation_config(
    settings: dict[str, Any], sampling: Sampling, origin: str
) -> None:
    assert from_generation(GenerationConfig(**settings)) == (sampling, origin, ())


@pytest.mark.parametrize(("do_sample", "said"), [(True, "temperature 1"), (False, "greedy")])
def test_what_is_not_honoured_is_said(do_sample: bool, said: str) -> None:
    config = GenerationConfig(do_sample=do_sample, repetition_penalty=1.05, no_repeat_ngram_size=0)
    sampling, origin, ignored = from_generation(config)
    assert Defaults(0.1, sampling, True, origin, ignored).sampling_line() == (
        f"sampling: {said} (the LLM's generation_config); without its repetition_penalty 1.05"
    )


def test_the_llm_says_how_to_sample(tmp_path: Path) -> None:
    llm = pair().copy(LLM, tmp_path / "llm")
    path = llm / "generation_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "do_sample": True, "temperature": 0.7, "top_k": 30}))
    with load(slm=str(pair().slm), llm=str(llm), tau=0.5) as both:
        assert both.defaults.sampling == Sampling(0.7, 30)
        sampled = both.generate(QUESTION, max_tokens=3).trace.sampling
        greedy = both.generate(QUESTION, max_tokens=3, sampling=Sampling()).trace.sampling
    assert (sampled.temperature, sampled.top_k, greedy.temperature) == (0.7, 30, 0)


# -- what the LLM alone would take ----------------------------------------------------------------


def usage(slm: int, llm: int) -> Usage:
    return Usage(10, slm, llm, 0, 0, 0, 1.0)


def passes(*fed_seconds: tuple[int, float]) -> list[Forward]:
    """LLM passes, an SLM pass after each."""
    found = []
    for fed, seconds in fed_seconds:
        found += [Forward(LLM, 1, fed, 50, fed, seconds), Forward(SLM, 1, 1, 50, 1, 0.001)]
    return found


@pytest.mark.parametrize(
    ("forwards", "seconds"),
    [
        # prefill, then decoding: the median of its single-token passes
        (passes((40, 9.0), (1, 0.2), (1, 0.1), (1, 0.4), (5, 0.9)), 100 * 0.2),
        # too few of these: the quickest short pass
        (passes((40, 9.0), (3, 0.3), (1, 0.5), (8, 0.2), (17, 0.1)), 100 * 0.2),
        (passes((40, 9.0)), None),
        (passes((40, 9.0), (30, 1.0)), None),
        (passes(), None),
    ],
)
def test_the_prediction_by_hand(forwards: list[Forward], seconds: float | None) -> None:
    found = llm_alone_seconds(usage(80, 20), forwards)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_nothing_is_predicted_for_the_llm_alone() -> None:
    assert llm_alone_seconds(usage(0, 100), passes((40, 9.0), (1, 0.2))) is None


def test_the_prediction_beside_the_truth() -> None:
    """The unit is right: seconds of the whole answer. A busy machine may be far off."""
    with load(slm=str(pair().llm), llm=str(pair().llm), tau=0.6) as both:
        both.generate(QUESTION, max_tokens=20)
        answer = both.generate(QUESTION, max_tokens=150)
        alone = both.generate(QUESTION, max_tokens=150, policy="llm").usage
    predicted = llm_alone_seconds(answer.usage, answer.trace.forwards)
    assert predicted is not None and 0.1 < predicted / alone.seconds < 10, (predicted, alone)
