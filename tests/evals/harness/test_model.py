"""`--model rstitch` with lm-evaluation-harness itself, on a task of local files, offline."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rstitch.errors import BadRequest
from tests.evals.doubles import plan, run
from tests.pair import pair

if find_spec("lm_eval") is None:
    pytest.skip("needs rstitch[harness]", allow_module_level=True)

TASK = """
task: apples
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_text: "{{{{problem}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: []
  do_sample: false
  max_gen_toks: 12
process_results: !function right.right
metric_list:
  - metric: right
    aggregation: mean
    higher_is_better: true
"""
RIGHT = """
def right(doc, results):
    return {"right": float(doc["answer"] in results[0])}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A task for the harness: the problems of `doubles.Apples`, graded as it grades."""
    problems = plan(n=6).problems
    rows = [{"id": p.id, "problem": p.text, "answer": p.answer} for p in problems]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "apples.yaml").write_text(TASK.format(data=tmp_path / "data.jsonl"))
    (tmp_path / "right.py").write_text(RIGHT)
    return tmp_path


@pytest.fixture
def model() -> Any:
    from rstitch.evals.harness import Stitched

    made = []

    def make(**more: Any) -> Any:
        made.append(Stitched(**pair().names, **{"tau": 0.6, "thinking": "keep", **more}))
        return made[-1]

    yield make
    for one in made:
        one.stitch.close()


@pytest.mark.filterwarnings("ignore")  # the harness's own and its libraries'
@pytest.mark.parametrize("method", ["stitched", "llm", "slm"])
def test_its_scores_are_those_of_rstitch_eval(
    method: str, model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lm_eval
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    label = "stitched,tau=0.6" if method == "stitched" else method
    records = run(plan(label, n=6), folder / "run").records
    found = lm_eval.simple_evaluate(
        model=model(method=method, **({} if method == "stitched" else {"tau": None})),
        tasks=["apples"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        apply_chat_template=True,
        bootstrap_iters=0,
    )
    assert found is not None
    ours = {one["problem"]: (one["text"], float(one["right"])) for one in records}
    theirs = {
        one["doc"]["id"]: (one["resps"][0][0], one["right"]) for one in found["samples"]["apples"]
    }
    assert theirs == ours
    mean = sum(right for _, right in ours.values()) / len(ours)
    assert found["results"]["apples"]["right,none"] == pytest.approx(mean)


def request(text: str, **given: Any) -> Any:
    from lm_eval.api.instance import Instance

    return Instance("generate_until", {}, (text, {"max_gen_toks": 12, **given}), 0)


def test_what_is_asked_reaches_the_engine(model: Any) -> None:
    """Raw text, a system prompt, an answer begun, repeats, and stops."""
    one = model()
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Mia has?"}]
    begun = [*chat, {"role": "assistant", "content": "So"}]
    raw, told, more = one.generate_until(
        [request("Mia has"), *(request(one.apply_chat_template(m)) for m in (chat, begun))]
    )
    plain = one.stitch.generate("Mia has", raw=True, max_tokens=12).text
    assert raw == plain and told == one.stitch.generate(chat, max_tokens=12).text != more
    first, again = one.generate_until([request("Mia", temperature=1.0)] * 2)
    assert first != again, "repeats are samples: odds of equal ones below 1e-6"
    assert [first, again] == one.generate_until([request("Mia", temperature=1.0)] * 2)
    stop = plain[3:5]
    assert one.generate_until([request("Mia has", until=[stop])]) == [plain.partition(stop)[0]]


def test_the_thought_is_stripped_and_stops_are_for_the_answer(model: Any) -> None:
    from rstitch.evals.harness.asked import Asked
    from rstitch.evals.methods.base import Written
    from rstitch.types import Sampling

    one = model(thinking="strip")
    asked = Asked(("\n\n",), Sampling(), 9, messages=[{"role": "user", "content": "u"}])
    assert one._stops(asked) == ()
    written = Written("a\n\nb</think>\n\n7 apples\n\nQuestion:", True, "stop")
    assert one._text(written, asked) == "7 apples"
    assert one._text(Written("never ends", True, "length"), asked) == ""


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"thinking": "no"}, "thinking is 'no'; it must be strip or keep"),
        ({"method": "slim"}, "unknown method 'slim'; known: brief"),
        (
            {"method": "speculative", "tau": None},
            "method=speculative answers one question at a time",
        ),
        (
            {"method": "vllm", "tau": None},
            "method=vllm writes beside the pair's engine",
        ),
        (
            {"method": "coin", "tau": None},
            "method=coin is settled on a pilot for p, which rstitch eval has",
        ),
        ({"widow": 8}, "method 'stitched' has no parameter 'widow'"),
    ],
)
def test_what_is_wrong_is_one_line(model: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message) as found:
        model(**more)
    assert "\n" not in str(found.value)


def test_likelihoods_are_refused(model: Any) -> None:
    one, asked = model(method="slm", tau=None), request("x")
    asked.task_name = "hellaswag"
    for ask in (one.loglikelihood, one.loglikelihood_rolling):
        with pytest.raises(BadRequest, match="hellaswag asks for likelihoods, which an answer of"):
            ask([asked])


@pytest.mark.slow
def test_the_command_line_knows_the_model(folder: Path) -> None:
    names = ",".join(f"{key}={value}" for key, value in pair().names.items())
    command = [
        sys.executable, "-m", "rstitch.evals.harness", "run", "--model", "rstitch", "--model_args",
        f"{names},thinking=keep", "--tasks", "apples", "--include_path", str(folder),
        "--apply_chat_template",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "|apples|" in done.stdout, done.stderr
