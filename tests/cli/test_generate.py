"""`rstitch generate`: what goes where, what is refused in one line, what an interruption leaves."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from rstitch import trace as traces
from rstitch.costs import LinearCosts, save_profile
from rstitch.engine.probe import CountingSlabs
from rstitch.engine.runner import Extend
from rstitch.engine.torch_runner import TorchRunner
from rstitch.errors import BadRequest
from rstitch.explain import check
from rstitch.types import Sampling
from tests.cli.terminal import Done, rstitch, start_slowly
from tests.pair import QUESTION, TAU, pair, stitch

PROMPT = "Mia has"
CHOICE = ["--tau", str(TAU), "--max-tokens", "30"]
RAW = ["--raw", *CHOICE]


def generate(prompt: str, *options: str, stdin: bytes = b"") -> Done:
    return rstitch("generate", prompt, *pair().options, *options, stdin=stdin)


# -- what goes where ------------------------------------------------------------------------------


def test_the_answer_alone_is_on_stdout() -> None:
    expected = stitch().generate(PROMPT, raw=True, max_tokens=30)
    done = generate(PROMPT, *RAW)
    assert (done.code, done.out) == (0, expected.text.lstrip() + "\n")
    usage = expected.usage
    assert done.err.count("\n") == 1
    assert done.err.startswith(
        f"[{usage.slm_tokens} tokens SLM, {usage.llm_tokens} LLM ({usage.llm_share:.0%}), "
        f"{usage.handoffs} hand-offs, "
    )


def test_the_thinking_is_on_stderr() -> None:
    """The pair never leaves its thoughts, so there is no answer."""
    expected = stitch().generate(QUESTION, max_tokens=30)
    done = generate(QUESTION, *CHOICE)
    assert (done.code, done.out) == (0, "\n")
    assert done.err.startswith(expected.text)


def test_several_samples_come_one_after_the_other(tmp_path: Path) -> None:
    """As text, as JSON with one object a line, and in one trace."""
    hot = ["--temperature", "1", "--seed", "4", "--n", "2"]
    done = generate(PROMPT, *RAW, *hot, "--trace", str(tmp_path / "t.jsonl"))
    samples = stitch().generate(
        PROMPT, n=2, raw=True, max_tokens=30, sampling=Sampling(temperature=1.0, seed=4)
    )
    assert (done.code, done.out) == (0, "".join(sample.text + "\n" for sample in samples))
    assert done.err.count("\n") == 2
    lines = [json.loads(line) for line in generate(PROMPT, *RAW, *hot, "--json").out.splitlines()]
    assert [line["text"] for line in lines] == [sample.text for sample in samples]
    assert [line["seed"] for line in lines] == [s.trace.sampling.seed for s in samples]
    written = traces.read(tmp_path / "t.jsonl")
    assert [trace.sampling.seed for trace in written] == [line["seed"] for line in lines]


def test_penalties_and_a_bias() -> None:
    """As in Python, and in the record; what is wrong is told before anything is loaded."""
    shifts: dict[str, Any] = {"presence_penalty": 1.5, "logit_bias": ((300, -100.0), (41, 3.0))}
    expected = stitch().generate(PROMPT, raw=True, max_tokens=30, sampling=Sampling(**shifts))
    given = ["--presence-penalty", "1.5", "--logit-bias", "300=-100", "--logit-bias", "41=3"]
    done = generate(PROMPT, *RAW, *given, "--json")
    found = json.loads(done.out)
    assert found["text"] == expected.text != generate(PROMPT, *RAW).out.rstrip("\n")
    bias = [[300, -100.0], [41, 3.0]]
    assert found["sampling"] == {**found["sampling"], "presence_penalty": 1.5, "logit_bias": bias}
    for options, told in (
        (["--logit-bias", "x=1"], "--logit-bias is 'x=1'; write it as ID=VALUE, such as 42=-100"),
        (["--logit-bias", "4"], "--logit-bias 4 is ''; it must be a number such as 0.02"),
        (["--logit-bias", "4=101"], "logit_bias is ((4, 101.0),); it must be a tuple"),
        (
            ["--frequency-penalty", "3"],
            "frequency_penalty is 3.0; it must be a number from -2 to 2",
        ),
    ):
        with patch("rstitch.api.load", side_effect=AssertionError("loaded")):
            assert generate(PROMPT, *options).line.startswith(told)
    assert "logit_bias names token 999999" in generate(PROMPT, "--logit-bias", "999999=1").line


def test_the_waiting_rule_changes_no_answer(tmp_path: Path) -> None:
    """Nor do a profile and a bound on the memory: only when the LLM runs."""
    profile = tmp_path / "costs.json"
    save_profile(profile, LinearCosts((0.001, 0.004), (0.0001, 0.0001)))
    many = ["--temperature", "1", "--seed", "4", "--n", "3", *RAW]
    plain = generate(PROMPT, *many)
    for more in (
        ["--waiting", "eager"],
        ["--waiting", "fixed:2", "--max-wait", "5"],
        ["--profile", str(profile), "--kv-memory", "0.01"],
    ):
        done = generate(PROMPT, *many, *more)
        assert (done.code, done.out) == (0, plain.out), more


def test_memory_for_no_prompt_is_told_with_the_numbers() -> None:
    told = generate(PROMPT * 30, *RAW, "--kv-memory", "0.00001").line
    assert "tokens for the SLM, whose KV memory of" in told and "raise kv_memory" in told


def test_a_prompt_from_stdin() -> None:
    assert generate("-", *RAW, stdin=PROMPT.encode()).out == generate(PROMPT, *RAW).out


def test_json_is_one_document_and_nothing_else() -> None:
    expected = stitch().generate(QUESTION, max_tokens=30)
    done = generate(QUESTION, *CHOICE, "--json")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("\n") == 1
    found = json.loads(done.out)
    usage = {**expected.usage.as_dict(), "seconds": found["usage"]["seconds"]}
    assert found == {
        "text": expected.text,
        "reasoning": expected.text,
        "answer": "",
        "reason": "length",
        "policy": {"name": "entropy", "tau": TAU},
        "seed": found["seed"],
        "sampling": {**Sampling().as_dict(), "seed": found["seed"]},
        "usage": usage,
        "llm_alone_predicted_seconds": found["llm_alone_predicted_seconds"],
    }


def test_options_reach_the_answer(tmp_path: Path) -> None:
    path = tmp_path / "t"
    sampled = ["--temperature", "0.8", "--top-k", "50", "--top-p", "0.9", "--min-p", "0.01"]
    rule = ["--policy", "random", "--param", "p=0.3", "--param", "q=0.4"]
    options = [*sampled, *rule, "--seed", "5", "--max-tokens", "12", "--trace", str(path)]
    done = generate(PROMPT, "--raw", *options, "--json", "--dtype", "bfloat16")
    (trace,) = traces.read(path)
    assert trace.sampling == Sampling(0.8, 50, 0.9, 0.01, 5)
    assert trace.policy == {"name": "random", "p": 0.3, "q": 0.4}
    found = json.loads(done.out)
    assert found["seed"] == 5 and found["usage"]["tokens"] == 12
    assert generate(PROMPT, "--raw", *options, "--dtype", "bfloat16").out == found["text"] + "\n"


def test_tau_is_the_parameter_of_a_policy_that_has_one() -> None:
    """In nats too, which the loaded pair puts right."""
    plain = json.loads(generate(PROMPT, *RAW, "--json").out)
    named = json.loads(generate(PROMPT, *RAW, "--policy", "entropy", "--json").out)
    assert (named["policy"], named["text"]) == (plain["policy"], plain["text"])
    rest = ["--raw", "--max-tokens", "3", "--policy", "rewind", "--param", "epsilon=0.5"]
    found = json.loads(generate(PROMPT, *rest, "--tau", "2nats", "--json").out)["policy"]
    assert found == {"name": "rewind", "tau": stitch().normalised("2nats"), "epsilon": 0.5}


def test_stop_tokens_and_the_end_of_text() -> None:
    """A token id ends the answer; what ends a text by itself is passed over if asked."""
    expected = stitch().generate(PROMPT, raw=True, max_tokens=30, policy="llm")
    third = expected.trace.proposals[2].token
    first = [p.token for p in expected.trace.proposals].index(third)
    alone = ["--raw", "--max-tokens", "30", "--policy", "llm", "--json"]
    found = json.loads(
        generate(PROMPT, *alone, "--stop-token", "0", "--stop-token", str(third)).out
    )
    assert found["reason"] == "stop" and found["usage"]["tokens"] == first + 1
    with patch("rstitch.api.Stitch.streams", side_effect=BadRequest("seen")) as streams:
        generate(PROMPT, *alone, "--ignore-eos", "--stop-token", "7")
    assert streams.call_args.kwargs["ignore_eos"] is True
    assert streams.call_args.kwargs["stop_token_ids"] == [7]


def test_log_probabilities(tmp_path: Path) -> None:
    """In the JSON and in the trace, which is still explained."""
    path = tmp_path / "t"
    done = generate(PROMPT, *RAW, "--logprobs", "3", "--json", "--trace", str(path))
    found, (trace,) = json.loads(done.out), traces.read(path)
    kept = [p for p in trace.proposals if p.keep]
    assert [line["token"] for line in found["logprobs"]] == [p.token for p in kept]
    assert "".join(line["text"] for line in found["logprobs"]) == found["text"]
    for line, proposal in zip(found["logprobs"], kept, strict=True):
        assert len(line["top_logprobs"]) == 3 and line["side"] == proposal.side.label
        assert line["top_logprobs"][0] == [line["token"], line["logprob"]]
    assert check(trace) is None


def test_rows_and_remote_code_reach_the_loader() -> None:
    with patch("rstitch.api.load", side_effect=BadRequest("seen")) as load:
        generate(PROMPT, "--n", "4", "--max-rows", "2", "--trust-remote-code")
        generate(PROMPT, "--n", "4")
    first, second = (call.kwargs for call in load.call_args_list)
    assert (first["max_rows"], first["trust_remote_code"]) == (2, True)
    assert (second["max_rows"], second["trust_remote_code"]) == (4, False)


def test_a_stop_string() -> None:
    text = stitch().generate(PROMPT, raw=True, max_tokens=30).text
    done = generate(PROMPT, *RAW, "--stop", "\0", "--stop", text[10:14])
    assert done.out == text.partition(text[10:14])[0] + "\n"


def test_a_trace_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "t"
    answer = generate(PROMPT, *RAW, "--trace", str(path))
    (trace,) = traces.read(path)
    assert "".join(trace.texts) + "\n" == answer.out
    assert trace.end["reason"] == "length" and trace.forwards
    done = rstitch("explain", str(path), "--no-show")
    assert (done.code, done.out) == (0, f"r0: {len(trace.proposals)} decisions reproduced\n")
    flip = {"true": "false", "false": "true"}
    lines = path.read_text().split("\n")
    was = lines[4].partition('"keep": ')[2].partition(",")[0]
    lines[4] = lines[4].replace(f'"keep": {was}', f'"keep": {flip[was]}')
    path.write_text("\n".join(lines))
    done = rstitch("explain", str(path), "--no-show")
    assert done.code == 1 and "NOT reproduced: decision 3 of" in done.out


# -- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tau", "abc"], "--tau is 'abc'; it must be a number such as 0.02"),
        (["--tau", "nan"], "--tau is 'nan'; it must be a number such as 0.02"),
        (["--tau", ""], "--tau is ''; it must be a number such as 0.02"),
        (["--policy", "oracle"], "unknown policy 'oracle'; known: confidence, entropy, hysteresis"),
        (
            ["--policy", "random", "--param", "r=1"],
            "policy 'random' has no parameter 'r'; it takes",
        ),
        (["--policy", "random", "--param", "p=0.5"], "policy 'random' needs a value for 'q'"),
        (["--policy", "entropy"], "policy 'entropy' needs a value for 'tau'; give --tau, such as"),
        (["--tau", "0.1nat"], "--tau is '0.1nat'; it must be a number such as 0.02, or 0.24nats"),
        (
            ["--tau", "0.1", "--policy", "entropy", "--param", "tau=0.2"],
            "give --tau 0.1 or --param tau=0.2, not both",
        ),
        (["--policy", "random", "--param", "p"], "--param is 'p'; write it as name=number"),
        (["--policy", "entropy", "--param", "tau=x"], "--param tau is 'x'; it must be a number"),
        (["--param", "p=0.5"], "--param p=0.5 needs --policy"),
        (["--temperature", "-1"], "temperature is -1.0; it must be 0 (greedy) or a positive"),
        (["--temperature", "nan"], "temperature is nan"),
        (["--top-p", "0"], "top_p is 0.0; it must be above 0 and at most 1"),
        (["--seed", "-1"], "seed is -1; it must be a whole number from 0 to 2**63 - 1"),
        (["--threads", "0"], "threads is 0; it must be at least 1"),
        (["--dtype", "float8"], "dtype is 'float8'; it must be one of float32, bfloat16, float16"),
        (["--device", "toaster"], "device is 'toaster'; it must be 'cpu' or 'cuda'"),
        (["--kv-memory", "0"], "kv_memory is 0.0; it must be above 0 (GiB)"),
        (
            ["--waiting", "fixed:0"],
            "waiting is 'fixed:0'; it must be 'table', 'eager', or 'fixed:'",
        ),
        (["--max-wait", "-1"], "max_wait is -1.0; it must be 0 or more LLM steps"),
        (["--profile", "no/such/file"], "profile no/such/file cannot be read: No such file"),
        (["--trace", "no/such/directory/t"], "--trace no/such/directory/t: there is no directory"),
        (["--trace", "."], "--trace . is a directory; name a file"),
        (["--slm", "elsewhere/a/b"], "elsewhere/a/b is no directory; give a model directory or"),
    ],
)
def test_a_bad_option_is_one_line(options: list[str], message: str) -> None:
    assert generate(PROMPT, *options).line.startswith(message)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ("", [], "the prompt is empty; say what should be answered"),
        ("-", [], "the prompt is empty; say what should be answered"),
        ("", ["--raw"], "the SLM's prompt is empty"),
        ("7" * 300, ["--raw"], "the prompt has 300 tokens for the SLM, whose context is 256;"),
    ],
)
def test_a_bad_request_is_one_line(prompt: str, options: list[str], message: str) -> None:
    assert generate(prompt, *options).line.startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n", "0"], "n is 0; it must be at least 1"),
        (["--max-tokens", "0"], "max_tokens is 0; it must be at least 1"),
        (["--max-rows", "0"], "max_rows is 0; it must be at least 1"),
        (["--logprobs", "-1"], "logprobs is -1; it must be at least 0"),
        (["--stop-token", "-1"], "stop_token is -1; it must be at least 0"),
        (["--stop", ""], "a stop string is empty; give at least one character"),
        (["--tau", "0.1", "--policy", "slm"], "give tau (0.1) or policy (slm), not both"),
        (["--profile", "no/such/file"], "profile no/such/file cannot be read: No such file"),
        (["--trace", "/proc/nope"], "--trace /proc/nope cannot be written: "),
    ],
)
def test_a_plain_mistake_is_told_before_anything_is_loaded(
    options: list[str], message: str
) -> None:
    with patch("rstitch.api.load", side_effect=AssertionError("loaded")):
        assert generate(PROMPT, *options).line.startswith(message)


def test_an_unknown_option_is_named() -> None:
    done = generate(PROMPT, "--temprature", "1")
    assert done.code == 2 and "--temprature" in done.err


def test_stdin_that_is_no_text() -> None:
    assert generate("-", stdin=b"\xff\xfe").line == "the prompt on stdin is not UTF-8 text"


def test_half_a_pair() -> None:
    message = rstitch("generate", PROMPT, "--slm", str(pair().slm)).line
    assert message == "give both slm and llm, or neither for a named pair"


def test_a_trace_is_not_begun_for_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text("an earlier trace")
    assert generate("", "--trace", str(path)).code == 1
    assert path.read_text() == "an earlier trace"


def test_a_trace_that_cannot_be_written(tmp_path: Path) -> None:
    """Told in a line after the answer, which is not lost."""
    done = generate(PROMPT, *RAW, "--trace", "/dev/full")
    assert done.code == 1 and done.out
    assert done.err.splitlines()[1:] == [
        "rstitch: --trace /dev/full cannot be written: No space left on device"
    ]


def test_the_traces_of_answers_that_fail_are_saved(tmp_path: Path) -> None:
    """Of all samples, also where closing the others raises."""
    path, policy = tmp_path / "t", tmp_path / "bad.py"
    policy.write_text(BAD)
    options = ["--raw", "--max-tokens", "30", "--n", "2", "--trace", str(path)]
    done = generate(PROMPT, *options, "--policy", f"{policy}:Bad")
    assert done.code == 1 and done.err.count("\n") == 1 and "ZeroDivisionError" in done.err
    assert len(traces.read(path)) == 2
    with patch("rstitch.stream.Stream.close", side_effect=BadRequest("no end")):
        path.unlink()
        assert generate(PROMPT, *RAW, "--trace", str(path)).code == 1
    assert len(traces.read(path)) == 1


BAD = """
from dataclasses import dataclass
from rstitch.policy.entropy import EntropyThreshold
ASKED = []
@dataclass(frozen=True)
class Bad(EntropyThreshold):
    tau: float = 0.6
    @classmethod
    def decide(cls, signals, state):
        ASKED.append(1 / (len(ASKED) < 12))
        return EntropyThreshold.decide.__func__(cls, signals, state)
"""


def failing_write(found: Any, file: Any) -> None:
    file.write("half a ")
    raise OSError(28, "No space left on device")


def test_an_earlier_trace_stays_where_saving_fails(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text("an earlier trace")
    path.chmod(0o640)
    with patch("rstitch.trace.write", failing_write):
        done = generate(PROMPT, *RAW, "--trace", str(path))
    assert done.code == 1 and "No space left on device" in done.err
    assert path.read_text() == "an earlier trace" and list(tmp_path.iterdir()) == [path]
    assert generate(PROMPT, *RAW, "--trace", str(path)).code == 0
    assert len(traces.read(path)) == 1 and list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_to_a_trace_stays_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "t", tmp_path / "link"
    link.symlink_to(path)
    assert generate(PROMPT, *RAW, "--trace", str(link)).code == 0
    assert link.is_symlink() and len(traces.read(path)) == 1


# -- interrupted ----------------------------------------------------------------------------------


def kept_so_far(path: Path, out: str) -> int:
    """Tokens of an interrupted answer's trace, which is sound and has what was printed."""
    (trace,) = traces.read(path)
    assert check(trace) is None
    assert trace.end["reason"] == "cancelled"
    assert out and "".join(trace.texts).startswith(out)
    return sum(proposal.keep for proposal in trace.proposals)


def test_ctrl_c_during_a_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extend, passes = TorchRunner.extend, 0

    def interrupted(self: TorchRunner, batch: list[Extend], *rest: Any, **named: Any) -> Any:
        nonlocal passes
        passes += not isinstance(self.kv, CountingSlabs)  # the probe's passes at load
        if passes == 20:
            raise KeyboardInterrupt
        return extend(self, batch, *rest, **named)

    monkeypatch.setattr(TorchRunner, "extend", interrupted)
    path = tmp_path / "t"
    done = generate(PROMPT, *RAW, "--trace", str(path))
    assert done.code == 130 and "Traceback" not in done.err
    (trace,) = traces.read(path)
    assert len(trace.proposals) == 19
    assert 0 < kept_so_far(path, done.out) < 19


def test_ctrl_c_is_130_even_if_the_trace_cannot_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "t"
    with (
        patch("rstitch.trace.write", failing_write),
        patch("rstitch.stream.Stream.result", side_effect=KeyboardInterrupt),
    ):
        done = generate(PROMPT, *RAW, "--trace", str(path))
    assert done.code == 130 and "Traceback" not in done.err
    assert f"rstitch: --trace {path} cannot be written: No space left on device\n" in done.err
    assert not list(tmp_path.iterdir())


def test_ctrl_c_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    """As a person does it: the signal, to another process, once text has come."""
    path = tmp_path / "t"
    options = ["--raw", "--tau", str(TAU), "--max-tokens", "200", "--trace", str(path)]
    with start_slowly("generate", PROMPT, *pair().options, *options) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=300)
    assert process.returncode == 130, err.decode()
    assert err == b""
    assert 0 < kept_so_far(path, (first + rest).decode()) < 200


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """`rstitch generate ... | head -c 1`"""
    path = tmp_path / "t"
    options = ["--raw", "--tau", str(TAU), "--max-tokens", "40", "--trace", str(path)]
    with start_slowly("generate", PROMPT, *pair().options, *options) as process:
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.read(1)
        process.stdout.close()
        err = process.stderr.read()
        process.wait(timeout=300)
    assert process.returncode == 1 and err == b"", err.decode()
    (trace,) = traces.read(path)
    assert trace.texts[0].encode().startswith(first) or not trace.texts[0]
    assert check(trace) is None
