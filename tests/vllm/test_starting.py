"""What vLLM's processes find in their environment."""

from __future__ import annotations

import os

import pytest

from rstitch.vllm.starting import THREADS, starting


@pytest.mark.parametrize(("rows", "part"), [(1, 1), (2, 2), (16, 2)])
def test_two_engines_share_the_cores_unless_only_one_is_at_work(
    rows: int, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(THREADS, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    with starting("cpu", rows):
        assert os.environ[THREADS] == str(8 // part)
    assert THREADS not in os.environ
    with starting("cuda", rows):
        assert THREADS not in os.environ


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREADS, "3")
    with starting("cpu", 1):
        assert os.environ[THREADS] == "3"
