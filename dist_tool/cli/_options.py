"""Options that several commands share, and the settings, run and session made from them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from dist_tool.cli._completion import FILE
from dist_tool.errors import DistError, InvalidArgument, NotFound, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from dist_tool.names.locator import Locator
    from dist_tool.run import Notice, Run
    from dist_tool.session import Session
    from dist_tool.settings import Settings

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])
_NOT_OBTAINED = frozenset(kind.exit_code for kind in (NotFound, Unauthenticated, Unavailable))


def show_notice(notice: Notice, *, verbose: bool = False) -> None:
    """Show a notice on standard error; those of level `debug` only if `verbose`."""
    if notice.level == "debug" and not verbose:
        return
    from dist_tool.errors import printable

    prefix = "warning: " if notice.level == "warning" else ""
    try:
        sys.stderr.write(f"dist: {prefix}{printable(notice.text)}\n")
        sys.stderr.flush()
    except OSError:
        pass  # standard error is closed, which does not stop the transfer


def counted(number: int, noun: str) -> str:
    """`1 blob`, `2 blobs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class Common(NamedTuple):
    """The values of `common_options`."""

    quiet: bool
    verbose: bool
    config: str | None
    timeout: str | None
    error_format: str = "text"
    debug: bool = False  # main reads --debug and --error-format from argv too, for errors before parsing

    def report(self, notice: Notice) -> None:
        """Show a notice on standard error, as --quiet and --verbose allow."""
        if not self.quiet:
            show_notice(notice, verbose=self.verbose)

    def settings(
        self, *, max_size: str | None = None, lenient: bool | None = None, store: bool | None = None
    ) -> Settings:
        """The settings: flags override the environment, which overrides files."""
        return self.begin(max_size=max_size, lenient=lenient, store=store)[0]

    def begin(
        self, *, max_size: str | None = None, lenient: bool | None = None, store: bool | None = None
    ) -> tuple[Settings, Run]:
        """The settings, and the `Run` of this command, its deadline counted from now."""
        from time import monotonic

        from dist_tool.config import load, parse_bytes, parse_duration
        from dist_tool.run import Run

        started = monotonic()
        timeout_s = value_of("--timeout", parse_duration, self.timeout)
        _limit_command(timeout_s if timeout_s is not None else _timeout_of_environment(), started)
        settings = load(
            os.environ,
            file=self.config,
            timeout_s=timeout_s,
            max_size=value_of("--max-size", parse_bytes, max_size),
            lenient=lenient,
            store=store,
        )
        _limit_command(settings.timeout_s, started)
        return settings, Run(self.report, deadline=started + settings.timeout_s if settings.timeout_s else None)

    @contextmanager
    def session(self, settings: Settings, run: Run, progress: str = "none") -> Iterator[Session]:
        """The session of this command, with progress shown as --progress selects. Closed at the end of the block."""
        from dist_tool.cli._progress import as_progress, choose
        from dist_tool.session import Session

        display = choose(progress, os.environ, quiet=self.quiet) if progress != "none" else None
        try:
            with Session(settings, replace(run, progress=as_progress(display))) as session:
                yield session
        finally:
            if display is not None:
                display.close()


def _limit_command(seconds: float | None, started: float) -> None:
    """End the command `seconds` after `started`; 0 and None mean never."""
    from time import monotonic

    from dist_tool.cli._alarm import set_alarm

    set_alarm(seconds - (monotonic() - started) if seconds else None)


def _timeout_of_environment() -> float | None:
    """The time limit from the environment, before any file is read; `load` reports an invalid value."""
    from dist_tool.config.options import from_environ

    try:
        return from_environ(os.environ).timeout_s
    except InvalidArgument:
        return None


def value_of(option: str, parse: Callable[[str], _T], text: str | None) -> _T | None:
    """The parsed value of an option, None if it is not given. Raises InvalidArgument naming the option."""
    try:
        return None if text is None else parse(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"{option}: {error.what}", hint=error.hint) from error


@contextmanager
def naming(typed: str, locator: Locator, object_id: str = "") -> Iterator[None]:
    """Add the locator and the object to errors raised in the block.

    If a name cannot be fetched and a local file has the same name, the hint suggests the file.
    """
    try:
        yield
    except DistError as error:
        path = typed.partition(":")[0]
        if not locator.kind and error.exit_code in _NOT_OBTAINED and os.path.exists(path):
            hint = "; ".join(part for part in (error.hint, f"to use the local file, write ./{path}") if part)
            error = error.with_(hint=hint)
        raise error.with_facts(locator=str(locator), object_id=object_id) from error.cause


def common_options(function: _F) -> _F:
    """Add -q, -v, --timeout, --config, --error-format and --debug; the command gets `common`."""
    return gathered(function, "common", Common, _COMMON)


def gathered(function: _F, name: str, kind: Any, options: Sequence[Callable[[Any], Any]]) -> _F:
    """Add options to a command, which gets their values as one NamedTuple of type `kind`."""

    def invoke(*args: Any, **kwargs: Any) -> Any:
        values = {field: kwargs.pop(field) for field in kind._fields}
        return function(*args, **kwargs, **{name: kind(**values)})

    return decorated(invoke, function, options)


def decorated(invoke: Callable[..., Any], function: _F, options: Sequence[Callable[[Any], Any]]) -> _F:
    """Wrap the command `function` by `invoke`, with `options` before the options it has."""
    invoke.__doc__, invoke.__name__ = function.__doc__, function.__name__
    vars(invoke).update(vars(function))  # click stores earlier options there
    wrapped: Any = invoke
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


_COMMON = (
    click.option("-q", "--quiet", is_flag=True, help="Show only errors on standard error."),
    click.option(
        "-v", "--verbose", is_flag=True, help="Show requests and resolved digests on standard error, never secrets."
    ),
    click.option(
        "--timeout",
        metavar="DURATION",
        help="Time limit of the command (30, 90s, 5m); also DIST_TIMEOUT. Default: no limit.",
    ),
    click.option("--config", type=FILE, help="Read this file instead of the user's configuration; also DIST_CONFIG."),
    click.option(
        "--error-format",
        type=click.Choice(["text", "json"]),
        default="text",
        help="Format of errors. Default: text.",
    ),
    click.option("--debug", is_flag=True, help="Show a traceback with each error."),
)
