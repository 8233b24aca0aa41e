"""What a server says about itself: its models, whether it lives, whether it is ready, versions."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, PlainTextResponse, Response

from rstitch import __version__
from rstitch.server import extra, lists
from rstitch.server.errors import Problem
from rstitch.server.openapi import wrong
from rstitch.server.served import Served
from rstitch.server.task import UNSAID


def router(served: Served) -> APIRouter:
    routes = APIRouter()
    routes.include_router(_of_the_api(served))
    routes.include_router(_of_the_server(served))
    return routes


def _of_the_api(served: Served) -> APIRouter:
    """For clients: with a key, where keys are set."""

    def known(http: Request) -> None:
        served.entry.who(http.headers)

    routes = APIRouter(dependencies=[Depends(known)], responses=wrong(401))

    @routes.get("/v1/models", summary="The stitched pair, and each side alone")
    async def models() -> JSONResponse:
        found = [_model(served, name, what) for name, what in served.names.listed()]
        return JSONResponse({"object": "list", "data": found})

    @routes.get(
        "/v1/models/{model}", summary="One of them, or the pair at a tau", responses=wrong(400, 404)
    )
    async def model(model: str) -> JSONResponse:
        what = dict(served.names.listed()).get(model)
        if what is None:
            served.names.policy(model, UNSAID)
            what = "both models, stitched, at that tau"
        return JSONResponse(_model(served, model, what))

    @routes.get("/v1/rstitch/schema", summary="JSON Schema of the key `rstitch`")
    async def schema() -> JSONResponse:
        return JSONResponse(extra.schema())

    @routes.get("/v1/rstitch/fields", summary="Fields: honoured, without effect, refused")
    async def fields() -> JSONResponse:
        return JSONResponse(lists.published())

    return routes


def _of_the_server(served: Served) -> APIRouter:
    """For who runs it; nothing here tells of a request."""
    routes = APIRouter()

    @routes.get("/health", summary="Whether the engine gets on with its work", responses=wrong(503))
    async def health() -> Response:
        if not served.health.ok:
            raise Problem(503, f"no step for {served.health.seconds:.0f} s while there is work")
        return JSONResponse({"status": "ok"})

    @routes.get("/ready", summary="Whether requests are let in", responses=wrong(503))
    async def ready() -> Response:
        if served.not_ready:
            raise Problem(503, served.not_ready, code="not_ready")
        return JSONResponse({"status": "ready"})

    @routes.get("/metrics", summary="For Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(served.metrics.render(), media_type=CONTENT_TYPE_LATEST)

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
