"""Remote over a helper program: the methods of a remote as requests of the helper protocol."""

from __future__ import annotations

from threading import Lock

from dist_tool.api import Cut
from dist_tool.context import Context
from dist_tool.errors import DistError, InvalidArgument, NoDigest, NotFound, ProtocolError, Unsupported
from dist_tool.names.hints import Hints
from dist_tool.names.reference import as_digest
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCTET_STREAM
from dist_tool.remotes.program.process import Helper, HelperLimits, HelperRefusal, number
from dist_tool.stream.body import Body
from dist_tool.stream.retry import Attempts


class ProgramRemote:
    """A remote served by helper processes: started on demand, one for each concurrent transfer, and reused."""

    def __init__(self, program: str, rest: str, context: Context) -> None:
        if rest.startswith("-"):  # the helper could parse it as an option
            raise InvalidArgument(f"{rest!r} cannot be the argument of a remote helper")
        self._argv = (program, rest)
        self._context = context
        self._lock = Lock()
        self._idle: list[Helper] = []
        self._closed = False
        self._powers: frozenset[str] | None = None

    # Helpers

    def _take(self) -> Helper:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        limits = HelperLimits(self._context.endpoint.timeout, self._context.run)
        helper = Helper(self._argv, self._context.settings.environ, limits)
        try:
            self._powers = helper.greet()
        except BaseException:
            helper.kill()
            raise
        return helper

    def give_back(self, helper: Helper) -> None:
        """Return a helper whose last response is complete to the pool."""
        with self._lock:
            if not self._closed:
                self._idle.append(helper)
                return
        helper.finish()

    def _has_power(self, name: str) -> bool:
        if self._powers is None:
            self.give_back(self._take())
        assert self._powers is not None
        return name in self._powers

    def _ask(self, request: str) -> tuple[Helper, list[str]]:
        """The response, and the helper that sent it. Temporary failures are retried with another helper."""
        with Attempts(self._context.retry, self._context.run) as attempts:
            while True:
                try:
                    return self._ask_once(request)
                except DistError as error:
                    attempts.failed(error)

    def _ask_once(self, request: str) -> tuple[Helper, list[str]]:
        helper = self._take()
        try:
            return helper, helper.ask(request)
        except HelperRefusal as refused:
            self.give_back(helper)
            raise refused.error from None
        except BaseException:
            helper.kill()
            raise

    # Methods of a remote

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of a digest, or of a name if the helper resolves names.

        Raises NoDigest if it can only open names, NotFound if it supports digests only.
        """
        digest = as_digest(object_id)
        if digest is not None:
            digest.hasher()
            size = hints.size if hints.content else self._size(digest)
            return Descriptor(digest, size, hints.media_type() or OCTET_STREAM)
        if not self._has_power("resolve"):
            if self._has_power("name"):
                raise NoDigest(f"the digest of {object_id!r} is not known before it is read")
            raise NotFound(f"{object_id!r}: {self._argv[0]} supports digests only")
        helper, words = self._ask(f"resolve {object_id}")
        self.give_back(helper)
        return _parse_descriptor(words, helper.name, hints)

    def _size(self, digest: Digest) -> int | None:
        body = self._open(f"open {digest} 0", 0)
        body.close()
        return body.total

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The bytes of a digest from `offset`, or from an earlier offset if the helper starts there."""
        desc.digest.hasher()
        return self._open(f"open {desc.digest} {offset}", offset)

    def open_name(self, object_id: str, hints: Hints) -> Body:  # noqa: ARG002
        """The bytes of a name."""
        return self._open_name(object_id, 0)

    def reopen_name(self, object_id: str, hints: Hints, cut: Cut) -> Body:  # noqa: ARG002
        """The bytes of a name from 0: the protocol has no validators, so the caller compares what it read before."""
        return self._open_name(object_id, 0)

    def open_path(self, path: str, desc: Descriptor | None = None, offset: int = 0) -> Body:
        """The bytes of a path; see `api.PathFetcher`."""
        return self._open_name(path, offset if desc else 0)

    def _open_name(self, name: str, offset: int) -> Body:
        if not self._has_power("name"):
            raise Unsupported(f"{self._argv[0]} does not open names")
        return self._open(f"name {offset} {name}", offset)

    def _open(self, request: str, offset: int) -> Body:
        helper, words = self._ask(request)
        try:
            if len(words) < 2:
                raise ProtocolError(f"{helper.name} answered without START and SIZE")
            start = number(words[0], helper.name)
            total = None if words[1] == "-" else number(words[1], helper.name)
            if start > offset:
                raise ProtocolError(f"{helper.name} answered from byte {start}, requested from byte {offset}")
        except BaseException:
            helper.kill()
            raise
        return _HelperBody(self, helper, start, total)

    def close(self) -> None:
        """Terminate every idle helper, and each other one when its transfer ends."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for helper in idle:
            helper.finish()


class _HelperBody(Body):
    """The frames of one response. If it is closed before the last frame, the helper is killed."""

    def __init__(self, remote: ProgramRemote, helper: Helper, start: int, total: int | None) -> None:
        super().__init__(offset=start, total=total, source=helper.name)
        self._remote = remote
        self._helper: Helper | None = helper
        self._left = 0

    def readinto(self, view: memoryview) -> int:
        if self._helper is None or not len(view):
            return 0
        try:
            if not self._left:
                self._left = self._helper.frame()
            if not self._left:
                self._give_back()
                return 0
            got = self._helper.readinto(view[: self._left])
        except HelperRefusal as refused:
            self._give_back()
            raise refused.error from None
        except BaseException:
            self.close()
            raise
        self._left -= got
        return got

    def _give_back(self) -> None:
        helper, self._helper = self._helper, None
        if helper is not None:
            self._remote.give_back(helper)

    def close(self) -> None:
        """Kill the helper if frames are left. Idempotent."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.kill()


def _parse_descriptor(words: list[str], name: str, hints: Hints) -> Descriptor:
    if not words:
        raise ProtocolError(f"{name} resolved a name to nothing")
    try:
        digest = Digest.parse(words[0])
    except InvalidArgument as error:
        raise ProtocolError(f"{name}: {error.what}") from error
    digest.hasher()
    size = None if words[1:2] in ([], ["-"]) else number(words[1], name)
    return Descriptor(digest, size, words[2] if len(words) > 2 else hints.media_type() or OCTET_STREAM)
