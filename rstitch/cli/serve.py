"""`rstitch serve`: an OpenAI-compatible server. Its options are the settings of its configuration.

They are read from `ServerConfig`, so an option, a line of the file, a variable and the
documentation of one setting cannot disagree.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib import import_module
from inspect import Parameter, Signature
from typing import Annotated, Any

import typer

from rstitch.cli.options import in_units, policy_of
from rstitch.errors import BadRequest
from rstitch.remote.process import ahead
from rstitch.server import keys
from rstitch.server.address import taken
from rstitch.server.config import known
from rstitch.server.resolve import Resolved, load
from rstitch.server.settings import Setting

MISSING = "the server needs the extra `serve`: pip install 'rstitch[serve]' (it lacks {})"


def _serve(config: str | None, print_config: bool, **flags: Any) -> None:
    """Serve a pair over HTTP, as OpenAI's API; by default the built-in one, for this machine.

    A setting comes from its option, else from its RSTITCH_ variable, else from the file.
    """
    given = {name: ",".join(v) if isinstance(v, list) else v for name, v in flags.items()}
    resolved = load(config, os.environ, given)
    if print_config:
        typer.echo(resolved.toml(), nl=False)
        return
    raise typer.Exit(_run(resolved))


def _run(resolved: Resolved) -> int:
    """What is wrong is told as soon as it is known: the port before torch is imported."""
    config = resolved.config
    known_keys = keys.load(config.listen.keys_file, os.environ)
    apart = config.models.engine_process and config.engine.engine != "vllm"
    with (
        taken(config.listen.host, config.listen.port) as sockets,
        ahead() if apart else nullcontext(),
    ):
        running, served = _modules()
        rule = policy_of(config.models.policy, [], config.models.tau)
        with running.open_pair(config) as stitch:
            default = in_units(stitch, rule, config.models.tau)
            status: int = running.run(served.Served(stitch, config, known_keys, default), sockets)
            return status


def _modules() -> tuple[Any, Any]:
    """Raises BadRequest where the extra is not installed."""
    try:
        names = ("running", "served")
        running, served = (import_module(f"rstitch.server.{name}") for name in names)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("rstitch"):
            raise
        raise BadRequest(MISSING.format(error.name)) from None
    return running, served


def _options() -> Iterator[Parameter]:
    yield _option("config", str | None, None, typer.Option(help="TOML file of settings."))
    yield _option(
        "print_config", bool, False,
        typer.Option("--print-config", help="Print the configuration as TOML, and end."),
    )  # fmt: skip
    for setting in known().values():
        yield _of(setting)


def _of(setting: Setting) -> Parameter:
    """Texts, so that what is wrong with one is told as it is for the file and the variables."""
    panel = setting.table.capitalize()
    if setting.kind is bool:
        shown = typer.Option(help=setting.help, rich_help_panel=panel, show_default=False)
        return _option(setting.name, bool | None, None, shown)
    told = setting.help if setting.default in (None, ()) else f"{setting.help} [{setting.default}]"
    if isinstance(setting.default, tuple):
        shown = typer.Option(help=told, rich_help_panel=panel, metavar="text,text,...")
        return _option(setting.name, list[str] | None, None, shown)
    shown = typer.Option(help=told, rich_help_panel=panel, metavar=setting.needs)
    return _option(setting.name, str | None, None, shown)


def _option(name: str, kind: Any, default: Any, shown: Any) -> Parameter:
    annotation = Annotated[kind, shown]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer has to see it."""
    options = list(_options())

    def serve(**given: Any) -> None:
        command(**given)

    serve.__doc__ = command.__doc__
    serve.__signature__ = Signature(options)  # type: ignore[attr-defined]  # read by inspect
    serve.__annotations__ = {one.name: one.annotation for one in options}
    return serve


serve = _with_options(_serve)
