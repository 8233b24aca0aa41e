"""The page in a browser: keyboard, hostile text, no errors, no requests, no sideways scroll."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rstitch.report.loaded import load
from rstitch.report.page import page
from tests.evals.doubles import STITCHED
from tests.report.made import HOSTILE, edited


@pytest.fixture
def shown(copy: Path, tmp_path: Path) -> Path:
    """A page of hostile answers."""

    def change(one: dict[str, Any]) -> bool:
        one["text"] = HOSTILE
        if one.get("method") == STITCHED:
            one["traces"][0]["texts"][0] = HOSTILE
        return True

    edited(copy, change, every=True)
    path = tmp_path / "page.html"
    path.write_text(page([load(copy)], 40))
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1400])
def test_page(browser: Any, shown: Path, scheme: str, width: int) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    try:
        tab, troubles = context.new_page(), []
        tab.on("console", lambda message: troubles.append(message.text))
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        outside = ("file:", "data:")
        tab.on(
            "request",
            lambda r: troubles.append(r.url) if not r.url.startswith(outside) else None,
        )
        tab.goto(shown.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        _keyboard(tab)
        assert tab.evaluate("window.hacked") is None and tab.locator("img").count() == 0
        assert troubles == []
    finally:
        context.close()


def _keyboard(tab: Any) -> None:
    chosen = ".list li[aria-selected=true]"
    tab.focus(".list")
    first = tab.inner_text(chosen)
    tab.keyboard.press("ArrowDown")
    assert tab.inner_text(chosen) != first, "the list follows the arrow keys"
    tab.keyboard.press("Home")
    assert tab.inner_text(chosen) == first
    tab.focus(".side .answer")
    for _ in range(2):
        tab.keyboard.press("ArrowRight")
    assert tab.locator(".tok.at").count() == 1 and "entropy" in tab.inner_text(".info")
    tab.keyboard.press("n")
    assert tab.inner_text(".info").startswith("token ")
    box = tab.locator(".tools input")
    box.focus()
    tab.keyboard.press("Space")
    assert tab.locator(".side .tok.x:visible").count() == 0, "discarded proposals can be hidden"
    tab.keyboard.press("Space")
    assert "<script>window.hacked" in tab.inner_text(".side .answer >> nth=0"), "as text"
