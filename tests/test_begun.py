"""Answers that have begun already: read like a prompt, in the ids of each side."""

from __future__ import annotations

import pytest

from rstitch.api import load
from rstitch.errors import BadRequest
from rstitch.types import Side
from tests import wild
from tests.pair import QUESTION, stitch


@pytest.mark.parametrize("policy", ["llm", "slm", None])
def test_an_answer_goes_on_from_its_beginning(policy: str | None) -> None:
    """Greedily it is the rest of the whole answer. (Where both write, the cut is where the SLM
    would have begun: after a token that handed over to it.)"""
    whole = stitch().generate(QUESTION, policy=policy, max_tokens=16)
    kept = [p for p in whole.trace.proposals if p.keep]
    cut = next(i for i, p in enumerate(kept) if i > 4 and (policy or p.next_side is Side.SLM)) + 1
    begun = [p.token for p in kept[:cut]]
    (rest,) = stitch().streams(QUESTION, n=1, policy=policy, max_tokens=16 - cut, begun=begun)
    answer = rest.result()
    assert [p.token for p in answer.trace.proposals if p.keep] == [p.token for p in kept[cut:]]
    assert all(ids[-cut:] == tuple(begun) for ids in answer.trace.prompts.values())


def test_a_beginning_in_the_ids_of_each_side() -> None:
    """The end of a thought is another id on the SLM's side; what has no partner is refused."""
    with load(**wild.pair().names, tau=0.5) as two:
        read = two.engine.translation
        assert read is not None and read.moved[Side.LLM] and read.lost[Side.LLM]
        theirs, ours = next(iter(read.moved[Side.LLM].items()))
        (stream,) = two.streams("Mia has", n=1, raw=True, begun=[theirs], max_tokens=1)
        ends = {side: ids[-1] for side, ids in stream.trace.prompts.items()}
        assert ends == {Side.SLM: ours, Side.LLM: theirs}
        stream.close()
        lost = next(iter(read.lost[Side.LLM]))
        with pytest.raises(BadRequest, match=f"begun has token {lost}, for which the SLM has none"):
            two.streams("Mia has", n=1, raw=True, begun=[lost])
