"""docs/serving.md says what the code does: its lists, its tables, its example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rstitch.server.config import known
from rstitch.server.errors import REFUSED
from rstitch.server.extra import Asked, Summary, Told
from rstitch.server.lists import published
from tests.server.serving import Running

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/serving.md").read_text(encoding="utf-8")


def rows(after: str) -> list[list[str]]:
    """The cells of the first table after that text, without its head."""
    lines = PAGE[PAGE.index(after) :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 2 : end]
    ]


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_honoured_fields() -> None:
    found = {name.strip("`"): of for name, of, _ in rows("**Honoured:**")}
    chat, completions = (set(published()[kind]["honoured"]) for kind in ("chat", "completions"))
    assert {n for n, of in found.items() if of in ("both", "chat")} == chat
    assert {n for n, of in found.items() if of in ("both", "completions")} == completions


def test_ignored_and_refused_fields() -> None:
    text = PAGE[PAGE.index("**Without effect**") :]
    ignored, rest = text.split("**Refused**")
    refused, completions = rest.split("\n\n")[0].split("Completions:")
    lists = published()
    assert code(ignored)[1:] == lists["chat"]["ignored"] == lists["completions"]["ignored"]
    assert code(refused) == lists["chat"]["refused"]
    assert code(completions) == lists["completions"]["refused"]


def test_the_key() -> None:
    for after, kind in (("all of it optional", Asked), ("together:", Summary), ("included:", Told)):
        names = [name.strip("`") for name, _ in rows(after)]
        assert names == list(kind.model_fields), after  # type: ignore[attr-defined]


def test_settings_and_their_defaults() -> None:
    text = PAGE[PAGE.index("## Configuration") : PAGE.index("## Keys, quotas")]
    found = dict(re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? ?\|", text, re.MULTILINE))
    defaults = {
        name: "" if one.default in (None, ()) else str(one.default) for name, one in known().items()
    }
    assert found == defaults


def test_metrics_and_routes(server: Running) -> None:
    told = {re.sub(r"\{.*\}|_total", "", name.strip("`")) for name, _ in rows("## Watching")}
    lines = server.http.get("/metrics").text.splitlines()
    assert told == {line.split()[2].removesuffix("_total") for line in lines if "# TYPE" in line}
    routes = set(server.http.get("/openapi.json").json()["paths"]) | {"/openapi.json"}
    named = {path.split()[-1] for route, _ in rows("## Routes") for path in code(route)}
    assert named == routes


def test_errors() -> None:
    by_status = {int(status): code(codes) for status, codes, _ in rows("| status")}
    for reason, status in REFUSED.items():
        if reason != "invalid":
            assert reason in by_status[status], reason


def test_the_example_runs(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(example.replace("http://127.0.0.1:8000", server.url), {})
    assert "boxed" in capsys.readouterr().out
