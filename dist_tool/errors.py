"""Every failure that a user can meet, classified by what the user can do about it.

The class decides the exit code and the gRPC code; nobody matches messages. A bug is not a
`DistError`. docs/exit-codes.md is this module in prose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self, TypedDict, Unpack

from dist_tool.redaction import hide


def printable(text: str, limit: int = 1000) -> str:
    """`text` as one line that is safe to show: secrets hidden, control characters escaped, length bounded.

    Names, messages and annotations come from publishers and servers; a raw escape sequence in
    one of them could rewrite what the user believes to have read. Secrets go first: the half of
    one that a limit leaves would not be found any more.
    """
    return one_line(hide(text), limit)


def one_line(text: str, limit: int = 1000) -> str:
    """`printable` for a text that is shown by way of it again: secrets are left."""
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


# What is set once, when an error is constructed; `args` holds `what`.
_FIXED = Facts.__optional_keys__ | {"args", "exit_code", "grpc_code", "elsewhere"}


class DistError(Exception):
    """Base of all expected failures. Immutable: `with_` and `with_facts` return copies.

    `what` is what failed and `hint` what the user can do. `retryable`: the same operation may succeed
    later; `elsewhere`: it may succeed at another mirror, if there is one.

    To add facts to an error on its way up, raise the copy in place of the error:

        except DistError as error:
            raise error.with_facts(object_id=name) from error.cause

    `from error.cause` gives the copy the cause of the original. The original itself must not become
    the cause: `--debug` would print the same failure twice.
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
        """Restore the attributes of a copied or unpickled error: `BaseException` would assign each of them."""
        self._set(state or {})

    def _set(self, facts: Mapping[str, Any]) -> None:
        sequences = {name: tuple(facts[name]) for name in ("registry_errors", "attempts") if name in facts}
        vars(self).update({**facts, **sequences})

    @property
    def cause(self) -> BaseException | None:
        """The error that led to this one, as a traceback shows it: the explicit cause, else the context."""
        return self.__cause__ or (None if self.__suppress_context__ else self.__context__)

    def with_(self, **facts: Unpack[Facts]) -> Self:
        """A copy with these facts: the same class, traceback, cause and context. See the class for how to raise it."""
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
        """A copy that names the locator and the object that failed; a name that is set already stays."""
        return self.with_(locator=self.locator or locator, object_id=self.object_id or object_id)

    def __str__(self) -> str:
        return printable(": ".join(part for part in (self._subject(), self.what, self.hint) if part))

    def _subject(self) -> str:
        """The place and the object, less what the message begins with: it is said once."""
        if _begins(self.what, self.locator):
            return ""
        return " ".join(part for part in (self.locator, self.object_id) if part and not _begins(self.what, part))


def _begins(text: str, name: str) -> bool:
    return bool(name) and text.startswith(tuple(word + end for word in (name, repr(name)) for end in " :@"))


class InvalidArgument(DistError):
    """A locator, object, hint, option or configuration that cannot be used as given."""

    exit_code = 2
    grpc_code = "INVALID_ARGUMENT"


class NotFound(DistError):
    """The object, tag or platform is not there."""

    exit_code = 3
    grpc_code = "NOT_FOUND"


class Unauthenticated(DistError):
    """The other side wants credentials, or refused those it was given."""

    exit_code = 4
    grpc_code = "UNAUTHENTICATED"


class PermissionDenied(DistError):
    """The other side knows who asks and says no."""

    exit_code = 4
    grpc_code = "PERMISSION_DENIED"


class DataLoss(DistError):
    """What arrived is not what was asked for. Never retried."""

    exit_code = 5
    grpc_code = "DATA_LOSS"


class DigestMismatch(DataLoss):
    """The bytes do not have the digest that names them."""


class SizeMismatch(DataLoss):
    """The bytes are more or fewer than was declared."""


class UnexpectedSize(SizeMismatch):
    """The bytes have the right digest: it is the size that was expected that is wrong."""

    elsewhere = False


class LimitExceeded(DataLoss):
    """Content larger, deeper or more numerous than the limit in force."""

    elsewhere = False


class InvalidContent(DataLoss):
    """Intact bytes that must not be used: not what the type says, or unsafe."""


class BadManifest(InvalidContent):
    """A manifest or index that breaks the image-spec in a way that matters."""


class UnsafePath(InvalidContent):
    """A name in a layer or archive that must not reach the file system."""


class Unavailable(DistError):
    """No answer that can be used: refused, unreachable, timed out, cut."""

    exit_code = 6
    grpc_code = "UNAVAILABLE"
    retryable = True


class Truncated(Unavailable):
    """The connection ended before the object did."""


class Unreachable(Unavailable):
    """TLS verification failed or the name does not resolve: the same again next time."""

    retryable = False


class NotTls(Unreachable):
    """TLS was tried, and the other side speaks something else."""


# Nobody who finds it over knows which of them gave it.
TIME_IS_OVER = "the time given by --timeout, DIST_TIMEOUT or the configuration is over"


class DeadlineExceeded(Unavailable):
    """The time that the user gave (`--timeout`, DIST_TIMEOUT, `[fetch] timeout`) is over."""

    grpc_code = "DEADLINE_EXCEEDED"
    retryable = False
    elsewhere = False


class Cancelled(DistError):
    """The operation was cancelled by the program that runs it. What was written so far can be resumed."""

    exit_code = 130
    grpc_code = "CANCELLED"
    elsewhere = False


class RemoteFailed(DistError):
    """The other side answered, and the answer is a failure of its own.

    `retry_after` is the wait in seconds that the server asked for, None if it did not.
    """

    exit_code = 7
    grpc_code = "UNAVAILABLE"
    retry_after: float | None = None


class ServerError(RemoteFailed):
    """A status that asks for another try: 408, 5xx and their kin."""

    retryable = True


class ResourceExhausted(RemoteFailed):
    """Rate limited (429)."""

    grpc_code = "RESOURCE_EXHAUSTED"
    retryable = True


class ProtocolError(RemoteFailed):
    """An answer that the protocol does not allow."""

    grpc_code = "INTERNAL"


class NotHttp(ProtocolError):
    """HTTP was tried, and the other side speaks something else: TLS, perhaps."""


class Unsupported(DistError):
    """A thing that exists and that we, or the remote, cannot do."""

    exit_code = 8
    grpc_code = "UNIMPLEMENTED"


class NoDigest(Unsupported):
    """A remote that cannot say what the digest of a name is before it is read."""

    grpc_code = "FAILED_PRECONDITION"


class LocalFailure(DistError):
    """The local store, an output file or standard output failed."""

    exit_code = 9
    grpc_code = "FAILED_PRECONDITION"
    elsewhere = False


class Locked(LocalFailure):
    """Somebody else is writing the same thing."""

    grpc_code = "UNAVAILABLE"


class AlreadyExists(LocalFailure):
    """The content is there already. Success for whoever wanted it to be there."""

    grpc_code = "ALREADY_EXISTS"


class PolicyRefused(DistError):
    """Refused by a rule of the user's or by a safety rule: blocked, redirect, plain http."""

    exit_code = 10
    grpc_code = "FAILED_PRECONDITION"
