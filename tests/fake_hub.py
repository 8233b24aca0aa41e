"""A hub on this machine: serves model directories as repositories, refuses as the real one does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GATED = "lab/gated"


class Hub(ThreadingHTTPServer):
    """`served` says how many bytes of each file went out."""

    def __init__(self, repositories: Mapping[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = repositories
        self.served: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub(repositories: Mapping[str, Path]) -> Iterator[Hub]:
    server = Hub(repositories)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    """/{owner}/{name}/resolve/{revision}/{file} and /api/models/{owner}/{name}..."""

    server: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        parts = parts[2:] if api else parts
        repository, rest = "/".join(parts[:2]), parts[2:]
        if repository == GATED:
            return self.refuse(403, "GatedRepo")
        directory = self.server.repositories.get(repository)
        if directory is None:
            return self.refuse(401, "RepoNotFound")
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in ("main", COMMIT):
            return self.refuse(404, "RevisionNotFound")
        if api and len(rest) > 2:  # the listing of a folder, and there are none
            return self.refuse(404, "EntryNotFound")
        if api:
            found = [
                {"type": "file", "path": path.name, "oid": path.name, "size": path.stat().st_size}
                for path in sorted(directory.iterdir())
            ]
            about = {"id": repository, "sha": COMMIT, "siblings": []}
            return self.send(json.dumps(found if "tree" in rest else about).encode(), body)
        path = directory / "/".join(rest[2:])
        if not path.is_file():
            return self.refuse(404, "EntryNotFound")
        self.send(path.read_bytes(), body, path.name)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, content: bytes, body: bool, name: str = "") -> None:
        total, asked = len(content), self.headers.get("Range")
        status, first, last = 200, 0, total - 1
        if asked:
            low, _, high = asked.removeprefix("bytes=").partition("-")
            status, first, last = 206, int(low), min(int(high or last), last)
        part = content[first : last + 1]
        self.send_response(status)
        for key, value in (
            ("ETag", f'"{total}-{name}"'),
            ("X-Repo-Commit", COMMIT),
            ("Accept-Ranges", "bytes"),
            ("Content-Length", str(len(part))),
        ):
            self.send_header(key, value)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
        self.end_headers()
        if body:
            self.server.served[name] = self.server.served.get(name, 0) + len(part)
            self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        pass
