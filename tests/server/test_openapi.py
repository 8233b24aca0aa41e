"""The OpenAPI document is kept to: schemathesis asks what it allows, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.failures import Failure
from schemathesis.specs.openapi import checks as conformance

from tests.server.serving import Running

ROUTES = [
    ("post", "/v1/chat/completions"), ("post", "/v1/completions"), ("get", "/v1/models"),
    ("get", "/v1/models/{model}"), ("get", "/v1/rstitch/schema"), ("get", "/v1/rstitch/fields"),
    ("get", "/v1/rstitch/traces/{reply}"), ("get", "/v1/rstitch/words"),
    ("get", "/health"), ("get", "/ready"), ("get", "/metrics"), ("get", "/version"),
]  # fmt: skip


@pytest.fixture(scope="module")
def document(short: Running) -> Any:
    return schemathesis.openapi.from_url(f"{short.url}/openapi.json")


def names_a_field(_: Any, response: Any, case: Any) -> None:
    """For positive_data_acceptance: what the document allows may be refused for what no document
    can say (a model's context, a field that needs another), but then it names a field."""
    mode = case.meta.generation.mode if case.meta else None
    if response.status_code == 400 and mode == GenerationMode.POSITIVE and case.body:
        if not response.json()["error"]["param"]:
            raise Failure(operation=case.operation.label, title="no field", message=response.text)


CHECKS: list[Callable[..., Any]] = [
    getattr(conformance, name)
    for name in (
        "status_code_conformance", "content_type_conformance", "response_schema_conformance",
        "response_headers_conformance", "negative_data_rejection", "unsupported_method",
    )
]  # fmt: skip


def kept(document: Any, route: tuple[str, str], cases: int) -> None:
    """Ask so many times, half of them what the document does not allow."""
    method, path = route
    operation = document[path][method]
    both = st.one_of(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        if method == "post" else st.nothing(),
    )  # fmt: skip

    @settings(
        max_examples=cases, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=both)
    def asks(case: Any) -> None:
        response = case.call(timeout=60)
        assert response.status_code < 500, response.text
        case.validate_response(response, checks=[*CHECKS, names_a_field])

    asks()


def test_every_route_is_told_of(document: Any) -> None:
    found = {
        (method, path)
        for path, methods in document.raw_schema["paths"].items()
        for method in methods
    }
    assert found == set(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_it_is_kept_to(document: Any, route: tuple[str, str]) -> None:
    kept(document, route, 80 if route[0] == "post" else 5)


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES[:2], ids=str)
def test_it_is_kept_to_in_5000_cases(document: Any, route: tuple[str, str]) -> None:
    kept(document, route, 2500)
