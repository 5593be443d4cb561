"""The command line: a lazy table of commands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import click

from dist_tool import __version__
from dist_tool.cli._alarm import TimeIsOver, set_alarm
from dist_tool.cli._errors import write_error, write_trace
from dist_tool.cli._output import ReaderClosed, TextOutput, close_stdout, remove_unfinished
from dist_tool.errors import TIME_IS_OVER, DeadlineExceeded, DistError, InvalidArgument, LocalFailure

if TYPE_CHECKING:
    from types import FrameType


class CommandInfo(NamedTuple):
    """A command: `target` is MODULE:ATTRIBUTE. The summary is here so that --help imports nothing."""

    target: str
    summary: str


COMMANDS: dict[str, CommandInfo] = {
    "fetch": CommandInfo("dist_tool.cli.fetch:command", "Write one object to standard output, verified."),
    "resolve": CommandInfo("dist_tool.cli.resolve:command", "Print the digest that a reference means."),
    "content": CommandInfo("dist_tool.cli.content:command", "List, read, add and remove content of the store."),
    "remotes": CommandInfo("dist_tool.cli.remotes:command", "List kinds of remotes and configured names."),
    "apply": CommandInfo("dist_tool.cli.apply:command", "Apply one layer from standard input to a directory."),
    "unpack": CommandInfo("dist_tool.cli.unpack:command", "Unpack an image to a directory, all or nothing."),
    "export": CommandInfo("dist_tool.cli.export:command", "Write an image's file system as one tar."),
    "cat": CommandInfo("dist_tool.cli.cat:command", "Write files out of an image to standard output."),
    "config": CommandInfo("dist_tool.cli.config:command", "Explain, show and check the configuration."),
    "login": CommandInfo("dist_tool.cli.login:command", "Try credentials for a registry, and keep them."),
    "logout": CommandInfo("dist_tool.cli.logout:command", "Forget the credentials for a registry."),
    "auth": CommandInfo("dist_tool.cli.auth:command", "Show where credentials would come from."),
    "pin": CommandInfo("dist_tool.cli.pin:command", "Write down what a tag means, or check that it still does."),
    "serve": CommandInfo("dist_tool.cli.serve:command", "Serve an image layout as a read-only registry."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run, and only then."""

    def __init__(self, *args: Any, table: dict[str, CommandInfo], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.no_args_is_help = False  # an error is one line, also this one
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names, in the table's order: the order of use."""
        return list(self.table)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        info = self.table.get(name)
        if info is None:
            return None
        module, _, attribute = info.target.partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse; --help is written in here."""
        with _ends_of_life():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A usage error knows whose it is: click's own say nothing in a few cases."""
        with _ends_of_life():
            try:
                return super().invoke(ctx)
            except click.UsageError as error:
                if error.ctx is None and (command := self.get_command(ctx, ctx.invoked_subcommand or "")):
                    error.ctx = click.Context(command, ctx, ctx.invoked_subcommand)
                raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The summaries of the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, info.summary) for name, info in self.table.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or suggest one."""
        if args and not args[0].startswith("-") and args[0] not in self.table:
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.table, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"No such command {args[0][:60]!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: dist fetch docker.io/library/redis latest | jq .",
)
@click.version_option(__version__, "--version", message="dist %(version)s")
def dist() -> None:
    """Move container content: each command reads or writes one stream, keyed by digest."""


class _EndedBy(BaseException):
    """A signal ends the command: unwinds, so that temporary files go and ingests stay resumable.

    An Exception would be taken for a failure by whoever handles those on the way up.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.number = number


def _on_signal(number: int, _frame: FrameType | None) -> None:
    raise _EndedBy(signal.Signals(number))


@contextmanager
def _ends_of_life() -> Iterator[None]:
    """What click would make something else of: it ends with 1 and in silence where any pipe breaks."""
    try:
        yield
    except KeyboardInterrupt:
        raise _EndedBy(signal.SIGINT) from None
    except ReaderClosed:
        raise _EndedBy(signal.SIGPIPE) from None
    except OSError as error:
        raise _unforeseen(error) from error


def _unforeseen(error: OSError) -> DistError:
    """An OSError that nobody has made one of ours: the system's word for it, and of which file."""
    if error.errno is None:  # a library's own, of any meaning
        return _bug(error)
    said = error.strerror or str(error)
    what = f"{os.fsdecode(error.filename)}: {said}" if isinstance(error.filename, str | bytes) else said
    return LocalFailure(what, hint="--debug shows what it was wanted for")


def _bug(error: Exception) -> DistError:
    return DistError(f"internal error: {type(error).__name__}: {error}", hint="run again with --debug, and report it")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave with its exit code. Never returns, never exits with 255."""
    args = list(sys.argv[1:] if argv is None else argv)
    _hold_standard_files()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _on_signal)
    try:
        with _ends_of_life():
            code = _run(args)
    except _EndedBy as end:
        _die_by(end.number)
    _leave(code)


def _hold_standard_files() -> None:
    """Where one of 0, 1, 2 is closed, keep its number: else a socket gets it, and our output with it.

    What is held here is opened the wrong way round, so that to read input or to write output
    fails, as it should: nothing is not the same as an empty input. Messages go nowhere.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _leave(code: int) -> NoReturn:
    """End at once: everything is written and closed, and taking the interpreter down costs a tenth of a start."""
    remove_unfinished()
    _end_helpers()
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


def _end_helpers() -> None:
    """End credential helpers that other threads wait for: they have process groups of their own."""
    module = sys.modules.get("dist_tool.auth.helper_process")
    if module is not None:
        module.end_all()


def _run(args: list[str]) -> int:
    try:
        return _invoke(args)
    except click.Abort:  # end of input, or Ctrl-C, at a prompt
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        return _fail(args, _as_usage_error(error), debug=False)
    except DistError as error:
        return _fail(args, error, debug="--debug" in args)
    except ReaderClosed:
        raise
    except TimeIsOver:
        return _fail(args, DeadlineExceeded(TIME_IS_OVER), debug="--debug" in args)
    except Exception as error:
        if "--debug" in args:
            write_trace(error)
        return _fail(args, _bug(error), debug=False)


def _invoke(args: list[str]) -> int:
    with redirect_stdout(TextOutput()):  # click's; data does not go this way
        try:
            result = dist.main(args, prog_name="dist", standalone_mode=False)
        except click.exceptions.Exit as done:  # --help and --version
            result = done.exit_code
    close_stdout()
    set_alarm(None)
    return result if isinstance(result, int) else 0


def _as_usage_error(error: click.ClickException) -> DistError:
    message = error.format_message().replace("\n", " ")
    path = getattr(getattr(error, "ctx", None), "command_path", "dist")
    if path == "dist" and isinstance(error, click.NoSuchOption):
        return InvalidArgument(message.rstrip("."), hint="options go after the command, as in dist fetch --verbose")
    return InvalidArgument(message.rstrip("."), hint=f"see {path} --help")


def _fail(args: list[str], error: DistError, *, debug: bool) -> int:
    set_alarm(None)  # the error is known: it is not to be replaced
    if debug:
        write_trace(error)
    write_error(error, as_json="--error-format=json" in args or "--error-format json" in " ".join(args))
    return error.exit_code


def _die_by(number: signal.Signals) -> NoReturn:
    """End by a signal, so that the shell sees 128 + its number and loops stop as they should."""
    remove_unfinished()
    _end_helpers()
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # where the signal is blocked
