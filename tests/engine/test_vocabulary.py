"""Vocabularies side by side: which pairs are refused, which ids are matched, what the engine reads.

Real pairs differ this way: L1-1.5B has DeepSeek-R1's special tokens, QwQ-32B has Qwen's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from rstitch.api import Stitch, load
from rstitch.engine import vocabulary
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.engine.runner import Extend
from rstitch.engine.vocabulary import Translation, Vocabulary, check_family, ends, translation
from rstitch.errors import BadPair
from rstitch.explain import check
from rstitch.policy import make
from rstitch.sampling import entropy, log_probs
from rstitch.types import Failed, Sampling, Side
from tests import wild
from tests.fakes import PROMPTS, Scripted, says, scripted, sure, unsure
from tests.models import assert_clean, collect, drain, run
from tests.pair import QUESTION

SLM, LLM = Side.SLM, Side.LLM
BASE = {"a": 0, "b": 1, "ab": 2}


def words(added: dict[str, int], end: str | None = None, **changes: Any) -> Vocabulary:
    marks = {"think_open": "<think>", "think_close": "</think>"}
    roles = {role: mark for role, mark in marks.items() if mark in added}
    if end:
        roles["end"] = end
    stops = frozenset({added[end]} if end else ())
    return replace(Vocabulary("one", BASE, ["a b"], added, stops, roles), **changes)


R1 = words({"<eos>": 3, "<user>": 4, "<think>": 5, "</think>": 6}, "<eos>", source="r1")
QWEN = words({"<end>": 3, "<im>": 4, "<stop>": 5, "<think>": 7, "</think>": 8}, "<stop>")


# -- ids without holes ----------------------------------------------------------------------------


class Told:
    """As much of a tokenizer as `vocabulary.read` asks for."""

    def __init__(self, base: dict[str, int], added: dict[str, int]) -> None:
        self.base, self.added = base, added
        self.eos_token, self.eos_token_id = max(added.items(), key=lambda item: item[1])

    def get_vocab(self) -> dict[str, int]:
        return {**self.base, **self.added}

    def get_added_vocab(self) -> dict[str, int]:
        return self.added


def test_ids_with_a_hole_are_refused_by_name() -> None:
    """Logits are cut to as many columns as there are tokens: the last, here the end, was lost."""
    whole = Told(BASE, {"<think>": 3, "<eos>": 4})
    assert vocabulary.read("one", whole, frozenset({4})).size == 5
    with pytest.raises(
        BadPair,
        match="the tokenizer of one has 5 tokens and ids up to 7, but none "
        "with id 4; name a token for every id",
    ):
        vocabulary.read("one", Told(BASE, {"<think>": 3, "<eos>": 7}), frozenset({7}))
    with pytest.raises(BadPair, match="ids up to 3, but none with id 4"):
        vocabulary.read("one", Told(BASE, {"<think>": 3, "<eos>": 3}), frozenset({3}))


def test_a_token_of_transformers_own_making_leaves_no_hole() -> None:
    made = Told(BASE, {"<eos>": 3, "<|endoftext|>": 4})
    found = vocabulary.read("one", made, frozenset({3}), declared=frozenset({"<eos>"}))
    assert found.size == 4


# -- one family -----------------------------------------------------------------------------------


def test_equal_vocabularies_need_no_translation() -> None:
    check_family(QWEN, replace(QWEN, source="other"))
    assert translation(QWEN, QWEN) is None


def test_special_tokens_may_differ() -> None:
    check_family(R1, QWEN)


def test_another_base_token_is_named_with_both_ids() -> None:
    other = replace(QWEN, base={"a": 0, "b": 2, "ba": 1}, source="other")
    with pytest.raises(BadPair) as error:
        check_family(R1, other)
    assert str(error.value) == (
        "r1 and other do not share a vocabulary: 3 tokens differ ('ab': 2 and None, 'b': 1 and 2, "
        "'ba': None and 1); choose an SLM of the LLM's own tokenizer family"
    )


def test_other_merges_are_refused_and_ten_are_named() -> None:
    ours, theirs = ([f"{letter} {i}" for i in range(12)] for letter in "xy")
    with pytest.raises(BadPair) as error:
        check_family(replace(R1, merges=["a b", *ours]), replace(QWEN, merges=["a b", *theirs]))
    message = str(error.value)
    assert "12 merges differ (number 1: 'x 0' and 'y 0', " in message
    assert "number 10: " in message and "number 11: " not in message


def test_a_token_that_is_trained_here_and_added_there_is_no_difference() -> None:
    ours = replace(R1, base={**BASE, "<im>": 9})
    check_family(ours, QWEN)
    found = translation(ours, QWEN)
    assert found is not None
    assert found.read(LLM, 9, SLM) == 4 and found.read(SLM, 4, LLM) == 9


# -- matching -------------------------------------------------------------------------------------


def test_tokens_are_matched_by_name_then_by_role() -> None:
    found = translation(R1, QWEN)
    assert found is not None
    assert found.moved == {SLM: {3: 5, 5: 7, 6: 8}, LLM: {5: 3, 7: 5, 8: 6}}
    assert found.lost == {SLM: {4: "<user>"}, LLM: {3: "<end>", 4: "<im>"}}
    assert [found.read(LLM, i, SLM) for i in range(7)] == [0, 1, 2, 5, None, 7, 8]
    assert found.read(SLM, 4, SLM) == 4
    assert found.read_all(LLM, [1, 5, 8], [SLM, SLM, LLM]) == [1, 7, 8]
    assert found.read_all(SLM, [1, 5, 8], [SLM, SLM, LLM]) == [1, 5, 6]


def test_a_token_without_a_partner_is_refused_by_name() -> None:
    found = translation(R1, QWEN)
    assert found is not None
    found.check(SLM, 5)
    with pytest.raises(BadPair, match="r1 wrote '<user>', for which one has no token; "):
        found.check(SLM, 4)


def test_every_end_of_one_side_is_an_end_of_the_other() -> None:
    """A second end-of-text token is matched with the first of the other side."""
    two = replace(QWEN, ends=frozenset({3, 5}))
    found = translation(R1, two)
    assert found is not None
    assert found.read(SLM, 3, LLM) == found.read(SLM, 5, LLM) == 3
    assert ends(R1, two) == {3} and ends(two, R1) == {3, 5}


def test_ends_are_shared_by_name() -> None:
    """Base models end with <end>, their chat siblings with <stop>; both vocabularies have both."""
    base = replace(QWEN, ends=frozenset({3}))
    assert ends(base, QWEN) == ends(QWEN, base) == {3, 5}


class Words:
    """A tokenizer without merges."""

    eos_token, eos_token_id = "<eos>", 3

    def get_added_vocab(self) -> dict[str, int]:
        return {"<eos>": 3, "<muse>": 4}

    def get_vocab(self) -> dict[str, int]:
        return {**BASE, **self.get_added_vocab()}


def test_roles_from_a_pair_file() -> None:
    roles = {"think_open": "<muse>"}
    found = vocabulary.read("one", Words(), frozenset({3}), roles)
    assert found.roles == {"end": "<eos>", "think_open": "<muse>"} and found.base == BASE
    table = translation(found, QWEN)
    assert table is not None and table.read(LLM, 4, SLM) == 7


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"end": "<fin>"}, "one has no special token '<fin>' to be its end"),
        ({"think": "<eos>"}, "unknown role 'think' of a special token; known: end, think_open"),
    ],
)
def test_a_role_that_cannot_be_played(roles: dict[str, str], message: str) -> None:
    with pytest.raises(BadPair) as error:
        vocabulary.read("one", Words(), frozenset({3}), roles)
    assert str(error.value).startswith(message)


# -- in the engine, by hand -----------------------------------------------------------------------

TABLE = Translation(
    moved={SLM: {10: 11}, LLM: {11: 10}},
    lost={SLM: {12: "<|EOT|>"}, LLM: {13: "<tool>"}},
    sources={SLM: "small", LLM: "large"},
)


def translating(slm: Any, llm: Any) -> InProcessEngine:
    """End of text is 1 for the SLM and 3 for the LLM."""
    plain = scripted(slm, llm)
    each = {SLM: frozenset({1}), LLM: frozenset({3})}
    return InProcessEngine(plain.runners, each, plain.config, translation=TABLE)


def ask(tau: float = 0.5, **changes: Any) -> Request:
    return Request(**{"prompts": PROMPTS, "policy": make("entropy", tau=tau), **changes})


def fed(engine: InProcessEngine, side: Side) -> list[int]:
    runner = engine.runners[side]
    assert isinstance(runner, Scripted)
    return [token for call in runner.calls for tokens in call for token in tokens]


def test_each_side_reads_its_own_ids() -> None:
    """SLM writes 10, 5; LLM reads 11, 5, writes 11; SLM reads 10."""
    engine = translating(
        says(sure(10), sure(5), unsure(6), sure(7), then=sure(1)), says(then=sure(11))
    )
    (answer,) = run(engine, [ask()])
    assert answer.tokens == [10, 5, 11, 7, 1]
    assert fed(engine, LLM) == [*PROMPTS[LLM], 11, 5]
    assert fed(engine, SLM) == [*PROMPTS[SLM], 10, 5, 10, 7]


def test_end_of_text_is_judged_by_the_side_that_wrote_it() -> None:
    """3 is an ordinary token of the SLM, 1 of the LLM."""
    engine = translating(
        says(sure(3), unsure(2), sure(4), unsure(2)), says(sure(9), sure(1), sure(9), sure(3))
    )
    (answer,) = run(engine, [ask()])
    assert answer.tokens == [3, 1, 4, 3] and answer.finished.reason == "stop"


@pytest.mark.parametrize(
    ("slm", "llm", "line"),
    [
        (says(sure(5), sure(12)), says(), "small wrote '<|EOT|>', for which large has no token"),
        (says(unsure(5)), says(sure(13)), "large wrote '<tool>', for which small has no token"),
    ],
)
def test_a_token_without_a_partner_fails_its_request_alone(slm: Any, llm: Any, line: str) -> None:
    engine = translating(slm, llm)
    ids = [engine.submit(ask()), engine.submit(ask(tau=-1, max_tokens=3, ignore_eos=True))]
    failed, other = collect(drain(engine), ids)
    assert_clean(engine)
    assert isinstance(failed.end, Failed) and isinstance(failed.end.error, BadPair)
    assert str(failed.end.error).startswith(line)
    assert other.finished.reason == "length" and len(other.tokens) == 3


@pytest.mark.parametrize(
    ("request_", "tokens"),
    [
        (ask(tau=1, max_tokens=3), [5, 12, 2]),  # nobody else is ever asked
        (ask(max_tokens=2), [5, 12]),  # nor after the last token
        (ask(stop_token_ids=frozenset({5})), [5]),
    ],
)
def test_a_token_that_nobody_else_has_to_read_is_kept(request_: Request, tokens: list[int]) -> None:
    (answer,) = run(translating(says(sure(5), sure(12)), says()), [request_])
    assert answer.tokens == tokens


def test_a_discarded_token_without_a_partner_is_nobodys_concern() -> None:
    (answer,) = run(translating(says(unsure(12)), says(sure(3))), [ask()])
    assert answer.tokens == [3]


# -- with models ----------------------------------------------------------------------------------


def open_wild(llm: str = "qwq", same: bool = True) -> Stitch:
    found = wild.pair(llm, same)
    return load(slm=str(found.slm), llm=str(found.llm), tau=0.5)


def test_r1_with_l1_shares_every_token() -> None:
    with open_wild("r1") as stitch:
        assert stitch.engine.translation is None


@pytest.mark.parametrize("llm", ["qwq", "r1"])
def test_the_same_network_behind_two_vocabularies_is_that_network(llm: str) -> None:
    """Any pattern of hand-offs gives the text of one side alone, thinking marks included."""
    with open_wild(llm) as stitch:
        alone = stitch.generate("Mia has", raw=True, policy="slm", max_tokens=120)
        assert wild.THINK in alone.text and wild.UNTHINK in alone.text, alone.text
        for p, q in ((0.5, 0.5), (0.1, 0.3), (1.0, 0.0)):
            policy = make("random", p=p, q=q)
            both = stitch.generate(
                "Mia has", raw=True, policy=policy, sampling=Sampling(seed=1), max_tokens=120
            )
            assert both.text == alone.text, (p, q)
            assert both.usage.handoffs and check(both.trace) is None
        llm_alone = stitch.generate("Mia has", raw=True, policy="llm", max_tokens=120)
        assert llm_alone.text == alone.text


@torch.inference_mode()
def test_catching_up_through_other_ids_is_recomputing() -> None:
    """Each recorded entropy is that of a plain pass over the text in that side's own ids."""
    with open_wild(same=False) as stitch:
        policy, seeded = make("random", p=0.4, q=0.4), Sampling(seed=0)
        answer = stitch.generate(QUESTION, policy=policy, sampling=seeded, max_tokens=100)
        kept = [p for p in answer.trace.proposals if p.keep]
        table = stitch.engine.translation
        assert table is not None
        moved = [p for p in kept if p.token in table.moved[p.side]]
        assert {p.side for p in moved} == set(Side), "a side wrote no thinking mark"
        for side in Side:
            words, runner = stitch.models[side].tokenizer, stitch.models[side].runner
            names = [stitch.models[p.side].tokenizer.convert_ids_to_tokens(p.token) for p in kept]
            ids = [*answer.trace.prompts[side], *words.convert_tokens_to_ids(names)]
            row = runner.open()
            logits = runner.extend([Extend(row, ids)], logits="all")
            runner.free(row)
            expected = entropy(log_probs(logits, runner.vocab_size))
            prompt = len(answer.trace.prompts[side])
            for proposal in answer.trace.proposals:
                if proposal.side is side:
                    at = prompt + proposal.position - 1
                    assert proposal.entropy == pytest.approx(float(expected[at]), abs=1e-4)


def test_each_side_reads_the_prompt_through_its_own_template() -> None:
    """R1's template leaves the thinking to the model, QwQ's opens it: it is opened for both."""
    with open_wild() as stitch:
        answer = stitch.generate(QUESTION, max_tokens=2)
        text = {
            side: stitch.models[side].tokenizer.decode(list(ids))
            for side, ids in answer.trace.prompts.items()
        }
        alone = stitch.generate(QUESTION, policy="slm", max_tokens=2)
    assert text[SLM] == f"{wild.BOS}{wild.USER}{QUESTION}{wild.ASSISTANT}<think>\n"
    assert text[LLM].endswith("<|im_start|>assistant\n<think>\n")
    assert answer.starts_thinking and not alone.starts_thinking
