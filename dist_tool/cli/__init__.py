"""The command line: a lazily imported command table, and the mapping of errors to exit codes."""

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
from dist_tool.cli._alarm import TimeLimitReached, set_alarm
from dist_tool.cli._errors import write_error, write_trace
from dist_tool.cli._output import ReaderClosed, TextOutput, close_stdout, remove_unfinished
from dist_tool.errors import TIME_IS_OVER, DeadlineExceeded, DistError, InvalidArgument, LocalFailure

if TYPE_CHECKING:
    from types import FrameType


class CommandInfo(NamedTuple):
    """A command. `target` is MODULE:ATTRIBUTE. `summary` is in the table so that --help imports no command."""

    target: str
    summary: str


COMMANDS: dict[str, CommandInfo] = {
    "fetch": CommandInfo("dist_tool.cli.fetch:command", "Write one verified object to standard output."),
    "resolve": CommandInfo("dist_tool.cli.resolve:command", "Print the digest of a reference."),
    "content": CommandInfo(
        "dist_tool.cli.content:command", "List, read, add, check and remove content of the local store."
    ),
    "remotes": CommandInfo("dist_tool.cli.remotes:command", "List the kinds of remotes and the configured names."),
    "apply": CommandInfo("dist_tool.cli.apply:command", "Apply one layer from standard input to a directory."),
    "unpack": CommandInfo("dist_tool.cli.unpack:command", "Unpack an image to a directory or a runtime bundle."),
    "export": CommandInfo("dist_tool.cli.export:command", "Write an image's file system as one tar."),
    "cat": CommandInfo("dist_tool.cli.cat:command", "Write files of an image to standard output."),
    "config": CommandInfo("dist_tool.cli.config:command", "Explain, show and check the configuration."),
    "login": CommandInfo("dist_tool.cli.login:command", "Check credentials for a registry, and save them."),
    "logout": CommandInfo("dist_tool.cli.logout:command", "Remove the credentials for a registry."),
    "auth": CommandInfo("dist_tool.cli.auth:command", "Show which credentials would be used."),
    "pin": CommandInfo(
        "dist_tool.cli.pin:command", "Record the digest a tag points to, or check that it has not moved."
    ),
    "serve": CommandInfo("dist_tool.cli.serve:command", "Serve an image layout as a read-only registry."),
}


class LazyGroup(click.Group):
    """A group that imports each command only when it is run."""

    def __init__(self, *args: Any, table: dict[str, CommandInfo], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.no_args_is_help = False  # report the missing command as a one-line error
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The command names, in table order: the usual order of use."""
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
        """Parse the arguments; click writes --help here."""
        with _convert_exits():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Adds the command to usage errors for which click does not set a context."""
        with _convert_exits():
            try:
                return super().invoke(ctx)
            except click.UsageError as error:
                if error.ctx is None and (command := self.get_command(ctx, ctx.invoked_subcommand or "")):
                    error.ctx = click.Context(command, ctx, ctx.invoked_subcommand)
                raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the command list from the table, without importing commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, info.summary) for name, info in self.table.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; for an unknown name, suggest a similar one."""
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
    """Move container content. Each command reads or writes one stream; objects are named by digest."""


class _SignalReceived(BaseException):
    """A signal ends the command. Unwinding removes temporary files and leaves ingests resumable.

    Derives from BaseException: handlers of Exception must not treat it as a failure.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.number = number


def _on_signal(number: int, _frame: FrameType | None) -> None:
    raise _SignalReceived(signal.Signals(number))


@contextmanager
def _convert_exits() -> Iterator[None]:
    """Convert exceptions that click would handle itself: it exits silently with 1 if any pipe breaks."""
    try:
        yield
    except KeyboardInterrupt:
        raise _SignalReceived(signal.SIGINT) from None
    except ReaderClosed:
        raise _SignalReceived(signal.SIGPIPE) from None
    except OSError as error:
        raise _unexpected_os_error(error) from error


def _unexpected_os_error(error: OSError) -> DistError:
    """A LocalFailure for an OSError that no other code has converted, with the system's message and the file name."""
    if error.errno is None:  # raised by a library, not by a system call
        return _internal_error(error)
    reason = error.strerror or str(error)
    what = f"{os.fsdecode(error.filename)}: {reason}" if isinstance(error.filename, str | bytes) else reason
    return LocalFailure(what, hint="run again with --debug to see the failed operation")


def _internal_error(error: Exception) -> DistError:
    return DistError(f"internal error: {type(error).__name__}: {error}", hint="run again with --debug, and report it")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit with its exit code. Never returns, never exits with 255."""
    args = list(sys.argv[1:] if argv is None else argv)
    _reserve_standard_descriptors()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, _on_signal)
    try:
        with _convert_exits():
            code = _run(args)
    except _SignalReceived as received:
        _exit_by_signal(received.number)
    _exit_now(code)


def _reserve_standard_descriptors() -> None:
    """If descriptor 0, 1 or 2 is closed, open /dev/null in its slot, so that no socket or file gets the number.

    0 is opened for writing and 1 for reading, so that reading input or writing output fails: a
    closed stdin must not read as empty input. Messages to a closed stderr are discarded.
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


def _exit_now(code: int) -> NoReturn:
    """Exit without interpreter shutdown, which takes a tenth of the start-up time. All output is written and closed."""
    remove_unfinished()
    _end_helpers()
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


def _end_helpers() -> None:
    """Kill credential helpers that other threads wait for: each has its own process group."""
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
    except TimeLimitReached:
        return _fail(args, DeadlineExceeded(TIME_IS_OVER), debug="--debug" in args)
    except Exception as error:
        if "--debug" in args:
            write_trace(error)
        return _fail(args, _internal_error(error), debug=False)


def _invoke(args: list[str]) -> int:
    with redirect_stdout(TextOutput()):  # for click's own output; data bypasses it
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
    set_alarm(None)  # a timeout must not replace this error
    if debug:
        write_trace(error)
    write_error(error, as_json="--error-format=json" in args or "--error-format json" in " ".join(args))
    return error.exit_code


def _exit_by_signal(number: signal.Signals) -> NoReturn:
    """Terminate by the signal itself, so that the shell sees 128 + its number and ends its loops."""
    remove_unfinished()
    _end_helpers()
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # if the signal is blocked
