"""Configuration: who says it last, where each value came from, and what is refused by name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch.config import EngineConfig
from rstitch.errors import BadRequest
from rstitch.server.config import TABLES, Listen, ServerConfig, known
from rstitch.server.resolve import load
from rstitch.server.settings import written


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Write a file, give its path."""

    def write(text: str) -> str:
        path = tmp_path / "rstitch.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


# -- who says it last -----------------------------------------------------------------------------


def test_nothing_said_is_the_defaults() -> None:
    resolved = load()
    assert resolved.config == ServerConfig()
    assert set(resolved.origins.values()) == {"default"}
    assert (resolved.config.listen.host, resolved.config.listen.port) == ("127.0.0.1", 8000)


def test_a_flag_is_before_a_variable_is_before_the_file(file: Any) -> None:
    path = file("[listen]\nport = 1\nhost = 'a'\nserved_name = 'file'\n[limits]\nmax_n = 2\n")
    environ = {"RSTITCH_PORT": "2", "RSTITCH_HOST": "b"}
    resolved = load(path, environ, {"port": 3, "served_name": None})
    listen = resolved.config.listen
    assert (listen.port, listen.host, listen.served_name) == (3, "b", "file")
    origins = {name: resolved.origins[name] for name in ("port", "host", "served_name", "max_n")}
    assert origins == {"port": "--port", "host": "RSTITCH_HOST", "served_name": path, "max_n": path}
    assert resolved.origins["queue_length"] == "default"


def test_the_file_may_be_named_by_a_variable(file: Any) -> None:
    path = file("[listen]\nport = 1\n")
    assert load(None, {"RSTITCH_CONFIG": path}).config.listen.port == 1
    assert load(path, {"RSTITCH_CONFIG": "/nowhere"}).config.listen.port == 1


def test_an_engine_setting_reaches_the_engine(file: Any) -> None:
    path = file("[engine]\nkv_memory = 4\ndtype = 'bfloat16'\n")
    config = load(path, {"RSTITCH_MAX_ROWS": "8"}).config
    assert config.engine == EngineConfig(kv_memory=4.0, dtype="bfloat16", max_rows=8)


def test_strangers_in_the_environment_are_no_concern() -> None:
    environ = {"PATH": "/bin", "RSTITCHED": "1", "RSTITCH_API_KEYS": "ann=secret-secret-secret"}
    assert load(None, environ).config == ServerConfig()


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("8001", "port", 8001),
        ("2.5", "request_seconds", 2.5),
        ("3", "request_seconds", 3.0),
        ("On", "trust_remote_code", True),
        ("0", "trust_remote_code", False),
        ("https://a.org, https://b.org:8443", "cors", ("https://a.org", "https://b.org:8443")),
        ("", "cors", ()),
        ("", "kv_memory", None),
        ("0.02", "tau", 0.02),
        ("0.24nats", "tau", "0.24nats"),
        (" /no_think ", "slm_suffix", " /no_think "),
        ("finish", "on_side_failure", "finish"),
    ],
)
def test_variables_are_texts_of_their_kind(text: str, name: str, value: Any) -> None:
    setting = known()[name]
    config = load(None, {setting.variable: text}).config
    assert config.value(setting) == value
    assert type(config.value(setting)) is type(value)


def test_flags_are_taken_as_values_or_as_texts() -> None:
    flags = {"cors": ["https://a.org"], "tau": "0.03", "kv_memory": 2, "slm_suffix": ""}
    config = load(None, {}, flags).config
    assert config.listen.cors == ("https://a.org",)
    assert (config.models.tau, config.engine.kv_memory, config.models.slm_suffix) == (0.03, 2.0, "")


# -- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[listen]\nprot = 1", "{path}: [listen] has no setting 'prot'; did you mean port?"),
        (
            "[listen]\nmax_n = 1",
            "{path}: [listen] has no setting 'max_n'; it belongs under [limits]",
        ),
        ("port = 1", "{path}: 'port' stands outside of a table; it belongs under [listen]"),
        ("prt = 1", "{path}: 'prt' stands outside of a table; did you mean port?"),
        ("[limit]\nmax_n = 1", "{path}: unknown table [limit]; did you mean limits?"),
        ("[listen]\nport = '1'", "{path}: port is '1'; it must be a whole number"),
        ("[listen]\nport = true", "{path}: port is True; it must be a whole number"),
        ("[listen]\nport = 1.0", "{path}: port is 1.0; it must be a whole number"),
        ("[listen]\ncors = '*'", "{path}: cors is '*'; it must be a list of texts"),
        ("[listen]\ncors = [1]", "{path}: cors is [1]; it must be a list of texts"),
        ("[engine]\nkv_memory = inf", "{path}: kv_memory is inf; it must be a number"),
        ("[engine]\ncompile = 1", "{path}: compile is 1; it must be true or false"),
        (
            "[engine]\ndtype = 'int8'",
            "{path}: dtype is 'int8'; it must be 'float32', 'bfloat16' or 'float16'",
        ),
        ("[models]\ntau = false", "{path}: tau is False; it must be a number or a text"),
        (
            "[models]\ntau = 'low'",
            "{path}: tau is 'low'; it must be a number such as 0.02, or 0.24nats",
        ),
        (
            "[listen]\nport = 70000",
            "{path}: port is 70000; it must be at least 0 and at most 65535",
        ),
        ("[engine]\nmax_rows = 0", "{path}: max_rows is 0; it must be at least 1"),
        ("[limits]\nrequest_seconds = 0", "{path}: request_seconds is 0.0; it must be above 0"),
        (
            "[listen]\nhost = ''",
            "{path}: host is ''; it must have characters, and no spaces among them",
        ),
        ("[listen]\nport = ", "{path} is no TOML file: Invalid value (at end of document)"),
    ],
)
def test_a_file_is_refused_by_name(file: Any, content: str, message: str) -> None:
    path = file(content)
    with pytest.raises(BadRequest) as refused:
        load(path)
    assert str(refused.value) == message.format(path=path)


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("RSTITCH_PROT", "1", "unknown variable RSTITCH_PROT; did you mean RSTITCH_PORT?"),
        (
            "RSTITCH_API_KEY",
            "x",
            "unknown variable RSTITCH_API_KEY; did you mean RSTITCH_API_KEYS?",
        ),
        ("RSTITCH_PORT", "1st", "RSTITCH_PORT: port is '1st'; it must be a whole number"),
        ("RSTITCH_PORT", "", "RSTITCH_PORT: port is ''; it must be a whole number"),
        ("RSTITCH_SHADOW", "nan", "RSTITCH_SHADOW: shadow is 'nan'; it must be a number"),
        (
            "RSTITCH_SHADOW",
            "2",
            "RSTITCH_SHADOW: shadow is 2.0; it must be at least 0 and at most 1",
        ),
        (
            "RSTITCH_COMPILE",
            "maybe",
            "RSTITCH_COMPILE: compile is 'maybe'; it must be true or false",
        ),
        ("RSTITCH_HOST", "a\udcff", "RSTITCH_HOST: host is 'a\\udcff'; it must be a text"),
        (
            "RSTITCH_CORS",
            "example.org",
            "RSTITCH_CORS: cors has 'example.org'; write an origin as https://example.org, or '*'",
        ),
        (
            "RSTITCH_POLICIES",
            "entrpy",
            "RSTITCH_POLICIES: policies has 'entrpy'; did you mean entropy?",
        ),
    ],
)
def test_a_variable_is_refused_by_name(variable: str, text: str, message: str) -> None:
    with pytest.raises(BadRequest) as refused:
        load(None, {variable: text})
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("variable", "text"),
    [("RSTITCH_PORT", "tcp://10.0.0.1:80"), ("RSTITCH_SERVICE_HOST", "10.0.0.1")],
)
def test_what_kubernetes_sets_on_its_own_is_told_apart(variable: str, text: str) -> None:
    with pytest.raises(BadRequest, match=f"^{variable} is '{text}'; .* enableServiceLinks"):
        load(None, {variable: text})


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(BadRequest, match="^unknown option 'prot'; did you mean port\\?$"):
        load(None, {}, {"prot": 1})


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="config is .*nowhere.toml, which cannot be read: No such"):
        load(str(tmp_path / "nowhere.toml"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"tau_min": 0.5, "tau_max": 0.1}, "tau_max is 0.1; it must be at least 0.5"),
        ({"deadline_min": 2, "deadline_max": 1}, "deadline_max is 1.0; it must be at least 2.0"),
        ({"max_tokens": 10, "default_max_tokens": 11}, "default_max_tokens is 11; .* at most 10"),
        ({"tau": 0.5, "tau_max": 0.1}, "tau is 0.5; it must lie within tau_min and tau_max"),
        ({"slm": "some/model"}, "give both slm and llm, or neither for a named pair"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    flags: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequest, match=message):
        load(None, {}, flags)


# -- the printed form -----------------------------------------------------------------------------


def test_what_is_printed_reads_back_and_says_who_said_it(file: Any) -> None:
    environ = {"RSTITCH_PORT": "9000", "RSTITCH_CORS": "https://a.org,https://b.org"}
    first = load(None, environ, {"tau": 0.02, "policies": ["entropy"], "slm_suffix": 'a\n"b"\\'})
    again = load(file(first.toml()))
    assert again.config == first.config
    assert again.config.digest() == first.config.digest()
    assert "port = 9000  # RSTITCH_PORT\n" in first.toml()
    assert "tau = 0.02  # --tau\n" in first.toml()
    assert "# kv_memory is not set\n" in first.toml()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_is_written_as_toml_reads_it(text: str) -> None:
    assert tomllib.loads(f"x = {written(text)}") == {"x": text}
    assert tomllib.loads(f"x = {written((text, text))}") == {"x": [text, text]}


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1))
def test_every_number_is_written_as_toml_reads_it(number: float) -> None:
    assert tomllib.loads(f"x = {written(number)}") == {"x": number}


def test_the_digest_differs_where_any_value_does() -> None:
    base = ServerConfig()
    others = [replace(base, listen=replace(base.listen, port=1))]
    others += [replace(base, engine=replace(base.engine, max_rows=1))]
    others += [replace(base, models=replace(base.models, tau=0.5))]
    digests = {config.digest() for config in (base, *others)}
    assert len(digests) == 4
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in digests)
    assert base.digest() == ServerConfig().digest()


def test_secrets_are_in_nothing_that_is_shown() -> None:
    secret = "sk-very-secret-indeed-0123456789"
    resolved = load(None, {"RSTITCH_API_KEYS": f"ann={secret}"})
    shown = resolved.toml() + repr(resolved) + json.dumps(dict(resolved.origins))
    assert secret not in shown and "sk-" not in shown
    assert resolved.config.digest() == ServerConfig().digest()


# -- the settings themselves ----------------------------------------------------------------------


def test_names_are_unique_so_that_one_flag_is_one_setting() -> None:
    names = [name for table in TABLES.values() for name in table.__dataclass_fields__]
    assert len(names) == len(set(names)) == len(known())


@pytest.mark.parametrize("name", known())
def test_every_setting_says_what_it_is_and_takes_its_own_default(name: str) -> None:
    setting = known()[name]
    assert setting.help.endswith("."), f"{name} has no docstring that is a sentence"
    assert setting.read(setting.default) == setting.default
    assert setting.needs


def test_help_is_the_docstring_under_the_field() -> None:
    assert known()["port"].help == "TCP port; 0 takes a free one."
    assert known()["port"].flag == "--port"
    assert known()["served_name"].variable == "RSTITCH_SERVED_NAME"
    assert known()["served_name"].flag == "--served-name"


def test_what_a_command_offers_for_opening_a_pair_can_be_configured() -> None:
    from rstitch.cli.options import Opening, Tuning

    offered = {*Opening.__dataclass_fields__, *Tuning.__dataclass_fields__}
    assert offered <= known().keys()


def test_configuration_needs_no_torch() -> None:
    code = "import rstitch.server.resolve, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_group_alone_checks_itself() -> None:
    with pytest.raises(BadRequest, match="^port is -1; it must be at least 0"):
        Listen(port=-1)
