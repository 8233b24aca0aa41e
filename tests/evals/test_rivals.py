"""Baselines and transformers' own generation as methods of an evaluation."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rstitch import baselines
from rstitch.api import load
from rstitch.errors import BadRequest
from rstitch.evals import drive
from rstitch.evals.directory import read_records
from rstitch.evals.methods import make, rivals
from rstitch.evals.methods.rivals import outside
from rstitch.types import Sampling
from tests.evals.doubles import STITCHED, plan, question, run
from tests.pair import pair, stitch


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    rivals._OUTSIDE.clear()


def test_speculation_is_the_llm_s_answer_and_counts_its_drafts() -> None:
    """The random SLM is hardly ever right; the LLM as its own SLM always is."""
    with load(slm=str(pair().llm), llm=str(pair().llm)) as same:
        for two, accepted in ((stitch(), False), (same, True)):
            found = drive.one(two, make("speculative", k=3), question())[0]
            alone = drive.one(stitch(), make("llm"), question())[0]
            assert (found.text, found.inside, found.reason) == (alone.text, True, alone.reason)
            extra = found.extra
            assert (extra.get("accepted", 0) > 12, extra["discards"] > 12) == (
                accepted,
                not accepted,
            )
            assert extra["slm_tokens"] + extra["llm_tokens"] == 24 == len(extra["trace"]["tokens"])
            assert extra["trace"]["method"]["k"] == 3
            assert extra["lost_tokens"] == extra["drafted"] - extra.get("accepted", 0)


@pytest.mark.parametrize("name", ["speculative", "transformers-generate"])
def test_records_are_made_when_the_clock_has_stopped(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The passes as lists and the prompt once more: no other method pays for these."""
    drive.one(stitch(), make(name), question())
    recorded, calls = rivals._recorded, []

    def slow(*given: Any) -> Any:
        calls.append(given)
        time.sleep(0.2)
        return recorded(*given)

    monkeypatch.setattr(rivals, "_recorded", slow)
    started = time.perf_counter()
    found, seconds = drive.one(stitch(), make(name), question())
    assert len(calls) == 1 and seconds <= time.perf_counter() - started - 0.2
    started = time.perf_counter()
    ((_, again, seconds),) = drive.many(stitch(), [(0, make(name), question())], 2)
    assert len(calls) == 2 and seconds <= time.perf_counter() - started - 0.2
    assert again.extra["trace"]["tokens"] == found.extra["trace"]["tokens"] != []


def test_the_threads_of_others_are_on_record() -> None:
    found = drive.one(stitch(), make("transformers-generate"), question())[0]
    assert found.extra["threads"] == (stitch().engine.config.threads or torch.get_num_threads())


@pytest.mark.parametrize("name", ["transformers-generate", "transformers-assisted"])
def test_transformers_own_generation(name: str) -> None:
    found = drive.one(stitch(), make(name), question())[0]
    assert found.text == drive.one(stitch(), make("llm"), question())[0].text
    assert (found.extra["slm_tokens"], found.extra["llm_tokens"]) == (0, 24)
    assert outside(stitch()) is outside(stitch()), "loaded once"


def test_a_pair_that_is_done_with_is_kept_by_nobody() -> None:
    """Its second copy of the weights goes with it."""
    mine = load(**pair().names)
    drive.one(mine, make("transformers-generate"), question())
    held = weakref.ref(outside(mine))
    mine.close()
    del mine
    gc.collect()
    assert held() is None


@pytest.mark.parametrize("in_flight", [1, 3])
def test_rivals_in_a_run(tmp_path: Path, in_flight: int) -> None:
    """Settled, written down with tokens and passes, gone on with."""
    names = ("llm", STITCHED, "speculative", "early-exit,induce=So", "transformers-generate")
    chosen = plan(*names, in_flight=in_flight, sampling=Sampling(0.7))
    first = run(chosen, tmp_path / "run")
    induce = first.config["methods"]["early-exit,induce=So"]["induce"]
    assert induce == list(stitch().tokenizer.encode("So"))
    batches = {r["method"]: r["batches"] for r in first.records if r["type"] == "batch"}
    own = {"llm", STITCHED}
    assert batches == ({name: name in own for name in names} if in_flight > 1 else {})
    lines = [r for r in read_records(tmp_path / "run") if r["type"] == "answer"]
    assert len(lines) == 15
    for record in lines:
        (trace,) = record["traces"]
        if record["method"] == "speculative":
            kept = record["slm_tokens"] + record["llm_tokens"]
            assert len(trace["tokens"]) == kept == len(trace["sides"])
            assert record["tokens"] == kept + record["lost_tokens"] > kept
            assert trace["sides"].count("1") == record["llm_tokens"]
            assert trace["forwards"] and "trace" not in record["extra"]
        if record["method"].startswith("early-exit"):
            trials = record["extra"].get("trial_tokens", 0)
            assert record["lost_tokens"] == trials and record["tokens"] == 12 + trials
    assert len(run(chosen, tmp_path / "run").records) == len(first.records)


def test_what_the_pair_lacks_is_told_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stitch().engine, "marks", None)
    monkeypatch.setattr(drive, "many", None)
    with pytest.raises(BadRequest, match="early exit closes a thought, but the LLM's tokenizer"):
        run(plan(STITCHED, "coin", "early-exit"), tmp_path / "run")


def test_names_and_parameters() -> None:
    for name in baselines.REGISTRY:
        assert make(name).spec()["name"] == name
    with pytest.raises(BadRequest, match="baseline 'speculative' has no parameter 'n'; it takes k"):
        make("speculative", n=1)
    with pytest.raises(BadRequest, match="unknown method 'medusa'; known: .*speculative.*entropy"):
        make("medusa")
