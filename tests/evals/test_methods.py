"""What each method asks of the pair and makes of it; controls know nothing and match the share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rstitch.api import Answer
from rstitch.errors import BadRequest
from rstitch.evals import drive
from rstitch.evals.methods import CONTROLS, METHODS, make, parse, vote
from rstitch.evals.methods.base import Method, Written
from rstitch.evals.methods.cascade import mean_entropy
from rstitch.evals.methods.controls import rates, share, turns_of
from rstitch.evals.pilot import PairPilot
from rstitch.types import Sampling, Side, sample_seed
from tests.evals.doubles import QUESTIONS, question
from tests.pair import TAU, stitch


def answered(name: str, index: int = 0, **params: Any) -> Written:
    return drive.one(stitch(), make(name, **params), question(index))[0]


def alone(name: str, index: int = 0, **changes: Any) -> Answer:
    asked = {"policy": name, "sampling": Sampling(seed=5), "max_tokens": 24, **changes}
    return stitch().generate(QUESTIONS[index % 3], **asked)


# -- what each writes -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llm", "slm"])
def test_a_policy_is_a_method(name: str) -> None:
    found = answered(name)
    assert found.text == alone(name).text and found.inside
    assert make(name).spec() == {"name": name}


def test_stitched_is_the_entropy_rule_at_the_pair_s_own_tau() -> None:
    expected = stitch().generate(QUESTIONS[0], sampling=Sampling(seed=5), max_tokens=24)
    assert answered("stitched").text == expected.text
    other = alone("entropy", policy=None, tau=0.2)
    assert answered("stitched", tau=0.2).text == other.text != expected.text
    assert make("stitched").fit(pilot()).spec() == {"name": "stitched", "tau": TAU}


def test_the_llm_told_to_be_brief() -> None:
    expected = stitch().generate(
        f"{QUESTIONS[0]}\n\nHurry.", policy="llm", sampling=Sampling(seed=5), max_tokens=24
    )
    assert answered("brief", words="Hurry.").text == expected.text


def test_the_llm_goes_on_after_the_slm_s_first_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SLM's part is what it writes alone, less the token that ended it; the LLM's is what it
    writes after these tokens."""
    first = alone("slm")
    texts = [text for text in first.trace.texts if len(text.strip()) == 1]
    assert texts, "no mark to end a sentence with"
    monkeypatch.setattr("rstitch.evals.methods.opening.ENDS", (texts[-1],))
    found = answered("opening")
    slm, llm = found.answers
    assert {p.side for p in slm.trace.proposals} == {Side.SLM}
    assert {p.side for p in llm.trace.proposals} == {Side.LLM}
    begun = tuple(p.token for p in slm.trace.proposals)[:-1]
    assert 0 < len(begun) < 24
    prompt = stitch().prompts(QUESTIONS[0], policy=llm.trace and make("llm").policy)[Side.LLM]  # type: ignore[attr-defined]
    assert llm.trace.prompts[Side.LLM] == (*prompt, *begun)
    assert len(begun) + llm.usage.tokens <= 24
    assert found.text == stitch().tokenizer.decode(list(begun)) + llm.text
    assert first.text.startswith(stitch().tokenizer.decode(list(begun)))


@pytest.mark.parametrize(
    ("texts", "winner"),
    [
        (["\\boxed{1}", "\\boxed{2}", "\\boxed{2.0}"], 1),
        (["\\boxed{1}", "\\boxed{2}"], 0),
        (["I do not know", "\\boxed{3}"], 1),
        (["I do not know", "neither do I"], 0),
    ],
)
def test_the_vote(texts: list[str], winner: int) -> None:
    """The first of those that agree with most; a reply without an answer does not count."""
    answers = [replace(alone("slm"), text=text, starts_thinking=False) for text in texts]
    assert vote._elected(answers).text == texts[winner]


def test_votes_are_samples_of_the_slm() -> None:
    found = answered("vote", k=3)
    assert len(found.answers) == 3 and found.extra == {"k": 3}
    assert len({a.text for a in found.answers}) == 3, "sampled, each with its own seed"
    assert all(a.usage.llm_tokens == 0 for a in found.answers)
    assert found.text in [a.text for a in found.answers]


def test_the_cascade_on_both_sides_of_its_bound() -> None:
    slm, llm = alone("slm"), alone("llm")
    mean = mean_entropy(slm)
    stays, goes = answered("cascade", bound=mean), answered("cascade", bound=mean - 1e-6)
    assert (stays.text, stays.extra) == (slm.text, {"escalated": False})
    assert (goes.text, goes.extra) == (llm.text, {"escalated": True})
    assert [a.usage.tokens for a in goes.answers] == [slm.usage.tokens, llm.usage.tokens]


@pytest.mark.parametrize(("name", "params"), [("cascade", {"bound": -1.0}), ("opening", {})])
def test_a_second_answer_has_noise_of_its_own(name: str, params: dict[str, Any]) -> None:
    """With the first one's, the LLM drew at each position what the SLM had drawn there."""
    hot = question(sampling=Sampling(0.7, seed=5))
    found = drive.one(stitch(), make(name, **params), hot)[0]
    seeds = [one.trace.sampling.seed for one in found.answers]
    assert seeds == [5, sample_seed(5, 1)] and seeds[0] != seeds[1]


# -- settling on a pilot --------------------------------------------------------------------------


def pilot(reference: str = "stitched", n: int = 12) -> PairPilot:
    questions = [question(i, sampling=Sampling(0.7, seed=i)) for i in range(n)]
    return PairPilot(stitch(), questions, make(reference))


@pytest.fixture(scope="module")
def shared() -> PairPilot:
    return pilot()


@pytest.mark.parametrize("name", ["coin", "two-state", "elsewhere"])
def test_a_control_has_the_reference_s_share(name: str, shared: PairPilot) -> None:
    target = share(shared.written(shared.reference))
    assert 0.2 < target < 0.9
    method = make(name).fit(shared)
    assert share(shared.written(method)) == pytest.approx(target, abs=0.06), method.spec()
    assert method.fit(shared) == method, "what is settled stays"
    assert make(**method.spec()) == method


def test_the_gate_s_own_rates(shared: PairPilot) -> None:
    """Counted by hand: proposals that passed control on, over proposals of that side."""
    written = shared.written(shared.reference)
    proposals = [p for one in written for p in one.answers[0].trace.proposals]
    slm = [p.next_side for p in proposals if p.side is Side.SLM]
    llm = [p.next_side for p in proposals if p.side is Side.LLM]
    assert rates(written) == (slm.count(Side.LLM) / len(slm), llm.count(Side.SLM) / len(llm))
    assert make("two-state").fit(shared).spec()["q"] == rates(written)[1]


def test_a_coin_has_no_memory(shared: PairPilot) -> None:
    """The position after an LLM token is the SLM's to propose, whatever came before."""
    method = make("coin", p=0.5)
    for one in shared.written(method):
        after = [p.next_side for p in one.answers[0].trace.proposals if p.side is Side.LLM]
        assert set(after) <= {Side.SLM}


def test_hand_offs_of_another_answer(shared: PairPilot) -> None:
    """Never one's own, and position by position those of one of the others."""
    method = make("elsewhere").fit(shared)
    patterns = [turns_of(one) for one in shared.written(shared.reference)]
    for i, one in enumerate(shared.written(method)):
        got = one.answers[0]
        said = got.trace.policy
        donors = [j for j, t in enumerate(patterns) if t == (said["period"], *said["at"])]
        assert donors and donors != [i]
        length, *changes = turns_of(one)
        if length <= said["period"]:
            assert changes == [c for c in said["at"] if c < length]


def test_turns_are_where_the_writer_changes() -> None:
    found = drive.one(stitch(), make("turns", at=[3, 5]), question())[0]
    assert turns_of(found) == (24, 3, 5)
    assert turns_of(drive.one(stitch(), make("turns", at=[0, 2]), question())[0]) == (24, 0, 2)


def test_whole_requests_by_chance_are_spread_evenly(shared: PairPilot) -> None:
    """p from both lengths; of 1,000 problems p times 1,000, give or take two, are the LLM's."""
    method = make("requests").fit(shared)
    p = method.spec()["p"]
    target = share(shared.written(shared.reference))
    lengths = {}
    for name in ("slm", "llm"):
        written = shared.written(make(name))
        lengths[name] = sum(one.answers[0].usage.tokens for one in written) / len(written)
    assert p * lengths["llm"] / (p * lengths["llm"] + (1 - p) * lengths["slm"]) == pytest.approx(
        target
    )
    policies = [next(method.write(stitch(), question(i))).policy.name for i in range(1000)]
    assert abs(policies.count("llm") - 1000 * p) <= 2
    assert 0 < policies[:20].count("llm") < 20


class Clock(PairPilot):
    """Latencies that are written down: of the SLM 1 s a vote, of the LLM 10 s, stitched 3.5 s."""

    def seconds(self, method: Method) -> float:
        spec = method.spec()
        return {"vote": float(spec.get("k", 0)), "slm": 1.0, "llm": 10.0, "stitched": 3.5}[
            spec["name"]
        ]


def test_votes_that_the_reference_s_latency_pays_for() -> None:
    clock = Clock(stitch(), [question()], make("stitched"))
    assert make("vote").fit(clock).spec()["k"] == 3
    assert make("vote", k=5).fit(clock).spec()["k"] == 5


def test_a_cascade_as_fast_as_the_reference() -> None:
    """2.5 s are left for 10 s: a quarter of the answers, those of the highest entropy."""
    clock = Clock(stitch(), pilot(n=8).questions, make("stitched"))
    bound = make("cascade").fit(clock).spec()["bound"]
    means = sorted(mean_entropy(one.answers[0]) for one in clock.written(make("slm")))
    assert sum(mean > bound for mean in means) == 2


# -- names ----------------------------------------------------------------------------------------


def test_every_method_and_every_policy_has_a_name() -> None:
    assert set(CONTROLS) == {n for n in METHODS.built_in if METHODS.find(n).control}
    assert make("margin", bound=0.25).spec() == {"name": "margin", "bound": 0.25}
    with pytest.raises(BadRequest, match="unknown method 'stich'; known: brief,.*vote,.*entropy"):
        make("stich")
    with pytest.raises(BadRequest, match="method 'vote' has no parameter 'n'; it takes k, temp"):
        make("vote", n=5)
    with pytest.raises(BadRequest, match="k is 65; it must be a whole number, 0 to 64"):
        make("vote", k=65)


FILE = """
from dataclasses import dataclass
from rstitch.evals.methods.base import Method, Written
from rstitch.policy.entropy import EntropyThreshold

@dataclass(frozen=True)
class Parrot(Method):
    word: str = "polly"
    def write(self, stitch, question):
        return Written(self.word, False, "stop", extra={"llm_tokens": 1})
        yield

@dataclass(frozen=True)
class Mine(EntropyThreshold):
    tau: float = 0.5
"""


def test_methods_and_policies_in_a_file(tmp_path: Path) -> None:
    """One that needs no engine answers at once, alone and among others."""
    (tmp_path / "mine.py").write_text(FILE)
    parrot = make(f"{tmp_path / 'mine.py'}:Parrot", word="squawk")
    assert drive.one(stitch(), parrot, question())[0].text == "squawk"
    jobs = [(i, parrot, question(i)) for i in range(5)]
    assert [key for key, *_ in drive.many(stitch(), jobs, 2)] == list(range(5))
    rule = make(f"{tmp_path / 'mine.py'}:Mine", tau=0.25)
    assert rule.spec() == {"name": f"{tmp_path / 'mine.py'}:Mine", "tau": 0.25}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vote", ("vote", {})),
        ("vote,k=5,temperature=0.8", ("vote", {"k": 5, "temperature": 0.8})),
        ("a/b.py:C,word=so", ("a/b.py:C", {"word": "so"})),
        ("entropy,tau=-1", ("entropy", {"tau": -1})),
    ],
)
def test_parameters(text: str, expected: tuple[str, dict[str, Any]]) -> None:
    assert parse(text) == expected
    with pytest.raises(BadRequest, match="'k' is no parameter; write it as name=value"):
        parse("vote,k")


TYPED = """
from dataclasses import dataclass
from rstitch.evals.methods.base import Method, Written

@dataclass(frozen=True)
class Typed(Method):
    eager: bool = True
    k: int = 1
    share: float | None = None
    word: str = ""
    at: tuple[int, ...] = ()
    def write(self, stitch, question):
        return Written(self.word, False, "stop")
        yield
"""


def test_parameters_are_of_their_fields_kinds(tmp_path: Path) -> None:
    """`adapt=false` was a text, and as such true; a list of a resumed run stayed one."""
    assert make("speculative", **parse("speculative,adapt=false")[1]).spec()["adapt"] is False
    assert make("speculative", **parse("speculative,adapt=True")[1]).spec()["adapt"] is True
    (tmp_path / "typed.py").write_text(TYPED)
    name = f"{tmp_path / 'typed.py'}:Typed"
    one = make(name, **parse(f"{name},eager=false,k=2.0,share=1,word=7")[1])
    expected = {"name": name, "eager": False, "k": 2, "share": 1, "word": "7", "at": ()}
    assert one.spec() == expected
    again = make(name, at=[1, 2], share=None)
    assert again.spec()["at"] == (1, 2) and hash(again) == hash(make(name, at=(1, 2)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speculative,adapt=maybe", "speculative: adapt is 'maybe'; it must be true or false"),
        ("speculative,adapt=1", "speculative: adapt is 1; it must be true or false"),
        ("speculative,k=many", "speculative: k is 'many'; it must be a whole number"),
        ("vote,k=2.5", "vote: k is 2.5; it must be a whole number"),
        ("coin,p=half", "coin: p is 'half'; it must be a number"),
        ("entropy,tau=low", "entropy: tau is 'low'; it must be a number"),
    ],
)
def test_a_parameter_of_another_kind_is_refused_by_name(text: str, message: str) -> None:
    name, params = parse(text)
    with pytest.raises(BadRequest, match=message):
        make(name, **params)


# -- driving --------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", [1, 3, 50])
def test_many_in_flight_answer_as_one_at_a_time(in_flight: int) -> None:
    names = ("stitched", "cascade", "vote", "opening", "llm")
    params: dict[str, dict[str, Any]] = {"cascade": {"bound": 0.4}, "vote": {"k": 2}}
    methods = {name: make(name, **params.get(name, {})) for name in names}
    jobs = [((name, i), methods[name], question(i)) for name in names for i in range(3)]
    found = {key: written.text for key, written, _ in drive.many(stitch(), jobs, in_flight)}
    assert found == {key: drive.one(stitch(), m, q)[0].text for key, m, q in jobs}
    assert stitch().engine.idle


def test_leaving_early_leaves_nothing_in_the_engine() -> None:
    jobs = [(i, make("llm"), question(i, max_tokens=200)) for i in range(6)]
    replies = drive.many(stitch(), jobs, 3)
    next(replies)
    replies.close()
    while not stitch().engine.idle:
        stitch().engine.step()
    assert stitch().engine.stats()["active"] == 0
