"""API keys and quotas: who is let in, how much they may have, and that no key is ever shown."""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch.errors import BadRequest
from rstitch.server import keys as keys_module
from rstitch.server.keys import ANYBODY, Key, Keys, hash_of, load
from rstitch.server.quota import Bucket, Quotas
from rstitch.server.refusal import Refused

ANN, BEN, EVE = (f"rs-{name}-0123456789abcdef" for name in ("ann", "ben", "eve"))


@pytest.fixture
def file(tmp_path: Path) -> Any:
    def write(text: str) -> str:
        path = tmp_path / "keys.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


# -- reading --------------------------------------------------------------------------------------


def test_keys_come_from_a_file_and_from_the_environment(file: Any) -> None:
    path = file(f"""
[keys]
ann = "{ANN}"

[keys.eve]
sha256 = "{hashlib.sha256(EVE.encode()).hexdigest().upper()}"
concurrency = 4
tokens_per_minute = 60_000
tokens_per_day = 1_000_000
""")
    keys = load(path, {"RSTITCH_API_KEYS": f"ben = sha256:{hash_of(BEN).hex()} , "})
    assert keys.names == ("ann", "eve", "ben")
    assert keys.find(EVE) == Key("eve", hash_of(EVE), 4, 60_000, 1_000_000)
    assert keys.find(ANN) == Key("ann", hash_of(ANN))
    assert keys.find(BEN).name == "ben"


def test_without_keys_anybody_may_ask() -> None:
    keys = load(None, {})
    assert not keys and keys.names == ()
    for presented in (None, "", "whatever"):
        assert keys.find(presented) is ANYBODY


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[keys]\nann = 'short'", "entry 1 (ann): the key has 5 characters; give it at least 16"),
        ("[keys]\nann = 5", "entry 1 (ann): the key is no text"),
        ("[keys]\nann = 'sha256:12'", "entry 1 (ann): a SHA-256 has 64 hexadecimal digits"),
        ("[keys.ann]\nconcurrency = 1", "entry 1 (ann) needs either key or sha256"),
        (f"[keys.ann]\nkey = '{ANN}'\nsha256 = ''", "entry 1 (ann) needs either key or sha256"),
        (
            f"[keys.ann]\nkey = '{ANN}'\nconcurency = 1",
            "entry 1 (ann) has no setting 'concurency'; did you mean concurrency?",
        ),
        (
            f"[keys.ann]\nkey = '{ANN}'\ntokens_per_day = 0",
            "entry 1 (ann): tokens_per_day is 0; it must be a whole number from 1 on",
        ),
        (f"[keys]\n'a b' = '{ANN}'", "entry 1 has a name that is not 1 to 64 of"),
        (f"ann = '{ANN}'", " has more than the table [keys]; write all keys under it"),
        (f"[keys]\nann = '{ANN}", " is no TOML file; see the example"),
        (f"[keys]\nann = '{ANN}'\nben = '{ANN}'", "'ben' and 'ann' are one key; make a second"),
    ],
)
def test_a_wrong_file_is_refused_by_entry_and_shows_no_key(
    file: Any, content: str, message: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        load(file(content), {})
    assert message in str(refused.value)
    assert ANN not in str(refused.value) and "short" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ANN, "RSTITCH_API_KEYS: entry 1 has no name; write name=key"),
        (f"ann={ANN},={BEN}", "RSTITCH_API_KEYS: entry 2 has no name; write name=key"),
        ("ann=short", "RSTITCH_API_KEYS: entry 1: the key has 5 characters; give it at least 16"),
        (f"ann={ANN},ann={BEN}", "there are two keys called 'ann'; rename one"),
    ],
)
def test_a_wrong_variable_is_refused_by_entry_and_shows_no_key(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as refused:
        load(None, {"RSTITCH_API_KEYS": text})
    assert str(refused.value) == message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="^keys_file is .*, which cannot be read: No such file"):
        load(str(tmp_path / "nowhere"), {})


def test_the_example_is_of_the_right_form_and_its_keys_are_refused(file: Any) -> None:
    """Nobody is to serve under keys that stand in a documentation."""
    lines = (keys_module.__doc__ or "").splitlines()
    start = lines.index("    [keys]")
    example = "\n".join(lines[start : lines.index("", start + 6)])
    with pytest.raises(BadRequest, match="entry 1 \\(ann\\): a SHA-256 has 64"):
        load(file(example), {})
    whole = example.replace('"sha256:..."', f'"sha256:{hash_of(ANN).hex()}"')
    whole = whole.replace('= "..."', f'= "{hash_of(EVE).hex()}"').replace('"rs-..."', f'"{BEN}"')
    assert load(file(whole), {}).names == ("ann", "ben", "eve")


# -- finding --------------------------------------------------------------------------------------


def three() -> Keys:
    return Keys(tuple(Key(n, hash_of(k)) for n, k in (("ann", ANN), ("ben", BEN), ("eve", EVE))))


@pytest.mark.parametrize(
    "presented", [None, "", "nobody's", ANN[:-1], ANN + "x", "\udcff", "é" * 99]
)
def test_a_strange_key_is_refused_and_not_repeated(presented: str | None) -> None:
    with pytest.raises(Refused) as refused:
        three().find(presented)
    assert (refused.value.reason, refused.value.retry_after) == ("key", None)
    assert not presented or presented not in str(refused.value)


@pytest.mark.parametrize("presented", [ANN, BEN, EVE, "nobody's"])
def test_all_keys_are_compared_whichever_it_is(
    presented: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared, real = [], hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(keys_module.hmac, "compare_digest", compare)
    try:
        three().find(presented)
    except Refused:
        pass
    assert compared == [(32, 32)] * 3


def test_no_key_and_no_hash_is_in_what_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    keys = three()
    ann = keys.find(ANN)
    with caplog.at_level(logging.INFO), Quotas().lease(ann, 10) as lease:
        logging.getLogger("rstitch.server").info("%s %r %r", ann, lease, keys)
    shown = caplog.text + repr(keys) + repr(keys.names) + str(vars(Refused("key", "no")))
    assert "ann" in shown
    assert ANN not in shown and hash_of(ANN).hex() not in shown and repr(hash_of(ANN)) not in shown


# -- quotas ---------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(**quotas: int) -> Key:
    return Key("ann", b"", **quotas)


def refused(quotas: Quotas, who: Key, tokens: int) -> Refused | None:
    try:
        with quotas.lease(who, tokens):
            return None
    except Refused as error:
        return error


def spend(quotas: Quotas, who: Key, tokens: int, used: float | None = None) -> None:
    with quotas.lease(who, tokens) as lease:
        lease.used = tokens if used is None else used


def test_a_key_without_quotas_may_have_everything() -> None:
    quotas = Quotas(Clock())
    for _ in range(3):
        spend(quotas, ANYBODY, 10**12)


def test_requests_at_once_are_counted_and_forgotten() -> None:
    quotas, who = Quotas(Clock()), key(concurrency=2)
    with quotas.lease(who, 1), quotas.lease(who, 1):
        error = refused(quotas, who, 1)
        assert error is not None and (error.reason, error.retry_after) == ("concurrency", 1.0)
        assert str(error).startswith("key 'ann' has 2 requests under way")
        assert refused(quotas, Key("ben", b"", concurrency=2), 1) is None
    assert refused(quotas, who, 1) is None


def test_a_minutes_tokens_may_go_at_once_and_come_back_evenly() -> None:
    clock = Clock()
    quotas, who = Quotas(clock), key(tokens_per_minute=600)
    spend(quotas, who, 600)
    error = refused(quotas, who, 100)
    assert error is not None and (error.reason, error.retry_after) == ("quota", 10.0)
    assert str(error) == (
        "the request may take 100 tokens, and key 'ann' has 0 of its 600 per minute left; "
        "try again in 10 s"
    )
    clock.now += 9.9
    assert refused(quotas, who, 100)
    clock.now += 0.1
    assert refused(quotas, who, 100) is None


def test_what_is_reserved_is_gone_and_what_is_not_taken_comes_back() -> None:
    quotas, who = Quotas(Clock()), key(tokens_per_minute=100)
    with quotas.lease(who, 80) as lease:
        assert refused(quotas, who, 30) and refused(quotas, who, 20) is None
        lease.used = 50
    assert refused(quotas, who, 51) and refused(quotas, who, 50) is None


def test_what_ends_with_an_error_is_charged_for_what_it_took() -> None:
    quotas, who = Quotas(Clock()), key(tokens_per_minute=100, concurrency=1)
    with pytest.raises(ZeroDivisionError), quotas.lease(who, 80) as lease:
        lease.used = 10
        raise ZeroDivisionError
    assert refused(quotas, who, 91) and refused(quotas, who, 90) is None


def test_a_refusal_reserves_nothing() -> None:
    clock = Clock()
    quotas, who = Quotas(clock), key(tokens_per_minute=100, tokens_per_day=150)
    spend(quotas, who, 100)
    for _ in range(5):
        assert refused(quotas, who, 60)
    clock.now += 60
    assert refused(quotas, who, 50) is None


def test_the_longer_wait_is_told() -> None:
    clock = Clock()
    quotas, who = Quotas(clock), key(tokens_per_minute=100, tokens_per_day=864)
    for _ in range(8):
        spend(quotas, who, 100)
        clock.now += 60
    error = refused(quotas, who, 100)
    assert error is not None and "of its 864 per day left" in str(error)
    assert error.retry_after == pytest.approx((100 - (864 - 800 + 480 * 0.01)) * 100)


def test_more_than_there_ever_is_needs_no_second_try() -> None:
    quotas, who = Quotas(Clock()), key(tokens_per_minute=100)
    error = refused(quotas, who, 101)
    assert error is not None and (error.reason, error.retry_after) == ("too_large", None)
    assert "key 'ann' has 100 per minute; lower max_tokens, n or the prompt" in str(error)


AMOUNT = st.integers(0, 120)


@given(
    st.lists(st.tuples(st.floats(0, 30), AMOUNT, st.floats(0, 1)), max_size=30),
    st.integers(1, 100),
)
def test_nobody_gets_ahead_of_a_quota(asked: list[tuple[float, int, float]], size: int) -> None:
    """Whatever is asked and given back: from the start on, no more is taken than the quota holds
    and what it has filled by; and what is refused is let in after the wait that was told."""
    clock = Clock()
    quotas, who, taken = Quotas(clock), key(tokens_per_minute=size), 0.0
    for pause, tokens, part in asked:
        clock.now += pause
        error = refused(quotas, who, tokens)
        if error is not None and error.retry_after is not None:
            clock.now += error.retry_after
            error = refused(quotas, who, tokens)
            assert error is None
        if error is None:
            spend(quotas, who, tokens, part * tokens)
            taken += part * tokens
        else:
            assert tokens > size
        assert taken <= size + (clock.now - 1000.0) * size / 60 + 1e-3


def test_a_bucket_never_holds_more_than_its_size() -> None:
    bucket = Bucket(10, 60.0, "minute", 0.0)
    bucket.take(-5, 1.0)
    assert bucket.level(1e6) == 10
    bucket.take(15, 1e6)
    assert (bucket.level(1e6), bucket.wait(1, 1e6)) == (-5, pytest.approx(36.0))
    assert bucket.level(0.0) == -5  # a clock that goes back fills nothing
    assert bucket.wait(11, 1e6) == math.inf
