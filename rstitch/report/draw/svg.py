"""A scene as inline SVG; colours are the page's custom properties, so that dark is dark there."""

from __future__ import annotations

from html import escape

from rstitch.report.draw.scene import Bar, Item, Line, Mark, Scene, Text

PATHS = {
    "diamond": "M{x} {t}L{r} {y}L{x} {b}L{l} {y}Z",
    "triangle": "M{x} {t}L{r} {b}L{l} {b}Z",
    "square": "M{l} {t}L{r} {t}L{r} {b}L{l} {b}Z",
}


def svg(scene: Scene) -> str:
    """Text is escaped. As wide as the scene, or its place if that is narrower."""
    body = "".join(_item(one) for one in scene.items)
    return (
        f'<svg viewBox="0 0 {_n(scene.width)} {_n(scene.height)}" role="img" '
        f'aria-label="{escape(scene.title)}" style="max-width:{_n(scene.width)}px">{body}</svg>'
    )


def _item(item: Item) -> str:
    if isinstance(item, Line):
        return _line(item)
    if isinstance(item, Bar):
        place = f'x="{_n(item.x)}" y="{_n(item.y)}" width="{_n(item.width)}"'
        paint = f'fill="var(--{item.colour})"{_opacity(item.opacity)}'
        return f'<rect {place} height="{_n(item.height)}" {paint}{_told("rect", item.told)}'
    if isinstance(item, Mark):
        return _mark(item)
    return _text(item)


def _line(item: Line) -> str:
    points = " ".join(f"{_n(x)},{_n(y)}" for x, y in item.points)
    dash = ' stroke-dasharray="4 4"' if item.dashed else ""
    return (
        f'<polyline points="{points}" fill="none" stroke="var(--{item.colour})" '
        f'stroke-width="{_n(item.width)}"{dash}{_opacity(item.opacity)}/>'
    )


def _mark(item: Mark) -> str:
    fill = "page" if item.hollow else item.colour
    paint = f'fill="var(--{fill})" stroke="var(--{item.colour})" stroke-width="1.6"'
    if item.shape == "circle":
        place = f'cx="{_n(item.x)}" cy="{_n(item.y)}" r="{_n(item.radius)}"'
        return f"<circle {place} {paint}{_told('circle', item.told)}"
    r = item.radius
    edges = {"l": item.x - r, "r": item.x + r, "t": item.y - r, "b": item.y + r}
    where = {"x": item.x, "y": item.y, **edges}
    path = PATHS[item.shape].format(**{name: _n(value) for name, value in where.items()})
    return f'<path d="{path}" {paint}{_told("path", item.told)}'


def _text(item: Text) -> str:
    turned = "" if item.upright else f' transform="rotate(-90 {_n(item.x)} {_n(item.y)})"'
    bold = ' font-weight="600"' if item.bold else ""
    return (
        f'<text x="{_n(item.x)}" y="{_n(item.y)}" fill="var(--{item.colour})" '
        f'font-size="{_n(item.size)}" text-anchor="{item.anchor}" dominant-baseline="central"'
        f"{bold}{turned}>{escape(item.text)}</text>"
    )


def _told(name: str, told: str) -> str:
    return f"><title>{escape(told)}</title></{name}>" if told else "/>"


def _opacity(value: float) -> str:
    return "" if value == 1.0 else f' opacity="{_n(value)}"'


def _n(value: float) -> str:
    return (
        f"{value:.1f}".removesuffix(".0") if value >= 10 or value == int(value) else f"{value:.2f}"
    )
