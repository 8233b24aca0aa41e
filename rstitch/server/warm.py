"""One answer before the first client's, so that nobody waits for what is done once."""

from __future__ import annotations

from rstitch.engine.request import Request
from rstitch.errors import RStitchError
from rstitch.policy import make
from rstitch.server import logs
from rstitch.server.served import Served
from rstitch.types import Failed


async def warm(served: Served) -> None:
    """Run both sides; then the server is ready. A side that cannot be run leaves it unready."""
    requests = []
    for name in ("slm", "llm"):
        policy = make(name)
        prompts = served.stitch.prompts("1", policy=policy, raw=True)
        requests.append(Request(prompts, policy, max_tokens=2))
    try:
        inbox = served.loop.open(requests)
    except RStitchError as error:
        logs.problem(error)
        return
    failed = False
    while arrived := await inbox.burst():
        failed |= any(isinstance(event, Failed) for _, event in arrived)
    served.door.warm = not failed
