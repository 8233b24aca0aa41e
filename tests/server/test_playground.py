"""The page at `/`: who gets it and under which policy, and in a browser what it does."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from rstitch.api import Stitch
from rstitch.server.app import create
from rstitch.server.keys import Key, Keys, hash_of
from rstitch.server.playground.examples import BUILTIN
from rstitch.server.playground.page import assets, settings
from rstitch.server.served import Served
from rstitch.text import boxed
from tests.cli.terminal import rstitch
from tests.report.made import HOSTILE
from tests.server.serving import Running, config, serving, slowly

SECRET = "rs-a-key-that-is-long-enough"
KEYS = Keys((Key("ann", hash_of(SECRET)),))


def got(served: Served, path: str) -> httpx.Response:
    """One GET, without a server."""

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(create(served))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)

    return asyncio.run(get())


# -- who gets it --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "keys", "there"),
    [
        ("auto", Keys(), True),
        ("auto", KEYS, False),
        ("on", KEYS, True),
        ("off", Keys(), False),
    ],
)
def test_the_page_is_off_where_keys_are_set_unless_allowed(
    pair: Stitch, chosen: Literal["auto", "on", "off"], keys: Keys, there: bool
) -> None:
    served = Served(pair, config(listen={"playground": chosen}), keys)
    for path in ("/", "/playground/main.js", "/v1/rstitch/traces/a", "/v1/rstitch/words"):
        assert ("there is no route" not in got(served, path).text) is there, path
    assert served.traces.on is there


def test_every_file_that_the_page_names_is_there_and_no_other(pair: Stitch) -> None:
    served = Served(pair, config())
    html = got(served, "/").text
    found = set(re.findall(r'(?:src|href)="([^"]+)"', html))
    scripts = {name for name in assets() if name.endswith(".js")}
    imports = {
        f"playground/{name}"
        for script in scripts
        for name in re.findall(r'from "\./([^"]+)"', assets()[script][0])
    }
    assert found | imports == {f"playground/{name}" for name in assets()}
    for name in ("..%2Froutes.py", "page.html.j2", "nobody.js", "%2Fetc%2Fpasswd"):
        assert got(served, f"/playground/{name}").status_code == 404


def test_nothing_but_files_of_this_origin_may_run(pair: Stitch) -> None:
    served = Served(pair, config())
    for path in ("/", "/playground/main.js", "/playground/page.css"):
        headers = got(served, path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy and "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert "://" not in got(served, "/").text
    for name, (content, _) in assets().items():
        assert set(re.findall(r"https?://[^\"']+", content)) <= {"http://www.w3.org/2000/svg"}, name


def test_another_pair_gets_no_examples(pair: Stitch) -> None:
    assert len(settings(Served(pair, config()))["examples"]) == 3
    served = Served(pair, config(models={"slm": "a", "llm": "b"}))
    assert settings(served)["examples"] == []
    assert "Ask for something" in got(served, "/").text and "chip" not in got(served, "/").text


def test_bounds_reach_the_page(pair: Stitch) -> None:
    told = settings(Served(pair, config(bounds={"tau_min": 0.01, "tau_max": 2.0})))
    assert (told["tau_min"], told["tau_max"], told["alone"]) == (0.01, 2.0, ["slm"])


def test_examples_are_solved_as_they_say(pair: Stitch) -> None:
    answers = pair.batch([one.problem for one in BUILTIN])
    assert [boxed(one.text) for one in answers] == [one.answer for one in BUILTIN]
    alone = pair.batch([one.problem for one in BUILTIN], policy="slm")
    right = [boxed(a.text) == one.answer for a, one in zip(alone, BUILTIN, strict=True)]
    assert right == [False, False, True]


# -- in a browser -------------------------------------------------------------------------------

DONE = "#run:not(.stop)"


@contextmanager
def opened(
    browser: Any, url: str, *, width: int = 1440, scheme: str = "light"
) -> Iterator[tuple[Any, list[str]]]:
    """The page, and what went wrong on it: messages, errors, and requests to elsewhere."""
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
    )
    try:
        tab, troubles = context.new_page(), list[str]()
        tab.on("console", lambda message: troubles.append(message.text))
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("request", lambda r: troubles.append(r.url) if not _inside(r.url, url) else None)
        tab.goto(url)
        yield tab, troubles
    finally:
        context.close()


def _inside(url: str, origin: str) -> bool:
    return url.startswith((origin, "data:", f"blob:{origin}"))


def run(tab: Any, *, llm: bool = True, slm: bool = True) -> None:
    tab.click(".chip >> nth=0")
    tab.set_checked("#with-llm", llm)
    tab.set_checked("#with-slm", slm)
    tab.keyboard.press("Control+Enter")
    tab.wait_for_selector(DONE, timeout=60_000)


def counter(tab: Any, column: int, name: str) -> str:
    cell = f"#answers article >> nth={column} >> div:has(> dt:text-is('{name}')) >> dd"
    return str(tab.inner_text(cell))


def test_a_run_from_its_tokens_to_its_trace(browser: Any, server: Running, tmp_path: Path) -> None:
    with opened(browser, server.url) as (tab, troubles):
        run(tab)
        _counts(tab)
        _details(tab)
        with tab.expect_download() as download:
            tab.click(".trace >> nth=0")
        download.value.save_as(tmp_path / "trace")
        done = rstitch("explain", str(tmp_path / "trace"), "--no-show")
        assert done.code == 0 and "decisions reproduced" in done.out, done.err
        assert troubles == []


def _counts(tab: Any) -> None:
    """Three columns; each side's tokens are there, and as many as the counters say."""
    columns = tab.locator("#answers article")
    assert [columns.nth(i).get_attribute("aria-label") for i in range(columns.count())] == [
        "Stitched", "LLM alone", "SLM alone",
    ]  # fmt: skip
    for side, name in (("s", "SLM tokens"), ("l", "LLM tokens")):
        written = columns.nth(0).locator(f".t.{side}").count()
        assert written == int(counter(tab, 0, name)) > 0
    assert columns.nth(1).locator(".t.s, .x").count() == 0, "the LLM alone"
    assert columns.nth(2).locator(".t.l, .x").count() == 0, "the SLM alone"
    assert columns.nth(0).locator(".x").count() > 0, "discarded proposals are marked"
    assert "times as fast as the LLM alone" in tab.inner_text("#status")
    assert columns.nth(0).locator("section[aria-label=Answer] .text").inner_text() == (
        f"The answer is \\boxed{{{BUILTIN[0].answer}}}."
    )
    assert "</think>" in columns.nth(0).locator("section[aria-label=Reasoning]").inner_text()
    verdicts = tab.locator(".verdict")
    assert "right" in verdicts.nth(0).inner_text() and "wrong" in verdicts.nth(2).inner_text()


def _details(tab: Any) -> None:
    """By keyboard, by pointer and on the timeline: one token is looked at everywhere."""
    tab.focus("#answers .tokens >> nth=0")
    tab.keyboard.press("Home")
    first = tab.inner_text("#detail")
    assert "SLM" in first and "× tau" in first and "1 of" in first
    tab.keyboard.press("ArrowRight")
    assert "2 of" in tab.inner_text("#detail")
    tab.keyboard.press("n")
    at_hand_off = tab.inner_text("#detail")
    assert "LLM" in at_hand_off and "1 proposal of the SLM" in at_hand_off
    assert "(token" not in at_hand_off, "what was discarded has a text"
    assert "LLM" in tab.inner_text("#said")
    assert tab.locator("#answers .at").count() == 1
    tab.hover("#answers .x >> nth=0")
    assert "discarded" in tab.inner_text("#detail")
    tab.focus(".lane svg >> nth=1")
    tab.keyboard.press("End")
    assert "LLM alone" in tab.inner_text("#detail")
    row = tab.locator(".lane svg").nth(0).bounding_box()
    tab.mouse.move(row["x"] + 1, row["y"] + 5)
    assert "1 of" in tab.inner_text("#detail") and "Stitched" in tab.inner_text("#detail")
    tab.keyboard.press("Escape")
    assert tab.locator("#answers .at").count() == 0


def test_the_slider_is_tau(browser: Any, server: Running) -> None:
    with opened(browser, server.url) as (tab, troubles):
        asked: list[dict[str, Any]] = []
        tab.on("request", lambda r: asked.append(r.post_data_json) if r.post_data else None)
        for key in (None, "ArrowLeft", "Home", "End"):
            if key:
                tab.focus("#tau")
                tab.keyboard.press(key)
            run(tab, llm=False, slm=False)
        tab.click("#tau-reset")
        assert "the pair’s own" in tab.inner_text("#tau-value")
        taus = [one["rstitch"].get("tau") for one in asked]
        assert taus[0] is None and taus[1] < 0.03 and taus[2:] == [-1, 1]
        assert all(one["rstitch"]["provenance"] and one["stream"] for one in asked)
        assert tab.locator("#answers .t.l").count() == 0, "at the end the SLM is alone"
        assert troubles == []


def test_max_tokens_and_temperature(browser: Any, server: Running) -> None:
    with opened(browser, server.url) as (tab, _):
        asked: list[dict[str, Any]] = []
        tab.on("request", lambda r: asked.append(r.post_data_json) if r.post_data else None)
        tab.click("summary")
        tab.fill("#max-tokens", "5")
        tab.fill("#temperature", "0.5")
        run(tab)
        assert {(one["max_tokens"], one["temperature"]) for one in asked} == {(5, 0.5)}
        assert len({one["seed"] for one in asked}) == 1, "compared with the same draws"
        assert [one["model"] for one in asked] == ["builtin", "builtin-llm", "builtin-slm"]
        assert "cut off" in tab.inner_text("#status"), "no comparison of what was cut off"


def test_stop(browser: Any, server: Running) -> None:
    with opened(browser, server.url) as (tab, troubles):
        tab.click(".chip >> nth=1")
        with slowly(server.stitch, 0.01):  # a browser may be slow itself
            tab.keyboard.press("Control+Enter")
            tab.wait_for_selector("article[data-side=llm][data-state=writing] .t")
            tab.keyboard.press("Escape")
            tab.wait_for_selector(DONE)
        assert tab.inner_text("#status").startswith("Stopped after")
        states = tab.locator("#answers .state")
        assert [states.nth(i).inner_text() for i in range(3)] == ["", "stopped", "not run"]
        assert server.idle()
        run(tab, llm=False, slm=False)
        assert tab.inner_text("#status").startswith("Stitched: "), "it can be used again"
        assert troubles == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_does_not_scroll_sideways(browser: Any, server: Running, scheme: str) -> None:
    with opened(browser, server.url, width=375, scheme=scheme) as (tab, troubles):
        run(tab, llm=False, slm=False)
        tab.hover("#answers .x >> nth=0")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 375
        page, ink = tab.evaluate(
            "(s => [s.backgroundColor, s.color])(getComputedStyle(document.documentElement))"
        )
        assert (sum(_rgb(page)) < sum(_rgb(ink))) is (scheme == "dark")
        assert troubles == []


def _rgb(colour: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", colour)[:3]]


def error(message: str) -> str:
    return json.dumps({"error": {"message": message, "type": "", "param": None, "code": None}})


TROUBLES: list[tuple[dict[str, Any], str]] = [
    ({"status": 429, "headers": {"retry-after": "7"}, "body": error("the queue is full")},
     "The queue is full. Try again in 7 s."),
    ({"status": 503, "headers": {"retry-after": "30"}, "body": error("shutting down")},
     "Shutting down. Try again in 30 s."),
    ({"status": 502, "body": "<html>"}, "The server answered with status 502."),
    ({"status": 200, "body": f"data: {error('the LLM is lost')}\n\n"}, "The LLM is lost."),
    ({"status": 200, "body": "data: {"}, "The connection ended before the answer did."),
    ({}, "The server cannot be reached. Is it still running?"),
]  # fmt: skip


def _fulfil(answer: dict[str, Any], route: Any) -> None:
    if answer:
        route.fulfill(**answer)
    else:
        route.abort()


def test_errors_in_words_and_the_page_goes_on(browser: Any, server: Running) -> None:
    with opened(browser, server.url) as (tab, _):
        tab.click(".chip >> nth=0")
        for answer, says in TROUBLES:
            tab.route("**/v1/chat/completions", partial(_fulfil, answer))
            tab.click("#run")
            tab.wait_for_selector("#trouble:not([hidden])")
            assert tab.inner_text("#trouble") == says
            tab.wait_for_selector(DONE)
            tab.unroute("**/v1/chat/completions")
        run(tab, llm=False, slm=False)
        assert tab.locator("#trouble").is_hidden() and tab.locator("#answers .t").count() > 0


def chunk(text: str, reason: str | None = None, **more: Any) -> str:
    token = {"position": 0, "id": 5, "text": text, "side": "llm", "entropy": 0.2, "keep": True,
             "next": "llm", "logprob": -0.5, "seconds": 0.5}  # fmt: skip
    content = {
        "id": "chatcmpl-a",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}],
        "rstitch": {"version": 1, "tokens": [token], **more},
    }
    return f"data: {json.dumps(content)}\n\n"


def test_what_a_model_writes_is_text(browser: Any, server: Running) -> None:
    body = chunk(HOSTILE) + chunk(HOSTILE, "stop", tau=None, seconds=1.0, handoffs=0)
    with opened(browser, server.url) as (tab, troubles):
        tab.route("**/v1/chat/completions", lambda route: route.fulfill(
            status=200, body=body + "data: [DONE]\n\n"))  # fmt: skip
        run(tab, llm=False, slm=False)
        tab.focus("#answers .tokens")
        tab.keyboard.press("ArrowRight")
        assert "<script>window.hacked" in tab.inner_text("#answers .text >> nth=1")
        assert tab.evaluate("window.hacked") is None and tab.locator("main img").count() == 1
        assert troubles == []


def test_a_long_answer_ends_in_view(browser: Any, server: Running) -> None:
    """Its last tokens may be drawn when it has ended already."""
    body = chunk("a\n" * 50) + chunk("the end", "stop", tau=None, seconds=1.0, handoffs=0)
    with opened(browser, server.url, width=375) as (tab, troubles):
        tab.route("**/v1/chat/completions", lambda route: route.fulfill(
            status=200, body=body + "data: [DONE]\n\n"))  # fmt: skip
        run(tab, llm=False, slm=False)
        hidden = "e => e.scrollHeight - e.scrollTop - e.clientHeight"
        assert tab.locator("#answers .tokens").evaluate("e => e.scrollHeight - e.clientHeight") > 99
        assert tab.locator("#answers .tokens").evaluate(hidden) < 2
        assert troubles == []


def test_with_a_key(browser: Any, tmp_path: Path) -> None:
    with (
        serving(keys=KEYS, listen={"playground": "on"}) as running,
        opened(browser, running.url) as (tab, _),
    ):
        tab.fill("#key", "rs-somebody-elses")
        tab.click(".chip >> nth=0")
        tab.click("#run")
        tab.wait_for_selector("#trouble:not([hidden])")
        assert tab.inner_text("#trouble") == "That API key is not known here."
        tab.fill("#key", SECRET)
        run(tab, llm=False, slm=False)
        with tab.expect_download() as download:
            tab.click(".trace")
        download.value.save_as(tmp_path / "trace")
        assert rstitch("explain", str(tmp_path / "trace"), "--no-show").code == 0
