"""benchmarks/gpu.py on tiny shapes without a GPU: the same code, every section, gone on with."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_runs, gpu_steps
from benchmarks.gpu_pair import SHAPES, Pair, random_model, weight_bytes
from rstitch.types import Side

QUICK = ["--quick", "--device", "cpu", "--dtype", "float32"]


def measured(out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, *more: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["gpu", *QUICK, "--out", str(out), *more])
    gpu.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_one_command_measures_everything_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Cut short at once, then whole, then again: nothing is measured twice."""
    first = measured(tmp_path, monkeypatch, capsys, "--budget", "-1")
    assert "floors" in first["skipped"] and "floors" not in first
    whole = measured(tmp_path, monkeypatch, capsys)
    assert not whole["skipped"] and whole["pair"] == "tiny/small"
    for side in ("slm", "llm"):
        assert whole["floors"][side]["seconds"] > whole["floors"][side]["floor"] > 0
    for share in gpu_runs.SHARES:
        assert whole[f"stitched {share}"]["rate"] > 0
        assert {"over_llm", "naive_over_llm", "optimum_over_llm"} <= whole[
            f"in flight 2 {share}"
        ].keys()
    assert set(whole["same in float32"].values()) == {0.0}
    assert whole["transformers tiny"] > 0

    def never(*_: Any) -> Any:
        raise AssertionError("measured again")

    for name in ("step_seconds", "bandwidth"):
        monkeypatch.setattr(gpu_steps, name, never)
    for name in ("alone", "in_flight", "same_tokens"):
        monkeypatch.setattr(gpu_runs, name, never)
    again = measured(tmp_path, monkeypatch, capsys)
    assert again == whole


def test_a_file_of_other_code_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    kept = gpu.Kept(path, {"code": "a"}, 100)
    assert kept.get("x", lambda: 1) == 1
    assert gpu.Kept(path, {"code": "a"}, 0).get("x", lambda: 2) == 1
    assert gpu.Kept(path, {"code": "b"}, 100).get("x", lambda: 2) == 2


def test_a_pair_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--pair", "1.5B/8B"])
    with pytest.raises(SystemExit):
        gpu.main()
    assert "'1.5B/8B'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shape", "gigabytes"), [("1.5B", 3.09), ("7B", 14.1), ("14B", 28.0), ("32B", 64.0)]
)
def test_shapes_weigh_what_qwen2_5_does(shape: str, gigabytes: float) -> None:
    """What a step reads, from the published sizes (embedding out, head in)."""
    hidden, mlp, layers, heads, kv_heads, tied = SHAPES[shape]
    assert hidden == heads * 128
    each = hidden * (hidden + kv_heads * 256) + hidden * hidden + 3 * hidden * mlp
    rows = 151_936 if tied else 152_064
    assert 2 * (layers * each + rows * hidden) / 1e9 == pytest.approx(gigabytes, rel=0.01)


def test_what_a_step_reads() -> None:
    tied = random_model("tiny", torch.device("cpu"), torch.float32, 64, True)
    assert weight_bytes(tied) == 4 * sum(one.numel() for one in tied.parameters())
    untied = random_model("small", torch.device("cpu"), torch.float32, 64, True)
    every = 4 * sum(one.numel() for one in untied.parameters())
    assert weight_bytes(untied) == every - 4 * untied.get_input_embeddings().weight.numel()


def test_the_first_differing_token_counts_all_that_follow() -> None:
    """By hand: 2 of 4 from the third on, none of 4: a quarter."""
    assert gpu_runs.differing([(1, 2, 3, 4), (5, 6, 7, 8)], [(1, 2, 9, 4), (5, 6, 7, 8)]) == 0.25


class Fixed(gpu_steps.Costs):
    """An SLM step of 1 s, an LLM step of 10 s."""

    def __init__(self) -> None:
        super().__init__(Pair("tiny", "small", torch.device("cpu"), torch.float32, 64, 1, True), {})

    def at(self, side: Side, rows: int, width: int, context: int) -> float:
        return 10.0 if side is Side.LLM else 1.0


def test_speculation_from_bare_steps() -> None:
    """By hand, all accepted: 8 drafts and a pass give 9 tokens in 18 s, 5x; none accepted: 1x."""
    assert gpu_steps.speculative(Fixed(), 64, 1.0) == {"acceptance": 1.0, "k": 8, "over_llm": 5.0}
    assert gpu_steps.speculative(Fixed(), 64, 0.0)["k"] == 0
