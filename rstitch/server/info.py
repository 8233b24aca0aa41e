"""What a server says about itself: its models, whether it lives, whether it is ready, versions."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from rstitch import __version__
from rstitch.server import extra
from rstitch.server.errors import Problem
from rstitch.server.served import Served


def router(served: Served) -> APIRouter:
    routes = APIRouter()

    @routes.get("/v1/models", summary="The stitched pair, and each side alone")
    async def models() -> JSONResponse:
        found = [_model(served, name, what) for name, what in served.names.listed()]
        return JSONResponse({"object": "list", "data": found})

    @routes.get("/v1/models/{model}", summary="One of them")
    async def model(model: str) -> JSONResponse:
        for name, what in served.names.listed():
            if model == name:
                return JSONResponse(_model(served, name, what))
        raise served.names.unknown(model)

    @routes.get("/health", summary="Whether the engine gets on with its work")
    async def health() -> Response:
        if not served.health.ok:
            raise Problem(503, f"no step for {served.health.seconds:.0f} s while there is work")
        return JSONResponse({"status": "ok"})

    @routes.get("/ready", summary="Whether requests are let in")
    async def ready() -> Response:
        if served.not_ready:
            raise Problem(503, served.not_ready, code="not_ready")
        return JSONResponse({"status": "ready"})

    @routes.get("/version", summary="Versions, and the configuration's digest")
    async def version() -> JSONResponse:
        return JSONResponse(
            {
                "rstitch": __version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "config": served.config.digest(),
                "extra": extra.VERSION,
            }
        )

    @routes.get("/v1/rstitch/schema", summary="JSON Schema of the key `rstitch`")
    async def schema() -> JSONResponse:
        return JSONResponse(extra.schema())

    return routes


def _model(served: Served, name: str, what: str) -> dict[str, Any]:
    models = served.stitch.models
    context = min(model.runner.max_length for model in models.values())
    return {
        "id": name,
        "object": "model",
        "created": served.started,
        "owned_by": "rstitch",
        "max_model_len": context,
        "description": what,
    }
