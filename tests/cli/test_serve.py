"""`rstitch serve`: what it is told, before it serves."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rstitch.errors import BadRequest
from rstitch.server import running
from rstitch.server.address import taken
from rstitch.server.config import ServerConfig
from rstitch.server.served import Served
from tests.cli.terminal import rstitch


def test_the_configuration_is_printed_and_reads_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flag before variable before file; printed as a file it is the same again."""
    file = tmp_path / "rstitch.toml"
    file.write_text('[listen]\nport = 1\nhost = "::1"\n[limits]\nmax_n = 3\n')
    monkeypatch.setenv("RSTITCH_PORT", "2")
    monkeypatch.setenv("RSTITCH_MAX_N", "4")
    monkeypatch.setenv("RSTITCH_API_KEYS", "ann=rs-0123456789abcdef")
    done = rstitch("serve", "--config", str(file), "--port", "3", "--print-config")
    assert done.code == 0, done.err
    assert "port = 3  # --port" in done.out and "max_n = 4  # RSTITCH_MAX_N" in done.out
    assert f'host = "::1"  # {file}' in done.out and "0123456789abcdef" not in done.out
    again = tmp_path / "again.toml"
    again.write_text(done.out)
    monkeypatch.delenv("RSTITCH_PORT")
    monkeypatch.delenv("RSTITCH_MAX_N")
    repeated = rstitch("serve", "--config", str(again), "--print-config")
    values = [[line.partition("  #")[0] for line in d.out.splitlines()] for d in (done, repeated)]
    assert values[0] == values[1]


def test_a_list_may_be_given_at_once_or_one_by_one() -> None:
    told = 'cors = ["http://a.test", "http://b.test"]  # --cors'
    for options in (["http://a.test,http://b.test"], ["http://a.test", "--cors", "http://b.test"]):
        done = rstitch("serve", "--cors", *options, "--print-config")
        assert told in done.out.splitlines(), done.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--port", "70000"], "port is 70000; it must be at least 0 and at most 65535"),
        (["--max-n", "many"], "--max-n: max_n is 'many'; it must be a whole number"),
        (["--config", "nowhere.toml"], "config is nowhere.toml, which cannot be read"),
        (["--policy", "nobody"], "unknown policy 'nobody'"),
        (["--keys-file", "nowhere.toml"], "keys_file is nowhere.toml, which cannot be read"),
        (["--pair", "nobody"], "nobody"),
        (["--port", "0", "--tau-min", "0.5"], "the pair's own tau is 0.03"),
        (["--host", "192.0.2.1"], "host is 192.0.2.1, which is no address of this machine"),
        (["--host", "a host"], "host is 'a host'; it must have characters, and no spaces"),
        (["--host", "nobody.invalid"], "host is nobody.invalid, which has no address"),
        (["--host", "a" * 70], "which has no address"),
    ],
)
def test_what_is_wrong_is_one_line(options: list[str], says: str) -> None:
    done = rstitch("serve", *options)
    assert done.code != 0 and says in done.err and done.out == ""
    assert len(done.err.strip().splitlines()) == 1, done.err


def test_a_port_that_is_taken_is_told_before_models_are_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rstitch.server.running.load", lambda *_, **__: pytest.fail("loaded"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = rstitch("serve", "--port", str(port))
    assert done.code == 1 and done.out == ""
    told = f"port is {port}, where something listens already; take another with --port"
    assert done.err == f"rstitch: {told}\n"


def test_small_pieces_are_sent_at_once() -> None:
    """asyncio looks at a socket's protocol before it switches off Nagle's algorithm, which holds
    each piece back for some 40 ms."""

    async def delayed(one: socket.socket) -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line = writer.get_extra_info("socket")
            found.set_result(line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(accepted, sock=one):
            _, mine = await asyncio.open_connection(*one.getsockname())
            try:
                return await found
            finally:
                mine.close()
                await mine.wait_closed()

    with taken("127.0.0.1", 0) as (one,):
        assert asyncio.run(delayed(one)) == 1


def test_one_port_for_all_addresses_of_a_name() -> None:
    with taken("localhost", 0) as sockets:
        assert len({one.getsockname()[1] for one in sockets}) == 1
        names = {one.getsockname()[0] for one in sockets}
        assert len(names) == len(sockets) and names <= {"127.0.0.1", "::1"}
    assert all(one.fileno() == -1 for one in sockets)


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in sys.modules if one.startswith("rstitch.server.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = rstitch("serve")
    assert done.code != 0 and "pip install 'rstitch[serve]'" in done.err


def test_a_port_that_another_listens_at_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have taken it, while neither listened."""

    class Late:
        def __init__(self, served: Any) -> None: ...

        def run(self, sockets: Any) -> None:
            raise OSError(errno.EADDRINUSE, "in use")

    monkeypatch.setattr(running, "Server", Late)
    served = cast(Served, SimpleNamespace(config=ServerConfig()))
    with pytest.raises(BadRequest, match="port is 8000, where something listens already"):
        running.run(served, [])
