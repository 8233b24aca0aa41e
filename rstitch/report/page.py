"""One page that says what runs found: no server, nothing loaded from elsewhere, easy to send.

What models wrote is hostile until proven otherwise: the template escapes everything, traces go in
as JSON without a `<`, and the page's own policy runs no script but the one that was hashed.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from rstitch import __version__
from rstitch.report import facts, shown, viewer
from rstitch.report.about import about, title
from rstitch.report.claim import claims
from rstitch.report.draw.scene import Scene
from rstitch.report.draw.svg import svg
from rstitch.report.figures.of_analysis import FIGURES
from rstitch.report.figures.of_run import frontier_of, split_of
from rstitch.report.loaded import Loaded
from rstitch.report.palette import css
from rstitch.report.terms import TERMS

WIDE, NARROW = 1000.0, 350.0
"""Pixels that figures are laid out for; the page shows the one that fits."""
Drawing = Callable[[float], Scene | None]


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    caption: str
    draw: Drawing
    file: str
    """Name of its PNG."""

    def at(self, width: float) -> Scene:
        scene = self.draw(width)
        assert scene is not None, f"{self.name}: drawn though there is nothing"
        return scene

    def html(self) -> dict[str, str]:
        """For the template; text in a drawing is escaped there."""
        wide, narrow = (Markup(svg(self.at(width))) for width in (WIDE, NARROW))
        return {"name": self.name, "caption": self.caption, "wide": wide, "narrow": narrow}


def figures(run: Loaded) -> list[Figure]:
    """Those that this run has the numbers for."""
    every = [
        Figure(
            "Accuracy against time",
            "Bars are 95 % intervals; dashed lines go through the LLM alone; hollow triangles are "
            "random routing at the same LLM share.",
            lambda width: frontier_of(run, width),
            "frontier",
        ),
        Figure(
            "Where the speed comes from",
            "On a logarithmic axis the two bars add up to the speed-up: fewer tokens than the LLM "
            "alone, and less time for each.",
            lambda width: split_of(run, width),
            "split",
        ),
    ]
    return [one for one in every if one.draw(NARROW) is not None]


def of_analysis(run: Loaded) -> list[Figure]:
    """Those of a recording that was analysed."""
    found = run.analysis
    if found is None:
        return []
    every = [Figure(one.name, one.caption, partial(one.draw, found), one.file) for one in FIGURES]
    return [one for one in every if one.draw(NARROW) is not None]


def page(sections: Sequence[Loaded], most: int) -> str:
    """HTML. most: traces of each section."""
    told = [_section(run, most) for run in sections]
    name = told[0]["title"] if len(told) == 1 else f"{len(told)} runs"
    return rendered("report.html.j2", f"rstitch: {name}", sections=told, terms=TERMS)


def rendered(template: str, title: str, **values: Any) -> str:
    """A page of this package's look."""
    environment = Environment(
        loader=PackageLoader("rstitch.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        title=title,
        version=__version__,
        today=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        style=Markup(css() + asset("page.css")),
        script=Markup(script),
        script_hash=Markup(f"sha256-{digest}"),
        **values,
    )


def asset(name: str) -> str:
    return (files("rstitch.report") / "assets" / name).read_text(encoding="utf-8")


def _section(run: Loaded, most: int) -> dict[str, Any]:
    found, said = viewer.traces(run, most), claims(run.config, run.table)
    entries = {"entries": found.entries, "vocabulary": found.vocabulary, "labels": len(said)}
    return {
        "title": title(run),
        "claims": [one.sentence() for one in said],
        "warnings": [*run.table.warnings, *_merged(run)],
        "about": about(run),
        "figures": [one.html() for one in figures(run)],
        "baseline": run.table.baseline,
        "many": run.table.in_flight > 1,
        "accuracy": shown.accuracy(run),
        "speed": shown.speed(run),
        "groups": shown.by_group(run),
        "analysis": _analysis(run),
        "traces": found,
        "traced": ", ".join(dict.fromkeys(one["method"] for one in found.entries)),
        "traces_json": htmlsafe_json_dumps(entries),
    }


def _merged(run: Loaded) -> list[str]:
    if len(run.paths) == 1:
        return []
    return [
        f"{len(run.paths)} runs of one task are merged: their methods did not take turns, so a "
        "machine that was slower during one of them shows in the speed-ups"
    ]


def _analysis(run: Loaded) -> Mapping[str, Any] | None:
    if run.analysis is None:
        return None
    return {"facts": facts.facts(run.analysis), "figures": [one.html() for one in of_analysis(run)]}
