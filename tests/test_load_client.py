"""The HTTP client of the load generator: how replies end, and what is lost."""

from __future__ import annotations

import asyncio
import json
from unittest.mock import Mock

import pytest

from benchmarks.client import Connection, Lost, Reply, post
from benchmarks.load import Group, block

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def replies(*pieces: bytes, closes: bool = False) -> tuple[Reply, bool]:
    """What those pieces are to the client, and whether it would send another request."""

    async def main() -> tuple[Reply, bool]:
        one = Connection()
        one.connection_made(Mock(spec=asyncio.Transport, **{"is_closing.return_value": False}))
        one.send(b"")
        for piece in pieces:
            one.data_received(piece)
        if closes:
            one.connection_lost(None)
        return await asyncio.wait_for(one.rest(), 1), one.open

    return asyncio.run(main())


@pytest.mark.parametrize("pieces", [
    [HEAD + b"Content-Length: 3\r\n\r\nabc"],
    [HEAD[:9], HEAD[9:] + b"Content-Length: 3\r\n", b"\r\n", b"ab", b"c"],
    [CHUNKED, b"3\r\nabc\r\n0\r\n\r\n"],
    [CHUNKED, b"1\r\na\r\n", b"2\r\nbc\r\n0", b"\r\n\r", b"\n"],
])  # fmt: skip
def test_a_reply_that_is_whole(pieces: list[bytes]) -> None:
    reply, goes_on = replies(*pieces)
    assert (reply.status, reply.body, goes_on) == (200, b"abc", True)
    assert 0 < reply.first <= reply.seconds


def test_bodies_may_be_empty() -> None:
    assert replies(HEAD + b"Content-Length: 0\r\n\r\n")[0].body == b""
    assert replies(CHUNKED, b"0\r\n\r\n")[0].body == b""


def test_a_connection_that_is_about_to_close_is_not_used_again() -> None:
    end = b"Connection: close\r\nContent-Length: 1\r\n\r\na"
    reply, goes_on = replies(HEAD + end)
    assert (reply.body, goes_on) == (b"a", False)
    reply, goes_on = replies(HEAD + b"Connection: close\r\n\r\n", b"ab", b"c", closes=True)
    assert (reply.body, goes_on) == (b"abc", False)


@pytest.mark.parametrize("pieces", [
    [],
    [HEAD],
    [HEAD + b"Content-Length: 3\r\n\r\nab"],
    [CHUNKED, b"3\r\nabc\r\n"],
    [CHUNKED, b"3\r\nabc\r\n0\r\n"],
])  # fmt: skip
def test_what_is_cut_short_is_lost(pieces: list[bytes]) -> None:
    with pytest.raises(Lost):
        replies(*pieces, closes=True)


def test_a_stream_without_its_end_is_refused() -> None:
    one = Reply(200, b'data: {"a":1}\n\ndata: [DONE]\n\n', 0.1, 0.2)
    assert one.events == [{"a": 1}]
    for body in (b"", b'data: {"a":1}\n\n', b'data: {"a":1}\n\ndata: [DONE]\n\nmore'):
        with pytest.raises(ValueError, match="ends with"):
            _ = Reply(200, body, 0.1, 0.2).events


def test_a_request_says_how_long_it_is_and_who_asks() -> None:
    head, _, body = post({"a": "é"}, "rs-key").partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head.split(b"\r\n")
    assert b"authorization: Bearer rs-key" in head.split(b"\r\n")
    assert json.loads(body) == {"a": "é"} and b"authorization" not in post({})


def test_a_block_tells_of_every_request_even_those_that_nobody_answers() -> None:
    """A server that answers the first request with a stream and hangs up on the second."""
    last = {"rstitch": {"slm_tokens": 2, "llm_tokens": 1}, "choices": [{"finish_reason": "stop"}]}
    body = f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n".encode()
    answer = HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for end in (answer, b""):
            head = await reader.readuntil(b"\r\n\r\n")
            seen.append(await reader.readexactly(int(head.split(b"content-length: ")[1])))
            writer.write(end)
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            group = Group(clients=1, bodies=[{"a": 1}, {"b": 2}], requests=4)
            ((first, second),) = await block("127.0.0.1", port, [group])
            assert (first.tokens, first.reason, second.reason) == (3, "stop", "lost")
            assert 0 < first.first <= first.seconds and first.ended <= second.sent

    asyncio.run(main())
    assert [json.loads(one) for one in seen] == [{"a": 1}, {"b": 2}]
