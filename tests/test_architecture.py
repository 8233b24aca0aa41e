"""The cut of the package: imports point one way, light parts stay light, files name no machine."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
PACKAGE = REPO / "rstitch"

LAYERS = (
    {"types", "errors", "config", "registry", "files"},
    {"costs", "sampling", "shortlist", "text"},
    {"policy"},
    {"engine"},
)
"""Units of the package; each may import its own layer and those before it."""
ENGINE, ELSE, CLI = 3, 4, 5
"""Everything else, the package's own exports included, comes after these, the commands last."""

NO_TORCH = {"types", "errors", "config", "registry", "files", "costs"}
HEAVY = {"torch", "transformers"}
ENGINE_NEEDS = {"torch", "transformers", "numpy"} | {
    "safetensors",
    "tokenizers",
    "triton",
    "huggingface_hub",
}
"""What the engine may import; the second four come with the first."""

MODULES = sorted(PACKAGE.rglob("*.py"))
UNITS = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES} - {"__init__"}


def layer(unit: str) -> int:
    """Position of a unit such as "engine" in the order of imports."""
    if unit in ("cli", "__main__"):
        return CLI
    return next((i for i, units in enumerate(LAYERS) if unit in units), ELSE)


def dotted(path: Path) -> str:
    """rstitch/engine/__init__.py -> rstitch.engine"""
    parts = path.relative_to(REPO).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import anywhere in a module of that package."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) + 1 - node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    yield from read_imports(path.read_text(), dotted(path.parent / "__init__.py"))


def unit_of(name: str) -> str | None:
    """The unit that a dotted name lies in; "" for the package's own exports, None for others'."""
    root, _, rest = name.partition(".")
    if root != "rstitch" or rest == "__version__":
        return None
    unit = rest.split(".")[0]
    return unit if unit in UNITS else ""


def own_unit(path: Path) -> str:
    return unit_of(dotted(path)) or ""


def test_imports_point_one_way() -> None:
    wrong = [
        f"{path.relative_to(REPO)}:{line} imports {name}"
        for path in MODULES
        for line, name in imports(path)
        if (unit := unit_of(name)) is not None and layer(unit) > layer(own_unit(path))
    ]
    assert not wrong, "\n".join(wrong)


def test_light_units_import_no_torch_not_even_through_others() -> None:
    wrong = [
        f"{path.relative_to(REPO)}:{line} imports {name}"
        for path in MODULES
        if own_unit(path) in NO_TORCH
        for line, name in imports(path)
        if name.split(".")[0] in HEAVY or unit_of(name) not in {None, *NO_TORCH}
    ]
    assert not wrong, "\n".join(wrong)


def test_engine_runs_on_a_machine_that_has_torch_transformers_and_numpy() -> None:
    allowed = ENGINE_NEEDS | set(sys.stdlib_module_names) | {"rstitch"}
    wrong = [
        f"{path.relative_to(REPO)}:{line} imports {name}"
        for path in MODULES
        if layer(own_unit(path)) <= ENGINE
        for line, name in imports(path)
        if name.split(".")[0] not in allowed
    ]
    assert not wrong, "\n".join(wrong)


KERNELS = {"rstitch.engine.paged.kernels", "rstitch.engine.fused.kernels"}
"""Imported where there is Triton, by those who have looked."""


def test_triton_is_imported_by_kernels_alone() -> None:
    """CPU builds of torch come without it."""
    users = {
        dotted(path) for path in MODULES for _, name in imports(path) if "triton" in name.split(".")
    }
    assert users == KERNELS


def test_memory_below_tensors_knows_none() -> None:
    """Page accounting can be tested, and read, by itself."""
    names = {name.split(".")[0] for _, name in imports(PACKAGE / "engine/paged/pages.py")}
    assert names <= {"__future__", "collections"}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import rstitch.cli.main", "rstitch.cli.main"),
        ("from rstitch import cli", "rstitch.cli"),
        ("from ... import cli", "rstitch.cli"),
        ("from ...cli.main import run", "rstitch.cli.main.run"),
        ("from . import problem", "rstitch.pairs.recipe.problem"),
        ("from .problem import Step", "rstitch.pairs.recipe.problem.Step"),
        ("def f():\n    import rstitch.pairs", "rstitch.pairs"),
        ("if TYPE_CHECKING:\n    import rstitch.pairs", "rstitch.pairs"),
    ],
)
def test_import_reader(source: str, name: str) -> None:
    found = list(read_imports(source, "rstitch.pairs.recipe"))
    assert found == [(len(source.splitlines()), name)]


def test_layers_are_ordered() -> None:
    units = ("types", "costs", "policy", "engine", "baselines", "server", "", "cli")
    order = [layer(unit) for unit in units]
    assert order == [0, 1, 2, ENGINE, ELSE, ELSE, ELSE, CLI]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=120
    )


REPORT = f"import sys; sys.exit(', '.join(sorted({HEAVY!r} & set(sys.modules))) or 0)"


def test_import_loads_no_torch() -> None:
    done = run_python(f"import rstitch; {REPORT}")
    assert done.returncode == 0, f"import rstitch loaded {done.stderr}"


@pytest.mark.skipif(not (PACKAGE / "cli/main.py").exists(), reason="there is no cli/main.py yet")
def test_help_loads_no_torch() -> None:
    done = run_python(f"""
import sys
from rstitch.cli.main import run
sys.argv = ["rstitch", "--help"]
try:
    status = run()
except SystemExit as stop:
    status = stop.code
if status:
    sys.exit(f"exit status {{status}}")
{REPORT}
""")
    assert done.returncode == 0, f"rstitch --help: {done.stderr}"
    assert "demo" in done.stdout


FORBIDDEN = (
    b"/wo" + b"rk/",
    b"/ro" + b"ot/",
    b"/opt/" + b"pypi",
    b"/opt/" + b"wheels",
    b"download." + b"pytorch.org",
    b"pypi" + b".org",
    b"python" + b"hosted.org",
    b"--index" + b"-url http",
    b"--extra-" + b"index-url http",
)
"""Paths of the machine something was made on, and package indexes: users choose their own."""


def test_no_file_names_a_machine_or_a_package_index() -> None:
    if not (REPO / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=REPO,
        capture_output=True,
        check=True,
    )
    files = [REPO / name.decode() for name in listed.stdout.split(b"\0") if name]
    assert files
    wrong = [
        f"{path.relative_to(REPO)}: {word.decode()}"
        for path in files
        if path.is_file()
        for content in [path.read_bytes()]
        for word in FORBIDDEN
        if word in content
    ]
    assert not wrong, "\n".join(wrong)
