"""Study files: those that ship, and what is wrong with one of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from rstitch.errors import BadRequest
from rstitch.evals import tasks
from rstitch.evals.drawn import by_group
from rstitch.evals.methods import make, parse
from rstitch.evals.study import spec
from rstitch.evals.study.cells import cells, plain, shares
from rstitch.evals.study.paper import figures
from rstitch.evals.task import Problem
from rstitch.pairs import preset

GOOD = 'title = "t"\npair = "builtin"\ntasks = ["test"]\nbudgets = [8]\ntaus = [0.1]\n'


@pytest.mark.parametrize("name", spec.names())
def test_a_study_that_ships(name: str) -> None:
    """Its pair, tasks and methods exist, and the paper has figures for its tables."""
    study = spec.load(name)
    preset(study.pair)
    for task in study.tasks:
        kind, _ = parse(task)
        assert kind in tasks.TASKS.known()
        if study.paper:
            for method in ("llm", "slm", "speculative", *study.rules):
                assert all(figures(study.paper, b, method, task) for b in study.budgets), method
    for cell in cells(study):
        for label in cell.methods:
            kind, params = parse(label)
            make(kind, **params)
    assert study.samples >= 4 and (study.sampling["temperature"], study.sampling["top_p"]) == (
        0.6,
        0.95,
    )


def test_the_paper_s_figures_are_those_of_the_page() -> None:
    found = figures("32B", 8192, "stitched,tau=0.02", "math500")
    assert found is not None
    assert (found.right, found.seconds) == (89.80, 43.49) and round(found.speed_up, 2) == 4.10
    slm = figures("7B", 16000, "slm", "dir/aime24.jsonl")
    assert slm is not None and (slm.right, slm.seconds) == (10.0, 5.91)
    for other in (
        figures("", 8192, "llm", "math500"),
        figures("7B", 4096, "llm", "math500"),
        figures("7B", 8192, "coin", "math500"),
        figures("7B", 8192, "llm", "amc23"),
    ):
        assert other is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("tau = 1", "unknown key 'tau'; known: title, pair"),
        ("samples = 0", "samples is 0; it must be at least 1"),
        ("samples = true", "samples is True; it must be a whole number"),
        ('rivals = "speculative"', "rivals is 'speculative'; it must be a list of texts"),
        ("like = 0.2", r"like is 0.2; it must be one of taus, \[0.1\]"),
        ('paper = "70B"', "paper is '70B'; it must be 7B, 14B or 32B"),
        ("problems = 0", "problems is 0; it must be at least 1"),
        ('controls = ["coin", "coin"]', r"controls is \['coin', 'coin'\]; give each once"),
        ("[sampling]\ntemperature = -1", "temperature is -1"),
        ("[sampling]\nheat = 1", "unexpected keyword argument 'heat'"),
        ("[settings]\nmax_rows = 0", "max_rows is 0; it must be at least 1"),
        ('[expected]\nllm = "long"', r"it must be a table, \[expected\], of numbers"),
        ("tasks", "is no TOML file"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path, more: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"{GOOD}{more}\n")
    with pytest.raises(BadRequest, match=message) as found:
        spec.load(str(path))
    assert str(path) in str(found.value) and "\n" not in str(found.value)


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="unknown study 'paper'; known: builtin, paper-14b"):
        spec.load("paper")
    with pytest.raises(BadRequest, match="cannot be read: No such file"):
        spec.load(str(tmp_path / "none.toml"))
    (tmp_path / "less.toml").write_text('title = "t"\n')
    with pytest.raises(BadRequest, match="'pair' is missing"):
        spec.load(str(tmp_path / "less.toml"))


def test_the_cells_of_the_paper_s_study() -> None:
    """Latencies first, everything on all problems, both drafts; names are directories."""
    study = spec.load("paper-7b")
    found = cells(study)
    assert [c.kind for c in found] == ["latency"] * 10 + ["accuracy"] * 10 + ["draft"] * 10
    assert len({c.name for c in found}) == 30 and found[0].name == "latency-8192-aime24"
    assert shares(study) == [13, 13, 13, 13, 12]
    accuracy, latency, draft = found[10], found[0], found[20]
    assert set(accuracy.methods) == {"llm", "slm", *study.rules, *study.controls}
    assert set(latency.methods) == {"llm", "slm", *study.rules, "speculative"}
    assert draft.methods == ("speculative",) and draft.problems == latency.problems
    assert accuracy.reference == "stitched,tau=0.02" and accuracy.samples == 4


def test_each_group_has_its_share_of_the_chosen() -> None:
    every = [Problem(f"p-{i}", "", "", f"level {i % 2 if i < 40 else 2}") for i in range(60)]
    found = by_group(every, 12)
    groups = [one.group for one in found]
    assert [groups.count(f"level {i}") for i in range(3)] == [4, 4, 4]
    assert by_group(every, 12) == found and by_group(every, None) == by_group(every, 99) == every


def test_names_of_tasks_are_names_of_files() -> None:
    assert plain("dir/mine.jsonl,instruction=Be exact.") == "mine.jsonl-instruction-Be-exact."
    assert plain("test,seed=7") == "test-seed-7"
