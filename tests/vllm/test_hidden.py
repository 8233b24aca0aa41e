"""How hidden states are heard: the plugin, and what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import torch

from rstitch.vllm import hidden
from rstitch.vllm.hidden import ALLOWED, ASKED, NAME, Ear
from rstitch.vllm.starting import starting
from tests.vllm.asking import needs_vllm

LISTENS = """
import sys, warnings
warnings.simplefilter("ignore")
from vllm.plugins import load_general_plugins
load_general_plugins()
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from rstitch.vllm import hidden
hidden.register()  # a second time
sys.exit(type(LogitsProcessor.__new__(LogitsProcessor)) is not LogitsProcessor)
"""


def test_what_was_heard_is_taken_once() -> None:
    ear, states = Ear(), torch.zeros(2, 3)
    assert ear.take() is None
    ear.hear(torch.ones(1, 3))
    ear.hear(states)
    assert ear.take() is states
    assert ear.take() is None


@pytest.mark.parametrize("asked", [None, "", str(os.getpid())])
def test_it_does_nothing_where_nobody_asked(
    asked: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor in the process that asks: its own vLLM is the user's."""
    if asked is None:
        monkeypatch.delenv(ASKED, raising=False)
    else:
        monkeypatch.setenv(ASKED, asked)
    before = set(sys.modules)
    hidden.register()
    assert {name for name in set(sys.modules) - before if name.startswith("vllm")} == set()


def test_processes_started_by_us_are_asked_and_no_others() -> None:
    with starting("cpu"):
        assert os.environ[ASKED] == str(os.getpid())
        assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert ASKED not in os.environ


@pytest.mark.parametrize("asked", ["", "1"])
def test_the_layer_is_replaced_in_those_alone(asked: str) -> None:
    needs_vllm()
    env = {**os.environ, ASKED: asked, "VLLM_LOGGING_LEVEL": "ERROR"}
    found = subprocess.run([sys.executable, "-c", LISTENS], env=env, timeout=300, check=False)
    assert found.returncode == (asked == "1")


def test_it_is_installed_where_vllm_is() -> None:
    needs_vllm()
    assert hidden.missing(None) == hidden.missing(f"other,{NAME}") == ""


def test_a_plugin_that_vllm_does_not_load_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint(NAME, "rstitch.vllm.hidden:register", hidden.GROUP)
    monkeypatch.setattr(hidden, "entry_points", lambda **_: [entry])
    assert hidden.missing(None) == ""
    assert hidden.missing("other") == f"{ALLOWED} is 'other': add 'rstitch' to it"
    monkeypatch.setattr(hidden, "entry_points", lambda **_: [])
    assert "install rstitch again" in hidden.missing(None)
