"""Error classes, one for each remedy that the user has.

The class determines the exit code and the gRPC code; code never matches messages. Bugs are not
`DistError`s. docs/exit-codes.md documents this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self, TypedDict, Unpack

from dist_tool.redaction import hide


def printable(text: str, limit: int = 1000) -> str:
    """`text` as one line for display: secrets redacted, control characters escaped, length limited.

    Names, messages and annotations come from publishers and servers; a raw escape sequence in
    one of them could overwrite text on the user's terminal. Secrets are redacted before the text is
    shortened, since a truncated secret would no longer be recognised.
    """
    return one_line(hide(text), limit)


def one_line(text: str, limit: int = 1000) -> str:
    """`printable` without redaction, for text that is passed to `printable` later."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


class RegistryError(NamedTuple):
    """One entry of a registry's error body (distribution-spec, "Error Codes")."""

    code: str
    message: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


class Facts(TypedDict, total=False):
    """The attributes that `DistError.with_` can replace."""

    what: str
    hint: str
    host: str
    status: int | None
    registry_errors: Sequence[RegistryError]
    attempts: Sequence[str]
    locator: str
    object_id: str
    retry_after: float | None
    retryable: bool


# Attributes that are set only at construction; `args` holds `what`.
_FIXED = Facts.__optional_keys__ | {"args", "exit_code", "grpc_code", "elsewhere"}


class DistError(Exception):
    """Base class of all expected failures. Immutable: `with_` and `with_facts` return copies.

    `what` describes the failure, `hint` the remedy. `retryable`: the same operation may succeed
    later; `elsewhere`: it may succeed with another mirror, if there is one.

    To add facts to an error as it propagates, raise the copy instead:

        except DistError as error:
            raise error.with_facts(object_id=name) from error.cause

    `from error.cause` sets the cause of the copy to that of the original. The original itself must not
    be the cause: `--debug` would print the same failure twice.
    """

    exit_code = 1
    grpc_code = "UNKNOWN"
    retryable = False
    elsewhere = True
    what: str
    hint: str
    host: str
    status: int | None
    registry_errors: tuple[RegistryError, ...]
    attempts: tuple[str, ...]
    locator: str
    object_id: str

    def __init__(
        self,
        what: str,
        *,
        hint: str = "",
        host: str = "",
        status: int | None = None,
        registry_errors: Sequence[RegistryError] = (),
        attempts: Sequence[str] = (),
    ) -> None:
        super().__init__(what)
        self._set({"what": what, "hint": hint, "host": host, "status": status, "locator": "", "object_id": ""})
        self._set({"registry_errors": registry_errors, "attempts": attempts})

    def __setattr__(self, name: str, value: object) -> None:
        if name in _FIXED:
            raise AttributeError(f"{type(self).__name__}.{name} cannot be assigned: use with_({name}=...)")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in _FIXED:
            raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")
        super().__delattr__(name)

    def __setstate__(self, state: Mapping[str, Any] | None) -> None:
        """Restore the attributes of a copied or unpickled error; `BaseException` would assign each of them."""
        self._set(state or {})

    def _set(self, facts: Mapping[str, Any]) -> None:
        sequences = {name: tuple(facts[name]) for name in ("registry_errors", "attempts") if name in facts}
        vars(self).update({**facts, **sequences})

    @property
    def cause(self) -> BaseException | None:
        """The error that caused this one, as in a traceback: the explicit cause, else the context."""
        return self.__cause__ or (None if self.__suppress_context__ else self.__context__)

    def with_(self, **facts: Unpack[Facts]) -> Self:
        """A copy with these facts and the same class, traceback, cause and context. See the class for how to raise it.

        Raises TypeError for an unknown fact.
        """
        unknown = facts.keys() - Facts.__optional_keys__
        if unknown:
            raise TypeError(f"not a fact of an error: {', '.join(sorted(unknown))}")
        args = (facts["what"],) if "what" in facts else self.args
        changed = type(self).__new__(type(self), *args)  # a subclass may have another constructor
        changed._set({**vars(self), **facts})
        changed.__traceback__ = self.__traceback__
        changed.__cause__, changed.__context__ = self.__cause__, self.__context__
        changed.__suppress_context__ = self.__suppress_context__
        return changed

    def with_facts(self, *, locator: str = "", object_id: str = "") -> Self:
        """A copy with the locator and the object that failed; values that are already set are not replaced."""
        return self.with_(locator=self.locator or locator, object_id=self.object_id or object_id)

    def __str__(self) -> str:
        return printable(": ".join(part for part in (self._subject(), self.what, self.hint) if part))

    def _subject(self) -> str:
        """The locator and the object, without those that `what` begins with, to avoid repetition."""
        if _begins(self.what, self.locator):
            return ""
        return " ".join(part for part in (self.locator, self.object_id) if part and not _begins(self.what, part))


def _begins(text: str, name: str) -> bool:
    return bool(name) and text.startswith(tuple(word + end for word in (name, repr(name)) for end in " :@"))


class InvalidArgument(DistError):
    """An invalid locator, object, hint, option or configuration."""

    exit_code = 2
    grpc_code = "INVALID_ARGUMENT"


class NotFound(DistError):
    """The object, tag or platform does not exist."""

    exit_code = 3
    grpc_code = "NOT_FOUND"


class Unauthenticated(DistError):
    """The server requires credentials, or rejected those that were sent."""

    exit_code = 4
    grpc_code = "UNAUTHENTICATED"


class PermissionDenied(DistError):
    """The server authenticated the user and denied access."""

    exit_code = 4
    grpc_code = "PERMISSION_DENIED"


class DataLoss(DistError):
    """The content that arrived is not the requested content. Never retried."""

    exit_code = 5
    grpc_code = "DATA_LOSS"


class DigestMismatch(DataLoss):
    """The content does not match the expected digest."""


class SizeMismatch(DataLoss):
    """The content is larger or smaller than declared."""


class UnexpectedSize(SizeMismatch):
    """The content matches its digest, but not the expected size, so the expectation is wrong."""

    elsewhere = False


class LimitExceeded(DataLoss):
    """Content exceeds a limit on size, nesting or number."""

    elsewhere = False


class InvalidContent(DataLoss):
    """Intact content that must not be used: it does not match its type, or is unsafe."""


class BadManifest(InvalidContent):
    """A manifest, index or config that violates the image-spec in a way that matters."""


class UnsafePath(InvalidContent):
    """A name in a layer or archive that must not be used as a path in the file system."""


class Unavailable(DistError):
    """No usable response: connection refused, unreachable, timed out or interrupted."""

    exit_code = 6
    grpc_code = "UNAVAILABLE"
    retryable = True


class Truncated(Unavailable):
    """The connection ended before the end of the object."""


class Unreachable(Unavailable):
    """TLS verification failed or the name does not resolve: a retry would fail the same way."""

    retryable = False


class NotTls(Unreachable):
    """The server did not answer a TLS handshake with TLS."""


# The code that checks the deadline does not know which of the three set it.
TIME_IS_OVER = "the time limit set by --timeout, DIST_TIMEOUT or the configuration was reached"


class DeadlineExceeded(Unavailable):
    """The user's time limit (`--timeout`, DIST_TIMEOUT, `[fetch] timeout`) was reached."""

    grpc_code = "DEADLINE_EXCEEDED"
    retryable = False
    elsewhere = False


class Cancelled(DistError):
    """The calling program cancelled the operation. An ingest that it began can be resumed."""

    exit_code = 130
    grpc_code = "CANCELLED"
    elsewhere = False


class RemoteFailed(DistError):
    """The remote responded with a failure of its own.

    `retry_after` is the delay in seconds that the server requested, None if it did not.
    """

    exit_code = 7
    grpc_code = "UNAVAILABLE"
    retry_after: float | None = None


class ServerError(RemoteFailed):
    """A status that permits a retry: 408, 5xx and similar ones."""

    retryable = True


class ResourceExhausted(RemoteFailed):
    """Rate limited (429)."""

    grpc_code = "RESOURCE_EXHAUSTED"
    retryable = True


class ProtocolError(RemoteFailed):
    """A response that violates the protocol."""

    grpc_code = "INTERNAL"


class NotHttp(ProtocolError):
    """The server did not answer an HTTP request with HTTP; it may require TLS."""


class Unsupported(DistError):
    """A feature that dist or the remote does not support."""

    exit_code = 8
    grpc_code = "UNIMPLEMENTED"


class NoDigest(Unsupported):
    """The remote cannot resolve a name to a digest without reading the content."""

    grpc_code = "FAILED_PRECONDITION"


class LocalFailure(DistError):
    """The local store, an output file or standard output failed."""

    exit_code = 9
    grpc_code = "FAILED_PRECONDITION"
    elsewhere = False


class Locked(LocalFailure):
    """Another writer holds the lock on the same ingest or file."""

    grpc_code = "UNAVAILABLE"


class AlreadyExists(LocalFailure):
    """The content already exists. Callers that only need it to exist treat this as success."""

    grpc_code = "ALREADY_EXISTS"


class PolicyRefused(DistError):
    """Refused by the user's policy or by a safety rule: blocked name, redirect, plain http."""

    exit_code = 10
    grpc_code = "FAILED_PRECONDITION"
