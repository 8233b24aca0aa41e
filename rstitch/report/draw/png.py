"""A scene as a PNG file: matplotlib as a sheet of paper, in the page's light colours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstitch.errors import BadRequest
from rstitch.files import replaced
from rstitch.report.draw.scene import Bar, Item, Line, Mark, Scene
from rstitch.report.palette import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOTS = 2
"""Per pixel of the scene, for screens that have two."""
INCH = 100
SHAPES = {"circle": "o", "square": "s", "diamond": "D", "triangle": "^"}
FACES = ("Inter", "Segoe UI", "Helvetica Neue", "Arial", "Liberation Sans")
"""The first of these that is installed, else matplotlib's own."""
POINT = 72 / INCH


def check() -> None:
    """Raise BadRequest where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise BadRequest(
            "--png needs matplotlib: pip install 'rstitch[report]', or leave it out"
        ) from error


def png(scene: Scene, path: Path) -> None:
    """Whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((scene.width / INCH, scene.height / INCH), facecolor=PALETTE["page"].light)
    FigureCanvasAgg(figure)
    axes: Any = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, scene.width), ylim=(scene.height, 0))
    axes.axis("off")
    face = _face()
    for order, item in enumerate(scene.items):
        _draw(axes, item, order, face)
    with replaced(path) as partial:
        figure.savefig(partial, dpi=INCH * DOTS, format="png", metadata={"Title": scene.title})


def _draw(axes: Axes, item: Item, order: int, face: str) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    paint = PALETTE[item.colour].light
    if isinstance(item, Line):
        style: Any = (0, (4, 4)) if item.dashed else "-"
        xs, ys = zip(*item.points, strict=True)
        axes.plot(
            xs, ys, color=paint, linewidth=item.width * POINT, alpha=item.opacity, zorder=order,
            linestyle=style,
        )  # fmt: skip
    elif isinstance(item, Bar):
        corner, size = (item.x, item.y), (item.width, item.height)
        axes.add_patch(
            Rectangle(corner, *size, facecolor=paint, linewidth=0, alpha=item.opacity, zorder=order)
        )
    elif isinstance(item, Mark):
        across = item.radius * 2 * POINT * (0.72 if item.shape == "diamond" else 1)
        axes.plot(
            [item.x], [item.y], SHAPES[item.shape], markersize=across, markeredgecolor=paint,
            markerfacecolor=PALETTE["page"].light if item.hollow else paint,
            markeredgewidth=1.6 * POINT, zorder=order,
        )  # fmt: skip
    else:
        axes.text(
            item.x, item.y, item.text.replace("$", r"\$"), color=paint, fontsize=item.size * POINT,
            ha={"start": "left", "middle": "center", "end": "right"}[item.anchor],
            va="center_baseline" if item.upright else "center", zorder=order,
            fontweight="bold" if item.bold else "normal", family=face,
            rotation=0 if item.upright else 90,
            path_effects=[withStroke(linewidth=3 * POINT, foreground=PALETTE["page"].light)],
        )  # fmt: skip


def _face() -> str:
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    return next((face for face in FACES if face in installed), "DejaVu Sans")
