"""Runs that are killed, resumed, changed, torn, shared, or out of disk."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from rstitch.errors import BadRun
from rstitch.evals import directory
from rstitch.evals.directory import CONFIG, RECORDS, begin, create, opened

ASKED = {"max_tokens": 400, "pair": {"name": "builtin", "tau": 0.03}, "methods": ["llm", "slm"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create(tmp_path / "run", ASKED, {"llm": {"name": "llm"}})
    return tmp_path / "run"


def line(i: int, **more: Any) -> dict[str, Any]:
    return {"type": "answer", "problem": f"p-{i}", **more}


def test_a_run_is_begun_gone_on_with_and_read(path: Path) -> None:
    assert begin(path.parent / "new", ASKED) is None
    config = begin(path, ASKED)
    assert config is not None and config["asked"] == ASKED
    for i in range(2):
        with opened(path) as run:
            assert run.records == [line(j) for j in range(i)]
            run.add(line(i))
    assert list(directory.read_records(path)) == [line(0), line(1)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 500}, r"begun with max_tokens = 400, now it is 500; give the same"),
        ({"pair": {"name": "builtin", "tau": 0.1}}, r"begun with pair.tau = 0.03, now it is 0.1"),
        ({"methods": ["llm"]}, r'begun with methods = \["llm", "slm"\], now it is \["llm"\]'),
        ({"seed": 1}, "begun with seed = null, now it is 1"),
    ],
)
def test_a_changed_configuration_is_refused_by_its_key(
    path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRun, match=message):
        begin(path, {**ASKED, **changes})


def test_what_is_no_run_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(BadRun, match="holds files but no config.json"):
        begin(tmp_path, ASKED)
    with pytest.raises(BadRun, match="is a file; name a directory"):
        begin(tmp_path / "thesis.tex", ASKED)
    with pytest.raises(BadRun, match="cannot be written: "):
        create(tmp_path / "thesis.tex" / "run", ASKED, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ('{"version": 2}', "version 2, this rstitch reads 1"),
        ('{"version": 1, "asked": [], "methods": {}}', "no configuration"),
        ("[]", "cannot be read"),
    ],
)
def test_a_damaged_configuration(path: Path, text: str, message: str) -> None:
    (path / CONFIG).write_text(text)
    with pytest.raises(BadRun, match=message):
        begin(path, ASKED)


def test_a_torn_last_line_is_owed_again(path: Path) -> None:
    whole = json.dumps(line(0)) + "\n"
    for torn in ('{"type": "ans', json.dumps(line(1))):  # a whole one without its line feed too
        (path / RECORDS).write_text(whole + torn)
        with opened(path) as run:
            assert run.records == [line(0)]
            run.add(line(2))
        assert (path / RECORDS).read_text().splitlines()[1:] == [
            json.dumps(line(2), separators=(",", ":"))
        ]


def test_a_broken_line_is_named(path: Path) -> None:
    for broken in ("{}", "nonsense", "[1]"):
        (path / RECORDS).write_text(f"{json.dumps(line(0))}\n{broken}\n{json.dumps(line(1))}\n")
        with pytest.raises(BadRun, match="records.jsonl, line 2: not a record"):
            opened(path)


def test_a_run_is_open_once(path: Path) -> None:
    with opened(path), pytest.raises(BadRun, match="is being run by another process"):
        opened(path)
    opened(path).__exit__(None, None, None)


def test_a_run_that_is_being_begun_is_taken(tmp_path: Path) -> None:
    """Two of them would settle their methods at once, and the later write over the other's."""
    path = tmp_path / "run"
    file = directory.claim(path)
    with pytest.raises(BadRun, match="is being run by another process"):
        directory.claim(path)
    assert begin(path, ASKED) is None, "what it leaves when it is killed is no run yet"
    os.close(file)
    create(path, ASKED, {})
    with opened(path, directory.claim(path)) as run:
        run.add(line(0))


def test_a_configuration_is_never_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (path / CONFIG).read_text()

    def no_links(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    for link in (os.link, no_links):
        monkeypatch.setattr(os, "link", link)
        with pytest.raises(BadRun, match="has become a run meanwhile; give the command again"):
            create(path, {"max_tokens": 1}, {})
        assert (path / CONFIG).read_text() == before
        create(path.parent / f"{link.__name__}", ASKED, {})
        assert begin(path.parent / f"{link.__name__}", ASKED) is not None
        assert sorted(one.name for one in path.iterdir()) == [CONFIG]


def test_a_place_that_cannot_be_written_is_noticed_early(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.check(path)
    directory.check(path.parent / "new" / "run")
    assert not (path.parent / "new").exists(), "nothing is made"
    (path.parent / "file").touch()
    for bad in ("file", "file/run"):
        with pytest.raises(BadRun, match="is a file"):
            directory.check(path.parent / bad)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(BadRun, match="cannot be written: .* is not yours to write in"):
        directory.check(path.parent / "new" / "run")


def test_a_full_disk_leaves_whole_lines(path: Path) -> None:
    """The bound on a file's size stands for the disk: the system writes half a line, then fails."""
    with opened(path) as run:
        run.add(line(0))
        size = os.path.getsize(path / RECORDS)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, before[1]))
        try:
            with pytest.raises(BadRun, match="cannot be written: .*; what was finished is kept: "):
                run.add(line(1, text="x" * 200))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert os.path.getsize(path / RECORDS) == size and run.records == [line(0)]
        run.add(line(1))
    assert list(directory.read_records(path)) == [line(0), line(1)]


def test_a_text_that_no_file_can_hold(path: Path) -> None:
    with opened(path) as run:
        run.add(line(0, text="\ud800\u2028"))
    (record,) = directory.read_records(path)
    assert record["text"] == "?\u2028"
