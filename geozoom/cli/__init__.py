"""The command line: one thin file per command, loaded when it is called."""

from __future__ import annotations

import gc
import io
import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from geozoom import __version__
from geozoom.errors import GeozoomError

_COMMANDS = (
    "inspect",
    "plan",
    "curve",
    "export",
    "ingest",
    "classify",
    "draw",
    "prices",
    "train",
    "evaluate",
    "table",
)


class _LazyGroup(click.Group):
    """A group that imports a command's module only when the command is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"geozoom.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reason that the user can act on becomes its sentence and exit code 1."""
        try:
            return super().invoke(ctx)
        except GeozoomError as error:
            for line in str(error).splitlines():
                click.echo(f"Error: {line}", err=True)
            sys.exit(1)
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted. No unfinished output was left behind.", err=True)
            sys.exit(1)
        except BrokenPipeError:
            # The reader of `-o -` has gone; Python would complain again when it flushes stdout.
            sys.stderr.close()
            sys.exit(1)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="geozoom")
def main() -> None:
    """Decide which high-resolution satellite imagery is worth buying."""


def run() -> None:
    """Run the command line as a process of its own."""
    _speak()
    signal.signal(signal.SIGTERM, _end)
    try:
        main(prog_name="geozoom")
    finally:
        # Taking libraries apart at the end takes half a second; only triton counts what is left and complains.
        if "triton" not in sys.modules:
            gc.freeze()


def _end(number: int, _: object) -> NoReturn:
    """End as after Ctrl-C, so that nothing half-written stays: schedulers and containers stop with SIGTERM."""
    raise SystemExit(128 + number)


def _speak() -> None:
    """Let what is redirected be UTF-8, as data is, and no letter that a terminal lacks be an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
