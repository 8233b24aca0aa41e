"""R-Stitch: a small and a large language model write one answer together (arXiv 2507.17307).

Importing the package loads no torch; `load` and what it returns do, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rstitch.api import Answer, Stitch, load

__all__ = ["Answer", "Stitch", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Answer", "Stitch", "load"):
        from rstitch import api

        return getattr(api, name)
    raise AttributeError(f"module 'rstitch' has no attribute {name!r}")
