"""The page: one template, and files that are the same for everybody.

A page that shows what models wrote must not run it. Text goes in as text, and the policy below lets
no script or style in but the files of this origin.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from rstitch import __version__
from rstitch.report.colour import SURE, UNSURE
from rstitch.report.palette import css
from rstitch.server.config import Models
from rstitch.server.errors import Problem
from rstitch.server.playground.examples import BUILTIN
from rstitch.server.served import Served
from rstitch.types import Side

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def page(served: Served) -> str:
    """HTML, with what the scripts have to know about this server."""
    environment = Environment(
        loader=PackageLoader("rstitch.server.playground", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    told = settings(served)
    return environment.get_template("page.html.j2").render(told=told, version=__version__)


def settings(served: Served) -> dict[str, Any]:
    """What the scripts of the page read."""
    bounds, limits = served.config.bounds, served.config.limits
    default = served.names.rules.default
    return {
        "pair": served.names.pair,
        "tau": getattr(default, "tau", None),
        "policy": default.name,
        "alone": [side.label for side in Side if _may_write_alone(served, side)],
        "tau_min": bounds.tau_min,
        "tau_max": bounds.tau_max,
        "max_tokens": limits.max_tokens,
        "temperature": served.stitch.defaults.sampling.temperature,
        "sizes": {side.label: m.runner.vocab_size for side, m in served.stitch.models.items()},
        "keys": bool(served.keys),
        "shades": [SURE, UNSURE],
        "examples": [asdict(one) for one in BUILTIN] if _builtin(served.config.models) else [],
    }


def _may_write_alone(served: Served, side: Side) -> bool:
    try:
        served.names.rules.alone(side)
    except Problem:
        return False
    return True


def _builtin(models: Models) -> bool:
    return (models.pair, models.slm, models.llm) == ("builtin", None, None)


def assets() -> dict[str, tuple[str, str]]:
    """Content and media type by name."""
    found = {
        one.name: (one.read_text(encoding="utf-8"), KINDS[f".{one.name.rpartition('.')[2]}"])
        for one in (files(__package__) / "assets").iterdir()
        if not one.name.endswith(".j2")
    }
    content, kind = found["page.css"]
    return {**found, "page.css": (css() + content, kind)}
