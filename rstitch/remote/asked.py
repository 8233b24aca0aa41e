"""A request on its way: a policy is found there by the name by which it was found here."""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any

from rstitch import policy
from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.policy.base import Policy
from rstitch.policy.registry import is_file


class _Pickler(pickle.Pickler):
    """A policy whose class has no place of its own goes by the name under which it was found."""

    def reducer_override(self, one: Any) -> Any:
        if not isinstance(one, Policy) or _importable(type(one)):
            return NotImplemented
        if type(one).__module__ == "__main__":
            raise pickle.PicklingError("its class is the script's own")
        return _policy, (one.spec(),)


def dumps(request: Request) -> bytes:
    """Raises BadRequest for a policy that cannot be made there."""
    found = io.BytesIO()
    try:
        _Pickler(found, pickle.HIGHEST_PROTOCOL).dump(request)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise BadRequest(_stays(request.policy.name, error)) from error
    return found.getvalue()


def loads(data: bytes, name: str) -> Request:
    """name: of the policy. Raises BadRequest where it cannot be made here."""
    try:
        request: Request = pickle.loads(data)
    except Exception as error:  # a policy's own code may fail in any way
        raise BadRequest(_stays(name, error)) from error
    return request


def _stays(name: str, error: Exception) -> str:
    return (
        f"policy {name!r} cannot go to the engine's process ({error}): put its class into a "
        "module, or leave the engine in this process"
    )


def _importable(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    here = kind.__module__ != "__main__" and getattr(module, kind.__qualname__, None) is kind
    return here and not is_file(getattr(kind, "name", ""))


def _policy(spec: dict[str, Any]) -> Policy:
    return policy.load(**spec)
