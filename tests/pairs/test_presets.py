"""Pair files: those that ship, one of one's own, and what is refused by name."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from rstitch import load
from rstitch.errors import BadPair, BadRequest
from rstitch.pairs import BUILTIN, ORDER, names, preset
from rstitch.types import Sampling, Side
from tests.pair import QUESTION, pair

PAPER = ("r1-7b", "r1-14b", "qwq-32b")


def write(directory: Path, text: str) -> str:
    path = directory / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def mine(slm: str = "", llm: str = "", head: str = "") -> str:
    sides = (("slm", pair().slm, slm), ("llm", pair().llm, llm))
    tables = [f'[{label}]\npath = "{path}"\n{more}\n' for label, path, more in sides]
    return head + "\n" + "".join(tables)


def test_every_pair_that_ships_can_be_read() -> None:
    assert names()[0] == "builtin" and {*PAPER, "qwen3-8b", "qwen3-32b"} <= set(names())
    for name in names():
        found = preset(name)
        assert found.name == name and found.slm.source and found.llm.source
        assert found.checked == name.startswith("builtin"), name
        assert found.measured == (name in ("builtin", "builtin-order")), name


@pytest.mark.parametrize(("name", "home"), [("builtin", BUILTIN), ("builtin-order", ORDER)])
def test_a_built_in_pair_has_the_tau_of_its_card(name: str, home: Path) -> None:
    found = preset(name)
    assert found.tau == json.loads((home / "pair.json").read_text())["tau"]
    assert [Path(found.side(side).path) for side in Side] == [home / "slm", home / "llm"]


@pytest.mark.parametrize("name", PAPER)
def test_a_pair_of_the_paper(name: str) -> None:
    """Only L1 is told how long to think; QwQ ends a text with another token than R1."""
    found = preset(name)
    assert found.tau == 0.02 and found.slm.suffix and not found.llm.suffix
    end = {side: found.side(side).special_tokens["end"] for side in Side}
    assert (end[Side.SLM] == end[Side.LLM]) == name.startswith("r1")
    assert found.sampling is not None and found.sampling.temperature == 0.6


UNPINNED = {"l3lab/L1-1.5B-Short"}
"""No revision is known of these."""


@pytest.mark.parametrize("name", [name for name in names() if not name.startswith("builtin")])
def test_models_of_the_hub_are_pinned_to_a_commit(name: str) -> None:
    for side in Side:
        one = preset(name).side(side)
        assert (one.revision is None) == (one.id in UNPINNED), one.id
        for commit in (one.revision, one.gguf_revision):
            assert commit is None or re.fullmatch("[0-9a-f]{40}", commit), commit
        assert one.gguf or not one.gguf_revision


def test_a_pair_file_of_one_s_own(tmp_path: Path) -> None:
    text = mine('suffix = "Be brief."', head='tau = "3nats"\nsampling = { temperature = 0.5 }')
    with load(write(tmp_path, text)) as stitch:
        assert stitch.defaults.sampling == Sampling(0.5)
        assert stitch.defaults.sampling_line() == "sampling: temperature 0.5 (the pair mine)"
        tokens = len(stitch.tokenizer)
        answer = stitch.generate(QUESTION, max_tokens=2)
        slm, llm = (stitch.tokenizer.decode(list(answer.trace.prompts[s])) for s in Side)
    assert answer.trace.policy["tau"] == pytest.approx(3 / math.log(tokens))
    assert f"{QUESTION} Be brief.<|im_end|>" in slm and "brief" not in llm


def test_a_path_is_relative_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(pair().slm.parent)
    text = '[slm]\npath = "models/slm"\n[llm]\npath = "models/llm"\n'
    found = preset(write(tmp_path, text))
    assert Path(found.slm.path) == pair().slm.resolve()


def test_a_role_that_the_tokenizer_does_not_have(tmp_path: Path) -> None:
    text = mine('special_tokens = { end = "<fin>" }')
    with pytest.raises(BadPair, match="has no special token '<fin>' to be its end"):
        load(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (mine(head="tua = 1"), "unknown key 'tua'; known: tau, sampling, checked, measured, note"),
        (mine(head='tau = "low"'), "tau is 'low'; write 0.02 or '0.24nats'"),
        (mine(head="tau = true"), "tau is True; it must be int"),
        (mine(head="measured = 1"), "measured is 1; it must be bool"),
        (
            mine("suffx = 'x'"),
            "mine.toml, slm: unknown key 'suffx'; known: id, path, gguf, revision, gguf_revision",
        ),
        (mine(llm="revision = 3"), "mine.toml, llm: revision is 3; it must be str"),
        (mine('id = "a/b"'), "mine.toml, slm: give either id or path"),
        (mine(head="[sampling]\ntemp = 1"), "mine.toml, sampling: unknown key 'temp'; known: temp"),
        (mine(head="[sampling]\ntop_p = 0"), "top_p is 0; it must be above 0"),
        ('[slm]\nid = "a/b"\n', "has no [llm] table"),
        ("[slm", "is no TOML file: "),
    ],
)
def test_a_pair_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadRequest) as error:
        preset(write(tmp_path, text))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_pair_file_that_is_not_there() -> None:
    with pytest.raises(BadRequest, match=r"the pair no/such.toml cannot be read: No such file"):
        preset("no/such.toml")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(BadRequest, match="unknown pair 'r1'; known: builtin, .*qwq-32b, r1-14b"):
        preset("r1")


def test_gguf_files_of_named_pairs_are_files_of_the_hub() -> None:
    known = [side.gguf for name in names() for side in (preset(name).slm, preset(name).llm)]
    assert sum(bool(gguf) for gguf in known) >= 7
    for gguf in filter(None, known):
        repository, colon, file = gguf.partition(":")
        assert colon and repository.count("/") == 1 and file.endswith(".gguf"), gguf
