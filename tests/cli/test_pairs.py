"""`rstitch pairs` and `rstitch check`: what is printed where, exit codes, and --pair elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rstitch.cli.check import size
from rstitch.pairs import memory, names
from rstitch.types import Side
from tests import wild
from tests.cli.terminal import rstitch
from tests.pair import QUESTION, TAU, pair


def test_every_pair_is_a_line() -> None:
    done = rstitch("pairs")
    lines = done.out.splitlines()
    assert done.code == 0 and [line.split()[0] for line in lines] == ["name", *names()]
    assert lines[1].split()[1:4] == ["0.03", "yes", "yes"]
    assert "measured: tau was chosen" in done.err


def test_pairs_as_json() -> None:
    found = json.loads(rstitch("pairs", "--json").out)
    assert [one["name"] for one in found] == names()
    one = json.loads(rstitch("pairs", "qwq-32b", "--json").out)
    assert one in found and one["llm"]["id"] == "Qwen/QwQ-32B" and not one["measured"]


def test_one_pair_in_full() -> None:
    out = rstitch("pairs", "qwq-32b").out
    for line in (
        "tau: 0.02",
        "measured: False",
        "sampling: temperature 0.6, top_k 40, top_p 0.95, min_p 0",
        "SLM suffix: Think for maximum 1024 tokens.",
        "SLM end: <｜end▁of▁sentence｜>",
        "LLM end: <|im_end|>",
        "LLM licence: Apache-2.0",
        "SLM revision: not pinned",
        "LLM revision: 976055f8c83f394f35dbd3ab09a285a984907bd0",
    ):
        assert line in out.splitlines(), out


def test_an_unknown_pair() -> None:
    for argv in (["pairs", "r2"], ["check", "--pair", "r2"], ["generate", "x", "--pair", "r2"]):
        assert rstitch(*argv).line.startswith("unknown pair 'r2'; known: builtin, ")


# -- check ----------------------------------------------------------------------------------------


def test_a_pair_that_fits() -> None:
    done = rstitch("check", str(pair().slm), str(pair().llm))
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("these two can be stitched here\n")
    for text in ("qwen2, 1 layers, context 256", "opens the thinking", "KV per token", "128 B"):
        assert text in done.out, done.out


def test_special_tokens_that_differ_are_listed() -> None:
    out = rstitch("check", str(wild.pair().slm), str(wild.pair().llm)).out
    assert "the SLM's tokens under another id: <｜end▁of▁sentence｜>" in out
    assert "the LLM's tokens without a partner, refused: " in out and "<tool_call>" in out


def test_a_pair_that_does_not_fit_exits_1_with_the_remedy(tmp_path: Path) -> None:
    slm = pair().copy(Side.SLM, tmp_path / "slm")
    content = json.loads((slm / "tokenizer.json").read_text())
    content["model"]["merges"].reverse()
    (slm / "tokenizer.json").write_text(json.dumps(content))
    done = rstitch("check", str(slm), str(pair().llm))
    assert done.code == 1 and "can be stitched" not in done.out
    assert "choose an SLM of the LLM's own tokenizer family" in done.err
    done = rstitch("check", str(slm), str(pair().llm), "--json")
    found = json.loads(done.out)
    assert done.code == 1 and not found["ok"] and "merges differ" in found["problems"][0]


def test_too_little_memory_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "of_device", lambda device: memory.Memory(50_000, 40_000))
    done = rstitch("check", str(pair().slm), str(pair().llm), "--json")
    assert done.code == 1 and done.err.endswith("bfloat16 (--dtype) halves it\n")
    assert json.loads(done.out)["answers"] == {"256": 0}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "give an SLM and an LLM, or --pair NAME"),
        (["a"], "give an SLM and an LLM, or --pair NAME"),
        (["no/such/slm", "c/d"], "no/such/slm is no directory; give a model directory or a hub id"),
        (["--pair", "builtin", "--dtype", "int8"], "dtype is 'int8'; it must be one of float32"),
    ],
)
def test_a_check_is_refused_in_a_line(argv: list[str], message: str) -> None:
    assert rstitch("check", *argv).line.startswith(message)


def test_sizes_for_people() -> None:
    given = [0, 1023, 1024, 1536 * 1024, 15 * 2**30, 5 * 2**50]
    assert [size(n) for n in given] == [
        "0 B", "1023 B", "1.0 KiB", "1.5 MiB", "15.0 GiB", "5120.0 TiB",
    ]  # fmt: skip


def test_a_named_pair_with_its_models_elsewhere() -> None:
    """What is known of the pair, with copies on this machine."""
    found = json.loads(
        rstitch(
            "check", str(wild.pair().slm), str(wild.pair().llm), "--pair", "qwq-32b", "--json"
        ).out
    )
    assert found["slm"]["special_tokens"]["end"] == "<｜end▁of▁sentence｜>"
    argv = ["--pair", "qwq-32b", "--slm", str(wild.pair().slm), "--llm", str(wild.pair().llm)]
    done = rstitch("generate", QUESTION, *argv, "--max-tokens", "2", "--seed", "1", "--json")
    assert done.err == "" and json.loads(done.out)["policy"]["tau"] == 0.02


# -- --pair, suffixes and defaults elsewhere ------------------------------------------------------


def write_pair(directory: Path, more: str = "") -> str:
    path = directory / "mine.toml"
    path.write_text(f'{more}\n[slm]\npath = "{pair().slm}"\n[llm]\npath = "{pair().llm}"\n')
    return str(path)


def test_a_pair_file_writes_an_answer(tmp_path: Path) -> None:
    ours = write_pair(tmp_path, f"tau = {TAU}")
    named = rstitch("generate", "Mia has", "--pair", ours, "--raw", "--max-tokens", "8")
    given = rstitch(
        "generate", "Mia has", *pair().options, "--tau", str(TAU), "--raw", "--max-tokens", "8"
    )
    assert (named.code, named.out) == (0, given.out)


def test_an_unknown_tau_is_one_line_on_stderr() -> None:
    argv = ["generate", QUESTION, *pair().options, "--raw", "--max-tokens", "3"]
    done = rstitch(*argv, "--json")
    assert done.code == 0 and json.loads(done.out)["policy"]["tau"] == 0.02
    assert done.err.startswith("tau is 0.02, the paper's: ") and done.err.count("\n") == 1
    for more in (["--tau", "0.1"], ["--policy", "slm"], ["--tau", "0.24nats"]):
        assert rstitch(*argv, "--json", *more).err == ""


@pytest.mark.parametrize("tau", ["lownats", "nats", "low"])
def test_a_tau_that_is_no_number(tau: str) -> None:
    assert tau in rstitch("generate", "x", "--tau", tau).line


def test_sampling_is_printed_unless_it_is_given(tmp_path: Path) -> None:
    ours = write_pair(tmp_path, "tau = 0.5\nsampling = { temperature = 0.6, top_p = 0.95 }")
    argv = ["generate", "Mia has", "--pair", ours, "--raw", "--max-tokens", "3"]
    done = rstitch(*argv)
    assert done.err.startswith("sampling: temperature 0.6, top_p 0.95 (the pair mine)\n")
    assert not rstitch(*argv, "--temperature", "0").err.startswith("sampling")
    done = rstitch(*argv, "--top-k", "7")
    assert done.err.startswith(
        "sampling: temperature 0.6, top_k 7, top_p 0.95 (the pair mine, and options)\n"
    )
    found = json.loads(rstitch(*argv, "--json", "--top-k", "7", "--seed", "3").out)
    expected = {"temperature": 0.6, "top_k": 7, "top_p": 0.95, "min_p": 0.0, "seed": 3}
    assert found["sampling"] == expected


def test_suffixes_are_options() -> None:
    argv = ["generate", QUESTION, *pair().options, "--tau", "0.5", "--max-tokens", "1", "--json"]
    plain = json.loads(rstitch(*argv).out)["usage"]["prompt_tokens"]
    longer = json.loads(rstitch(*argv, "--llm-suffix", "Be brief.").out)["usage"]["prompt_tokens"]
    assert longer > plain
    message = rstitch(*argv, "--raw", "--slm-suffix", "x").line
    assert message.startswith("--raw feeds the prompt as it is; leave out --slm-suffix")


def test_the_last_line_predicts_the_llm_alone() -> None:
    argv = ["generate", "Mia has", *pair().options, "--raw", "--max-tokens", "40"]
    last = rstitch(*argv, "--tau", str(TAU)).err.splitlines()[-1]
    assert "; LLM alone, same tokens: ~" in last and last.endswith(" s (predicted)]")
    for alone in ("1", "-1"):
        assert "predicted" not in rstitch(*argv, "--tau", alone).err
