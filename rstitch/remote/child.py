"""The process: `python -m rstitch.remote.child FD`, started by `process` and by nobody else.

It ends with whoever started it, however that one ends, since the pipe is closed then. So signals
that are meant for all of a service, or all of a terminal, are none of its business: what has been
begun would be lost. Nothing heavy may be imported before it says so.
"""

from __future__ import annotations

import signal
import sys
from multiprocessing.connection import Connection


def main() -> None:
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    pipe = Connection(int(sys.argv[1]))
    from rstitch.remote.serving import serve

    serve(pipe)


if __name__ == "__main__":
    main()
