"""API keys: who may ask, by names that logs may show.

A key file, for `--keys-file`, and the variable RSTITCH_API_KEYS, which adds to it:

    [keys]
    ann = "sha256:..."           # 64 hexadecimal digits, of the key
    ben = "rs-..."               # or the key itself

    [keys.eve]
    sha256 = "..."               # or key = "rs-..."
    concurrency = 4              # requests at once
    tokens_per_minute = 60000    # of prompts and answers
    tokens_per_day = 1000000

    RSTITCH_API_KEYS="dan=sha256:...,joe=rs-..."

To make one: `python -c "import secrets; print('rs-' + secrets.token_urlsafe(32))"`, and what to
store of it: `printf %s KEY | sha256sum`. A plain SHA-256 is enough, since such a key cannot be
guessed; what is short enough to guess is refused. A key itself is hashed as soon as it is read, and
is in no `repr` and no message.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rstitch.errors import BadRequest
from rstitch.server.checks import nearest
from rstitch.server.refusal import Refused

VARIABLE = "RSTITCH_API_KEYS"
MIN_LENGTH = 16
"""Characters of a key."""
NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
HASHED = "sha256:"
QUOTAS = ("concurrency", "tokens_per_minute", "tokens_per_day")


@dataclass(frozen=True, slots=True)
class Key:
    """One key, known by its name. None is no limit."""

    name: str
    digest: bytes = field(repr=False)
    """SHA-256 of the key."""
    concurrency: int | None = None
    """Requests at once, waiting ones included."""
    tokens_per_minute: int | None = None
    """Of prompts and answers."""
    tokens_per_day: int | None = None


ANYBODY = Key("anybody", b"")
"""Who asks where no keys are set."""


class Keys:
    """All of them. Raises BadRequest for two of one name, or one key under two names."""

    def __init__(self, keys: tuple[Key, ...] = ()) -> None:
        self._keys = keys
        names, digests = set[str](), dict[bytes, str]()
        for key in keys:
            if key.name in names:
                raise BadRequest(f"there are two keys called {key.name!r}; rename one")
            if key.digest in digests:
                other = digests[key.digest]
                raise BadRequest(f"{key.name!r} and {other!r} are one key; make a second")
            names.add(key.name)
            digests[key.digest] = key.name

    def __bool__(self) -> bool:
        return bool(self._keys)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(key.name for key in self._keys)

    def find(self, presented: str | None) -> Key:
        """Whose key that is. Raises Refused for none, and for one that nobody has.

        All keys are compared with, whichever it is, each in constant time.
        """
        if not self._keys:
            return ANYBODY
        if not presented:
            raise Refused("key", "an API key is needed; send it as a bearer token")
        digest, found = hash_of(presented), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None:
            raise Refused("key", "that API key is not known here")
        return found


def hash_of(key: str) -> bytes:
    """Its SHA-256; `surrogatepass`, since what a client sends need not be text."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def load(file: str | None, environ: Mapping[str, str]) -> Keys:
    """The keys of a file and of the environment. Raises BadRequest that names the entry, never
    what it holds."""
    of_file = _of_file(file) if file else ()
    return Keys((*of_file, *_of_variable(environ.get(VARIABLE, ""))))


def _of_variable(text: str) -> Iterator[Key]:
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    for number, entry in enumerate(entries, 1):
        name, equals, secret = entry.partition("=")
        where = f"{VARIABLE}: entry {number}"  # without "=" it may be a key, so it is not shown
        if not equals or not NAME.fullmatch(name.strip()):
            raise BadRequest(f"{where} has no name; write name=key")
        yield Key(name.strip(), _digest(where, secret.strip()))


def _of_file(path: str) -> Iterator[Key]:
    content = _parsed(path)
    entries = content.pop("keys", {})
    if content or not isinstance(entries, dict):
        raise BadRequest(f"{path} has more than the table [keys]; write all keys under it")
    for number, (name, entry) in enumerate(entries.items(), 1):
        where = f"{path}: entry {number}"
        if not NAME.fullmatch(name):
            raise BadRequest(f"{where} has a name that is not 1 to 64 of A-Z a-z 0-9 _ . @ -")
        yield _key(f"{where} ({name})", name, entry)


def _parsed(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequest(f"keys_file is {path}, which cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):  # their messages may quote a key
        raise BadRequest(f"{path} is no TOML file; see the example in the documentation") from None


def _key(where: str, name: str, entry: Any) -> Key:
    if not isinstance(entry, dict):
        return Key(name, _digest(where, entry))
    known = ("key", "sha256", *QUOTAS)
    for given in entry:
        if given not in known:
            raise BadRequest(f"{where} has no setting {given!r}; {nearest(given, known)}")
    if ("key" in entry) == ("sha256" in entry):
        raise BadRequest(f"{where} needs either key or sha256")
    quotas = {quota: _count(where, quota, entry[quota]) for quota in QUOTAS if quota in entry}
    secret = entry["key"] if "key" in entry else f"{HASHED}{entry['sha256']}"
    return Key(name, _digest(where, secret), **quotas)


def _count(where: str, name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise BadRequest(f"{where}: {name} is {value!r}; it must be a whole number from 1 on")
    return value


def _digest(where: str, secret: Any) -> bytes:
    """Of a key, or of `sha256:` and what is known of it."""
    if not isinstance(secret, str):
        raise BadRequest(f"{where}: the key is no text")
    if secret.startswith(HASHED):
        digits = secret.removeprefix(HASHED).strip().lower()
        if not re.fullmatch("[0-9a-f]{64}", digits):
            raise BadRequest(f"{where}: a SHA-256 has 64 hexadecimal digits; this has not")
        return bytes.fromhex(digits)
    if len(secret) < MIN_LENGTH:
        raise BadRequest(
            f"{where}: the key has {len(secret)} characters; give it at least {MIN_LENGTH}"
        )
    return hash_of(secret)
