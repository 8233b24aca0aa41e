"""One class, both of vLLM's processor interfaces: the same logits come out of either."""

from __future__ import annotations

import subprocess
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rstitch.policy import make
from rstitch.types import Sampling, Side
from tests.vllm.asking import CPU, Turn, needs_vllm
from tests.vllm.test_batch import PADDED, VOCAB, request, update

CONFIG = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_seqs=4))


@pytest.fixture(scope="module")
def gate_class() -> Any:
    needs_vllm()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from rstitch.vllm.gate import Gate
    return Gate


def logits() -> torch.Tensor:
    return 3 * torch.randn(2, PADDED, generator=torch.Generator().manual_seed(0))


def test_v1_and_v2_do_the_same(gate_class: Any) -> None:
    rows = [request(0, 0.1, [5]), request(1, 0.9, [])]
    v1 = gate_class(CONFIG, CPU, False)
    v1.update_state(update(added=rows))
    v1.update_state(None)
    v2 = gate_class(CONFIG, SimpleNamespace(device=CPU, max_num_reqs=4))
    for slot, (_, params, _, _) in zip((3, 1), rows, strict=True):  # V2 names rows by its slots
        assert v2.add_request(slot, params)
    v2.apply_staged_writes()
    context = SimpleNamespace(
        expanded_idx_mapping=torch.tensor([3, 1], dtype=torch.int32),
        idx_mapping_np=torch.tensor([3, 1]).numpy(),
        pos=torch.tensor([3, 2]),
    )
    first, second = v1.apply(logits()), v2.apply(logits(), context)
    assert torch.equal(first, second)
    assert not torch.equal(first, logits())
    assert not v1.is_argmax_invariant()


def test_it_declines_others_and_refuses_what_is_wrong(gate_class: Any) -> None:
    v2 = gate_class(CONFIG, SimpleNamespace(device=CPU, max_num_reqs=4))
    assert not v2.add_request(0, SimpleNamespace(extra_args=None))
    gate_class.validate_params(SimpleNamespace(extra_args={"other": 1}))
    turn = Turn(make("slm"), Sampling(seed=1))
    args = turn.asked(Side.SLM, turn.layout(PADDED, VOCAB)).as_args()
    args["rstitch"]["policy"] = {"name": "nobody"}
    with pytest.raises(ValueError, match="nobody"):
        gate_class.validate_params(SimpleNamespace(extra_args=args))


def test_nothing_of_vllm_is_loaded_before_it_is_asked_for() -> None:
    code = "import sys, rstitch.api, rstitch.vllm.engine; sys.exit('vllm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
