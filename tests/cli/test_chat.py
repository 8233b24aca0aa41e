"""`rstitch chat`: turns from a pipe and from a terminal, what is kept, and what ends it."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from rstitch.api import Stitch, load
from rstitch.cli import chat as module
from rstitch.cli.chat import BUILT_IN, Chat
from rstitch.cli.conversation import Conversation
from rstitch.errors import BadRequest
from rstitch.pairs import BUILTIN
from rstitch.stream import Answer, Stream
from rstitch.types import Sampling
from tests.cli.terminal import Done, rstitch
from tests.models import assert_clean
from tests.pair import QUESTION, TAU, pair

builtin = pytest.mark.skipif(
    not (BUILTIN / "pair.json").is_file(), reason="the built-in models are not in this checkout"
)
FIRST, SECOND = QUESTION, "And how many boxes?"
TOKENS = 12


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The tiny pair with a template that opens no thought, so that all it writes is an answer."""
    root, found = tmp_path_factory.mktemp("answering"), dict[str, str]()
    for side, source in pair().names.items():
        found[side] = str(shutil.copytree(source, root / side))
        template = root / side / "chat_template.jinja"
        text = template.read_text(encoding="utf-8")
        template.write_text(text.replace("<think>\\n", ""), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def stitch(names: dict[str, str]) -> Iterator[Stitch]:
    with load(**names, tau=TAU) as one:
        yield one


def options(names: dict[str, str]) -> list[str]:
    chosen = [part for side, name in names.items() for part in (f"--{side}", name)]
    return [*chosen, "--tau", str(TAU), "--max-tokens", str(TOKENS)]


def told(names: dict[str, str], *lines: str, more: tuple[str, ...] = ()) -> Done:
    return rstitch("chat", *options(names), *more, stdin="\n".join(lines).encode())


def turns(stitch: Stitch, *questions: str, **given: Any) -> list[Answer]:
    """The same in Python, without reuse."""
    messages, answers = list[dict[str, str]](), list[Answer]()
    for text in questions:
        messages.append({"role": "user", "content": text})
        answers.append(stitch.generate(messages, max_tokens=TOKENS, **given))
        messages.append({"role": "assistant", "content": answers[-1].text.strip()})
    return answers


def printed(*answers: Answer) -> str:
    return "".join(answer.text.lstrip() + "\n" for answer in answers)


# -- from a pipe ----------------------------------------------------------------------------------


def test_each_line_is_a_turn(names: dict[str, str], stitch: Stitch) -> None:
    """Answers alone are on stdout; a turn knows what was said before, and reads no more than is new
    of it. Empty lines are none."""
    first, second = turns(stitch, FIRST, SECOND)
    done = told(names, FIRST, "", "  ", SECOND)
    assert (done.code, done.out) == (0, printed(first, second))
    said = done.err.splitlines()
    assert said[0] == f"tau is {TAU}. /help for commands, Ctrl-D to leave."
    usage = first.usage
    assert said[1].startswith(f"[{usage.slm_tokens} tokens SLM, {usage.llm_tokens} LLM ")
    assert "reused" not in said[1] and len(said) == 3
    *_, slm, _, llm, _ = said[2].replace(",", "").split()
    assert "prompt tokens reused: " in said[2]
    longest = max(map(len, second.trace.prompts.values()))
    for tokens in (slm, llm):
        assert len(first.trace.prompts[min(first.trace.prompts)]) <= int(tokens) < longest


def test_tau_and_reset(names: dict[str, str], stitch: Stitch) -> None:
    alone = turns(stitch, SECOND, tau=1.0)
    done = told(names, FIRST, "/reset", "/tau 1", "/tau", SECOND)
    assert done.out == printed(*turns(stitch, FIRST), *alone)
    assert done.err.count("tau is 1\n") == 2 and "0 LLM (0%)" in done.err


def test_what_is_saved_is_gone_on_with(
    names: dict[str, str], stitch: Stitch, tmp_path: Path
) -> None:
    first, second, third = turns(stitch, FIRST, SECOND, FIRST)
    file = tmp_path / "chat.jsonl"
    assert told(names, FIRST, SECOND, f"/save {file}").out == printed(first, second)
    kept = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [one["role"] for one in kept] == ["user", "assistant"] * 2
    assert kept[1]["content"] == first.text.strip()
    done = told(names, FIRST, f"/save {file}", more=("--resume", str(file)))
    assert (done.code, done.out) == (0, printed(third))
    assert len(file.read_text(encoding="utf-8").splitlines()) == 6
    assert f"6 messages kept in {file}" in done.err
    assert list(tmp_path.iterdir()) == [file]


def test_sampling_system_and_quit(names: dict[str, str], stitch: Stitch) -> None:
    hot = ("--temperature", "1", "--seed", "4", "--presence-penalty", "1", "--system", "Be brief.")
    done = told(names, FIRST, "/quit", SECOND, more=hot)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": FIRST}]
    sampling = Sampling(1.0, seed=4, presence_penalty=1)
    answer = stitch.generate(messages, max_tokens=TOKENS, sampling=sampling)
    assert (done.code, done.out) == (0, printed(answer))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/tau warm", "/tau is 'warm'; it must be a number such as 0.02, or 0.24nats"),
        ("/save", "/save is no command, or lacks a value; /help lists them"),
        ("/what is this", "/what is no command, or lacks a value; /help lists them"),
        ("/save no/such/place", "no/such/place cannot be written: No such file or directory"),
        ("word " * 300, "the prompt has "),
    ],
)
def test_from_a_pipe_a_line_that_fails_ends_it(
    names: dict[str, str], line: str, message: str
) -> None:
    done = told(names, line, FIRST)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith(f"rstitch: {message}")


def test_what_is_refused_before_anything_is_loaded(names: dict[str, str], tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text('{"role": "user", "content": "x"}\n{"role": "king", "content": "x"}\n')
    for more, message in (
        (("--max-tokens", "0"), "max_tokens is 0; it must be at least 1"),
        (("--temperature", "-1"), "temperature is -1.0; it must be 0 (greedy) or"),
        (("--resume", str(tmp_path / "no")), f"{tmp_path / 'no'} cannot be read: No such file"),
        (("--resume", str(bad)), f"{bad}, line 2: not a message such as {{"),
        (("--resume", str(bad), "--system", "x"), "--resume brings what the pair was told"),
    ):
        with patch("rstitch.api.load", side_effect=AssertionError("loaded")):
            assert told(names, more=more).line.startswith(message)


def test_text_that_is_none_and_an_interrupted_pipe(names: dict[str, str]) -> None:
    done = rstitch("chat", *options(names), stdin=b"\xff\n")
    assert (done.code, done.err.splitlines()[-1]) == (
        1,
        "rstitch: what stdin brings is not UTF-8 text",
    )
    with patch.object(module, "show", side_effect=KeyboardInterrupt):
        done = told(names, FIRST)
    assert (done.code, done.out) == (130, "")


@builtin
def test_the_built_in_pair_says_what_it_knows_and_answers() -> None:
    question = (
        "The hall has 5 rows of 34 seats. 21 adults sit down. How many seats are still empty?"
    )
    done = rstitch("chat", stdin=question.encode())
    assert (done.code, done.err.splitlines()[0]) == (0, BUILT_IN)
    assert "149" in done.out


# -- on a terminal --------------------------------------------------------------------------------


class Typed(io.StringIO):
    """Somebody types."""

    def isatty(self) -> bool:
        return True


@dataclass
class Shown:
    """Instead of `show`: takes so many pieces, then Ctrl-C."""

    pieces: int
    seen: list[str] = field(default_factory=list)

    def __call__(self, stream: Stream) -> None:
        for _ in range(self.pieces):
            self.seen.append(next(stream).text)
        raise KeyboardInterrupt


@pytest.fixture
def one(stitch: Stitch, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    monkeypatch.setattr(sys, "stdin", Typed())
    monkeypatch.setattr("rstitch.driver.BURST", 0.0)
    yield Chat(stitch, Conversation(), Sampling(), TOKENS)
    assert_clean(stitch.engine)
    stitch.engine.forget()


def test_ctrl_c_stops_an_answer_and_what_there_is_of_it_stays(
    one: Chat, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the next one goes on from there."""
    monkeypatch.setattr(module, "show", Shown(9))
    assert one.take(FIRST)
    question, answer = one.conversation.messages
    assert question == {"role": "user", "content": FIRST}
    whole = turns(one.stitch, FIRST)[0].text.strip()
    assert answer["content"] and whole.startswith(answer["content"]) and whole != answer["content"]
    monkeypatch.undo()
    monkeypatch.setattr(sys, "stdin", Typed())
    want = one.stitch.generate(one.conversation.question(SECOND), max_tokens=TOKENS)
    assert one.take(SECOND)
    assert one.conversation.messages[-1]["content"] == want.text.strip()
    assert capsys.readouterr().err.count("tokens SLM, ") == 2


def test_a_question_without_an_answer_is_forgotten(
    one: Chat, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped, or cut off, within the thought."""
    monkeypatch.setattr(module, "show", Shown(0))
    assert one.take(FIRST) and one.conversation.messages == []
    assert "there was no answer yet, so the question is forgotten\n" in capsys.readouterr().err
    monkeypatch.setattr(Stream, "starts_thinking", True)
    monkeypatch.setattr(module, "show", lambda stream: stream.result())
    assert one.take(FIRST) and one.conversation.messages == []
    assert "the question is forgotten; raise --max-tokens" in capsys.readouterr().err


def test_a_line_that_fails_is_told_and_the_next_is_taken(
    one: Chat, capsys: pytest.CaptureFixture[str]
) -> None:
    assert one.take("/tau warm") and one.take("/nothing") and one.take("word " * 300)
    err = capsys.readouterr().err
    assert err.count("rstitch: ") == 3 and "Traceback" not in err
    assert one.take("/help") and "/save FILE" in capsys.readouterr().err
    assert one.take(FIRST) and len(one.conversation.messages) == 2
    assert not one.take("/quit")


class Screen:
    """What a child shows on the terminal whose other end this is."""

    def __init__(self, terminal: int) -> None:
        self.terminal, self.rest = terminal, ""

    def until(self, text: str, key: bytes = b"") -> str:
        """All that is new, up to this text; meanwhile the key is pressed again and again."""
        while text not in self.rest:
            ready, _, _ = select.select([self.terminal], [], [], 5 if key else 120)
            if key and not ready:  # it came before the prompt was listening
                os.write(self.terminal, key)
                continue
            try:
                part = os.read(self.terminal, 1000) if ready else b""
            except OSError:  # its other end is closed
                part = b""
            assert part, f"no {text!r} in {self.rest!r}"
            self.rest += part.decode(errors="replace")
        seen, _, self.rest = self.rest.partition(text)
        return seen


ON_A_TERMINAL = """
import fcntl, signal, termios
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches this process
from rstitch.cli.main import run
run()
"""


def test_a_terminal(names: dict[str, str]) -> None:
    """Ctrl-C at the prompt says how to leave, Ctrl-D leaves; the pieces are coloured."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-W", "error", "-c", ON_A_TERMINAL, "chat", *options(names)]
    colours = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    environment = {key: v for key, v in os.environ.items() if key != "NO_COLOR"} | colours
    ends = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    child = subprocess.Popen(command, **ends, env=environment, start_new_session=True)
    os.close(theirs)
    try:
        screen = Screen(ours)
        screen.until("> ")
        os.write(ours, b"\x03")
        screen.until("(Ctrl-D leaves)", b"\x03")
        screen.until("> ")
        os.write(ours, FIRST.encode() + b"\n")
        assert screen.until("tokens/s").count("\x1b[") > TOKENS
        screen.until("> ")
        os.write(ours, b"\x04")
        assert child.wait(60) == 0
    finally:
        child.kill()
        child.wait()
        os.close(ours)


# -- files ----------------------------------------------------------------------------------------

ODD = [
    {"role": "user", "content": "one\u2028two\nthree \x85"},
    {"role": "assistant", "content": "é"},
]


def test_a_conversation_is_read_as_it_was_written(tmp_path: Path) -> None:
    Conversation(ODD).save(tmp_path / "a")
    assert Conversation.read(tmp_path / "a").messages == ODD


def test_no_file_of_anybody_else_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    one = Conversation(ODD)
    with pytest.raises(BadRequest, match="is there already; name another file"):
        one.save(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "mine"
    one.save(tmp_path / "b")
    one.add("q", "a")
    one.save(tmp_path / "b")
    again = Conversation.read(tmp_path / "b")
    assert len(again.messages) == 4
    again.reset()
    again.save(tmp_path / "b")
    assert Conversation.read(tmp_path / "b").messages == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_reset_keeps_what_the_pair_was_told() -> None:
    one = Conversation([{"role": "system", "content": "x"}, *ODD])
    one.reset()
    assert one.messages == [{"role": "system", "content": "x"}]


@pytest.mark.parametrize("line", ["{", "[]", '{"role": "user"}', '{"role": "user", "content": 5}'])
def test_a_line_that_is_no_message_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("\n" + line)
    with pytest.raises(BadRequest, match="a, line 2: not a message such as"):
        Conversation.read(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"\xff")
    with pytest.raises(BadRequest, match="is no conversation: it is not UTF-8 text"):
        Conversation.read(tmp_path / "a")
