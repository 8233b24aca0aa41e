"""Text from ids: exact for any cut into tokens, silent about undecided text, cheap per token."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as RustTokenizer

from rstitch.text import (
    ByteLevel,
    Phase,
    PhaseTracker,
    Reasoned,
    ReasoningStream,
    StopScanner,
    TextStream,
    Tokenizer,
    boxed,
    split_reasoning,
)

PENDING = "\ufffd"


def byte_level() -> RustTokenizer:
    """A trained byte-level BPE; its merges may end inside a character."""
    tokenizer = RustTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken("<eos>", special=True)],
    )
    corpus = [
        "the answer is naïve",
        "你好，世界 你们好",
        "😀😁😂 👩‍👩‍👧",
        "été où ça",
        "∑ ≤ ≥ √2 → ∞",
    ]
    tokenizer.train_from_iterator(corpus * 3, trainer)
    return tokenizer


def sentence_piece() -> RustTokenizer:
    """Llama-2 style: words carry their leading space, rare characters fall back to bytes."""
    pieces = ["<unk>", "<s>", *(f"<0x{b:02X}>" for b in range(256))]
    pieces += ["▁", "▁the", "▁cat", "s", "▁sat", ".", "\n", "é"]
    tokenizer = RustTokenizer(
        models.BPE({piece: i for i, piece in enumerate(pieces)}, [], byte_fallback=True)
    )
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


BYTES = byte_level()
PIECES = sentence_piece()
LOOKED_UP = ByteLevel(BYTES)
EOS = BYTES.get_vocab()["<eos>"]


class Metered:
    """Counts the ids that are decoded."""

    def __init__(self, tokenizer: RustTokenizer) -> None:
        self.tokenizer = tokenizer
        self.decoded = 0

    def decode(self, ids: list[int], /, *, skip_special_tokens: bool) -> str:
        self.decoded += len(ids)
        return str(self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))


class Letters:
    """Ids are places in a list of pieces, so that a test can cut a text as it likes."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = pieces

    def decode(self, ids: list[int], /, *, skip_special_tokens: bool) -> str:
        return "".join(self.pieces[i] for i in ids)


def pushes(stream: TextStream, ids: Iterable[int]) -> list[str]:
    return [*(stream.push(i) for i in ids), stream.finish()]


def streamed(tokenizer: Tokenizer, ids: Iterable[int], stop: str | Sequence[str] = ()) -> str:
    return "".join(pushes(TextStream(tokenizer, stop), ids))


def lookup(tokenizer: RustTokenizer, tokens: Iterable[str]) -> list[int]:
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[token] for token in tokens]


def raw(data: bytes) -> list[int]:
    """One byte-level id per byte, merging nothing."""
    alphabet = {b: chr(b) for b in [*range(33, 127), *range(161, 173), *range(174, 256)]}
    rest = (b for b in range(256) if b not in alphabet)
    alphabet |= {b: chr(256 + n) for n, b in enumerate(rest)}
    return lookup(BYTES, (alphabet[b] for b in data))


def fallback(text: str) -> list[int]:
    return lookup(PIECES, (f"<0x{b:02X}>" for b in text.encode()))


def words(*pieces: str) -> list[int]:
    return lookup(PIECES, pieces)


# -- incremental detokenising


def test_character_appears_whole_with_its_last_byte() -> None:
    stream = TextStream(BYTES)
    assert pushes(stream, raw("a😀é".encode())) == ["a", "", "", "", "😀", "", "é", ""]


def test_incomplete_last_character_appears_at_the_finish() -> None:
    assert pushes(TextStream(BYTES), raw("a😀".encode()[:-1])) == ["a", "", "", "", PENDING]


def test_replacement_characters_of_the_model_itself_are_kept() -> None:
    assert streamed(BYTES, raw((PENDING * 9 + "x").encode())) == PENDING * 9 + "x"


def test_leading_spaces_follow_the_whole_text() -> None:
    ids = words("<s>", "▁the", "▁cat", "s", "▁", "▁sat", ".")
    assert pushes(TextStream(PIECES), ids) == ["", "the", " cat", "s", " ", " sat", ".", ""]
    ids = words("<s>", "▁the", *["<s>"] * 40, "▁cat") * 5
    assert streamed(PIECES, ids) == " ".join(["the cat"] * 5)


def test_byte_fallback_shows_no_partial_character() -> None:
    text = "😀é你" * 20
    parts = pushes(TextStream(PIECES), fallback(text))
    assert "".join(parts) == text
    assert all(len(part) <= 1 and part != PENDING for part in parts)


def test_special_tokens_are_shown_on_request() -> None:
    ids = [*raw(b"a"), EOS]
    assert streamed(BYTES, ids) == "a"
    assert "".join(pushes(TextStream(BYTES, skip_special_tokens=False), ids)) == "a<eos>"


@given(st.text())
def test_joined_stream_is_the_text(text: str) -> None:
    ids = BYTES.encode(text).ids
    parts = pushes(TextStream(BYTES), ids)
    assert "".join(parts) == BYTES.decode(ids) == text
    assert PENDING in text or not any(PENDING in part for part in parts)


@given(st.lists(st.integers(0, BYTES.get_vocab_size() - 1), max_size=80), st.booleans())
def test_joined_stream_is_the_decoded_whole_for_any_ids(ids: list[int], skip: bool) -> None:
    stream = TextStream(BYTES, skip_special_tokens=skip)
    assert "".join(pushes(stream, ids)) == BYTES.decode(ids, skip_special_tokens=skip)


@given(
    st.lists(st.integers(0, BYTES.get_vocab_size() - 1), max_size=80),
    st.booleans(),
    st.sampled_from([(), ("e", "ab"), (PENDING,)]),
)
@settings(max_examples=400, deadline=None)
def test_looking_pieces_up_changes_nothing(
    ids: list[int], skip: bool, stop: tuple[str, ...]
) -> None:
    looked_up, decoded = (
        TextStream(words, stop, skip_special_tokens=skip) for words in (LOOKED_UP, BYTES)
    )
    ours, theirs = "", ""
    for token in ids:
        ours, theirs = ours + looked_up.push(token), theirs + decoded.push(token)
        assert ours == theirs or PENDING in ours + theirs
    assert ours + looked_up.finish() == theirs + decoded.finish()


def test_whole_characters_are_decoded_once() -> None:
    meter = Metered(BYTES)
    ids = BYTES.encode("the answer is the answer " * 40).ids
    assert streamed(ByteLevel(meter), ids) == BYTES.decode(ids)
    assert meter.decoded == len(set(ids))


READABLE = st.characters(exclude_categories=["Cs"], exclude_characters=PENDING)
BROKEN = [b"\xff", b"\x80", b"\xe2", b"\xe2\x82", b"\xf0\x9f", b"\xed\xa0", "é".encode(), b"a"]


@given(st.lists(st.sampled_from(BROKEN), max_size=40))
@example([b"\xf0\x9f"] * 40)
def test_joined_stream_is_the_decoded_whole_for_broken_bytes(parts: list[bytes]) -> None:
    ids = raw(b"".join(parts))
    assert streamed(BYTES, ids) == BYTES.decode(ids)


def test_character_after_broken_bytes_survives_a_cut_at_any_place() -> None:
    for count in range(40):
        ids = raw(b"\xff" * count + "😀".encode())
        assert streamed(BYTES, ids) == PENDING * count + "😀", count


@given(
    st.lists(
        st.one_of(
            st.sampled_from(["▁", "▁the", "▁cat", "s", ".", "<s>"]).map(lambda p: words(p)),
            st.text(READABLE, min_size=1, max_size=3).map(fallback),
        ),
        max_size=40,
    )
)
def test_joined_stream_is_the_decoded_whole_for_sentence_piece(groups: list[list[int]]) -> None:
    ids = list(itertools.chain.from_iterable(groups))
    assert streamed(PIECES, ids) == PIECES.decode(ids)


@pytest.mark.parametrize(
    "ids",
    [
        BYTES.encode("the answer is 你好 " * 300).ids,
        raw("😀".encode() * 500),
        raw(b"\xff" * 2000),
        raw(b"a") + [EOS] * 2000,
        raw(b"\xe2") + [EOS] * 2000,
        [EOS] * 2000,
    ],
    ids=["text", "emoji", "broken", "special", "special-in-character", "special-only"],
)
def test_cost_per_token_is_bounded(ids: list[int]) -> None:
    meter = Metered(BYTES)
    assert streamed(meter, ids) == BYTES.decode(ids)
    assert meter.decoded <= 20 * len(ids)


def test_tokens_that_never_end_on_a_character_are_released_and_bounded() -> None:
    """Every token ends one character and begins the next, so no cut is ever clean."""
    stream = TextStream(SplitCharacters())
    parts = pushes(stream, range(200))
    assert "".join(parts) == "é" * 199 + PENDING
    assert parts[100] == "é"


class SplitCharacters:
    def decode(self, ids: list[int], /, *, skip_special_tokens: bool) -> str:
        assert len(ids) <= 16
        return b"".join(b"\xa9\xc3" if i else b"\xc3" for i in ids).decode(errors="replace")


# -- stop strings


@pytest.mark.parametrize(
    ("pieces", "stop", "expected", "stopped"),
    [
        (["one. ", "two. ", "three"], ["two"], "one. ", "two"),
        (["a", "a", "a", "b", "c"], ["aab"], "a", "aab"),  # a failed start holds a real one
        (["\n", "\nQ", ":", " x"], ["\n\nQ:"], "", "\n\nQ:"),  # across three borders
        (["abcd"], ["bcd", "c"], "ab", "c"),  # the first to end wins
        (["abcd"], ["c", "abc", "bc"], "", "abc"),  # ending together: the first to start
        (["x</s", ">y"], "</s>", "x", "</s>"),  # one string is one stop string
        (["a\n", "\n"], ["\n\n\n"], "a\n\n", None),  # undecided at the end is text
        (["no", "ne"], [], "none", None),
    ],
)
def test_stop_strings(
    pieces: list[str], stop: str | list[str], expected: str, stopped: str | None
) -> None:
    stream = TextStream(Letters(pieces), stop)
    assert "".join(pushes(stream, range(len(pieces)))) == expected
    assert stream.stopped == stopped


def test_only_text_that_may_begin_a_stop_string_is_held_back() -> None:
    stream = TextStream(Letters(["say <", "b> and ", "</s", "pan>"]), ["</s>"])
    assert pushes(stream, range(4)) == ["say ", "<b> and ", "", "</span>", ""]


def test_stop_string_may_be_included() -> None:
    stream = TextStream(Letters(["ab", "cd", "ef"]), ["bc"], include_stop=True)
    assert pushes(stream, range(3)) == ["a", "bc", "", ""]


def test_stop_string_completed_by_the_finish() -> None:
    stream = TextStream(BYTES, [PENDING])
    assert "".join(pushes(stream, raw(b"a\xe2"))) == "a"
    assert stream.stopped == PENDING


def test_empty_stop_string_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"stop\[1\] is empty"):
        TextStream(BYTES, ["a", ""])


def first_stop(text: str, stops: Sequence[str]) -> tuple[int, int] | None:
    for end in range(len(text) + 1):
        for start in range(end):
            if text[start:end] in stops:
                return start, end
    return None


@given(
    st.lists(st.text("ab", max_size=5), max_size=12),
    st.lists(st.text("abc", min_size=1, max_size=5), max_size=3),
    st.booleans(),
)
def test_stopped_text_is_the_text_before_the_first_stop(
    pieces: list[str], stops: list[str], include: bool
) -> None:
    text = "".join(pieces)
    scanner = StopScanner(tuple(stops), include)
    got = "".join(map(scanner.push, pieces)) + scanner.finish()
    match first_stop(text, stops):
        case None:
            assert (got, scanner.stopped) == (text, None)
        case start, end:
            assert (got, scanner.stopped) == (text[: end if include else start], text[start:end])


@given(st.text("aé😀", max_size=30), st.lists(st.text("aé😀", min_size=1, max_size=4), max_size=3))
@settings(max_examples=50)
def test_stop_strings_over_split_characters(text: str, stops: list[str]) -> None:
    found = first_stop(text, stops)
    assert streamed(BYTES, raw(text.encode()), stops) == text[: found[0] if found else None]


# -- phases


@pytest.mark.parametrize(
    ("text", "started_inside", "expected"),
    [
        ("<think>so\n</think>\n\n4", False, Reasoned("so\n", "\n\n4")),
        ("so</think>4", True, Reasoned("so", "4")),
        ("<think>so</think>4", True, Reasoned("so", "4")),
        ("<think>so", False, Reasoned("so", "")),
        ("so", True, Reasoned("so", "")),
        ("", True, Reasoned("", "")),
        ("4", False, Reasoned(None, "4")),
        ("", False, Reasoned(None, "")),
        ("4</think>", False, Reasoned(None, "4</think>")),
        ("<think></think>4", False, Reasoned("", "4")),
        ("a<think>b</think>c<think>d</think>e", False, Reasoned("bd", "ace")),
    ],
)
def test_split_reasoning(text: str, started_inside: bool, expected: Reasoned) -> None:
    assert split_reasoning(text, started_inside=started_inside) == expected


def test_split_reasoning_with_other_marks() -> None:
    assert split_reasoning("[T]a[/T]b", "[T]", "[/T]") == Reasoned("a", "b")


def test_phase_tracker_counts_both_marks_as_reasoning() -> None:
    tracker = PhaseTracker(open_id=1, close_id=2)
    R, A = Phase.REASONING, Phase.ANSWER
    assert [tracker.push(i) for i in [7, 1, 8, 2, 9]] == [A, R, R, R, A]
    inside = PhaseTracker(open_id=1, close_id=2, phase=R)
    assert [inside.push(i) for i in [7, 2, 2, 9]] == [R, R, A, A]


@given(st.lists(st.sampled_from(["a", "b", "<think>", "</think>"])), st.booleans())
def test_tracker_and_split_agree(tokens: list[str], inside: bool) -> None:
    tracker = PhaseTracker(2, 3, Phase.REASONING if inside else Phase.ANSWER)
    phases = [tracker.push(["a", "b", "<think>", "</think>"].index(token)) for token in tokens]
    by_phase = {
        phase: "".join(t for t, p in zip(tokens, phases, strict=True) if p is phase and len(t) == 1)
        for phase in Phase
    }
    split = split_reasoning("".join(tokens), started_inside=inside)
    assert split.answer.replace("</think>", "") == by_phase[Phase.ANSWER]
    assert (split.reasoning or "").replace("<think>", "") == by_phase[Phase.REASONING]


@given(
    st.lists(st.sampled_from(["a", "b ", "<think>", "</think>", "<", "think>", "</th", "ink>"])),
    st.booleans(),
    st.lists(st.integers(1, 9)),
)
def test_reasoning_stream_is_split_reasoning(
    words: list[str], inside: bool, cuts: list[int]
) -> None:
    text, stream = "".join(words), ReasoningStream(Phase.REASONING if inside else Phase.ANSWER)
    ends = [sum(cuts[: i + 1]) for i in range(len(cuts))]
    pieces = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    parts = [part for piece in pieces for part in stream.push(piece)] + stream.finish()
    joined = {p: "".join(text for phase, text in parts if phase is p) for p in Phase}
    split = split_reasoning(text, started_inside=inside)
    assert joined == {Phase.REASONING: split.reasoning or "", Phase.ANSWER: split.answer}


def test_reasoning_stream_with_marks_passes_everything_on() -> None:
    stream = ReasoningStream(Phase.REASONING, include_marks=True)
    parts = [part for piece in ("so</th", "ink>4", "<t") for part in stream.push(piece)]
    R, A = Phase.REASONING, Phase.ANSWER
    assert parts + stream.finish() == [(R, "so"), (R, "</think>"), (A, "4"), (A, "<t")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{4}.", "4"),
        (r"\boxed{1}, no: \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{x}", r"\left\{x"),
        (r"\boxed{a\\}b}", r"a\\"),  # an escaped backslash, then the end
        (r"\boxed {x}", "x"),
        ("\\boxed{a\nb}", "a\nb"),
        (r"\boxed{\boxed{3}}", "3"),
        (r"\boxed{}", ""),
        (r"\boxed{1} then \boxed{2", None),
        (r"\boxed{1\}", None),
        (r"\boxed 5", None),
        ("no box", None),
    ],
)
def test_boxed(text: str, expected: str | None) -> None:
    assert boxed(text) == expected


@given(
    st.recursive(
        st.sampled_from(["x", r"\{", r"\}", r"\\", r"\frac"]),
        lambda inner: st.one_of(
            inner.map(lambda s: "{" + s + "}"), st.lists(inner, max_size=3).map("".join)
        ),
    )
)
def test_boxed_returns_any_balanced_content(content: str) -> None:
    assert boxed(rf"a \boxed{{0}} b \boxed{{{content}}} c }}") == content


# -- going back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(6))
def test_a_copied_stream_goes_on_by_itself(at: int) -> None:
    """In the middle of a character and of a stop string too: the original, going on otherwise, does
    not disturb its copy."""
    ids = raw("a😀b".encode())
    stream = TextStream(BYTES, ("b!", "x"))
    before = [stream.push(token) for token in ids[:at]]
    twin = stream.copy()
    stream.push(raw(b"x")[0])
    rest = [twin.push(token) for token in ids[at:]]
    assert "".join([*before, *rest, twin.finish()]) == "a😀b"
    assert twin.stopped is None and stream.stopped == "x"
