"""The cache of access tokens: one exchange for everybody, nothing but tokens, nobody else's (C10, C20, C21, W6)."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cached_tokens import KEY, NOW, SECRET, Clock, files, fill, token

from dist_tool.auth import token_cache as tokens
from dist_tool.auth import token_files as token_directory
from dist_tool.auth.token_cache import AccessToken, TokenCache, TokenKey
from dist_tool.errors import DeadlineExceeded, Unauthenticated, Unavailable
from dist_tool.run import Notice, Run


def anything(_: AccessToken) -> bool:
    return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "dist"


@pytest.fixture
def notices() -> list[Notice]:
    return []


@pytest.fixture
def new(directory: Path, clock: Clock, notices: list[Notice]) -> Callable[[], TokenCache]:
    """Makes caches that share nothing but the directory, as processes would."""
    return lambda: TokenCache(str(directory), clock=clock, run=Run(notices.append), wait_s=5)


def never() -> AccessToken:
    raise AssertionError("an exchange too many")


class TestSharing:
    def test_what_one_process_obtained_another_loads(self, new: Callable[[], TokenCache]) -> None:
        fill(new())
        assert new().load(KEY) == token()
        assert new().obtain(KEY, anything, never) == (token(), False)

    @pytest.mark.parametrize("place", ["", None])
    def test_without_a_directory_memory_is_all(self, place: str | None, clock: Clock) -> None:
        cache = TokenCache(place, clock=clock)
        assert cache.is_empty()
        fill(cache)
        assert cache.load(KEY) == token()
        assert TokenCache(place, clock=clock).load(KEY) is None

    @pytest.mark.parametrize(
        "other",
        [
            KEY._replace(origin="https://evil.test"),
            KEY._replace(origin="http://registry.test"),
            KEY._replace(origin="https://registry.test:5000"),
            KEY._replace(account="docker.io"),
            KEY._replace(scopes=("repository:a:pull", "repository:b:pull")),
            KEY._replace(identity=b"somebody else"),
        ],
    )
    def test_a_token_serves_its_own_key_only(self, new: Callable[[], TokenCache], other: TokenKey) -> None:
        cache = new()
        fill(cache)
        assert cache.load(other) is None
        assert new().load(other) is None

    def test_a_token_that_does_not_answer_the_challenge_is_replaced(self, new: Callable[[], TokenCache]) -> None:
        fill(new())
        newer = token("newer")
        assert new().obtain(KEY, lambda known: known.value != SECRET, lambda: newer) == (newer, True)
        assert new().load(KEY) == newer

    def test_emptiness_is_known_without_a_key(self, new: Callable[[], TokenCache]) -> None:
        assert new().is_empty()
        fill(new())
        assert not new().is_empty()


class TestExpiry:
    def test_a_token_is_renewed_five_seconds_early(self, new: Callable[[], TokenCache], clock: Clock) -> None:
        cache = new()
        fill(cache)
        clock.now = NOW + 294
        assert cache.load(KEY) == new().load(KEY) == token()
        clock.now = NOW + 295
        assert cache.load(KEY) is new().load(KEY) is None

    def test_a_file_from_a_clock_far_ahead_is_not_believed(self, new: Callable[[], TokenCache], clock: Clock) -> None:
        clock.now = NOW + 10 * 86_400
        fill(new(), value=token(expires_at=clock.now + 300))
        clock.now = NOW
        assert new().load(KEY) is None

    def test_a_discarded_token_is_gone_for_all(self, new: Callable[[], TokenCache], directory: Path) -> None:
        cache = new()
        fill(cache)
        cache.discard(KEY, SECRET)
        assert cache.load(KEY) is new().load(KEY) is None
        assert files(directory) == []

    def test_discarding_an_old_token_spares_its_successor(self, new: Callable[[], TokenCache]) -> None:
        cache = new()
        fill(cache)
        fill(new(), value=token("newer"))
        cache.discard(KEY, SECRET)
        assert cache.load(KEY) == new().load(KEY) == token("newer")

    def test_long_expired_files_and_leftovers_are_removed_in_passing(
        self, new: Callable[[], TokenCache], clock: Clock, directory: Path
    ) -> None:
        for n in range(5):
            fill(new(), KEY._replace(scopes=(f"repository:r{n}:pull",)))
        leftovers = [directory / ".new-1-abc", directory / "token-abc.lock"]
        foreign = directory / "notes.txt"
        for path in (*leftovers, foreign):
            path.touch(mode=0o600)
            os.utime(path, (NOW, NOW))
        clock.now = NOW + 3 * 3600
        fill(new(), value=token(expires_at=clock.now + 300))
        assert len(files(directory)) == 1
        assert foreign.exists()
        assert not any(path.exists() for path in leftovers)

    def test_a_lock_that_is_held_is_not_removed(
        self, new: Callable[[], TokenCache], clock: Clock, directory: Path
    ) -> None:
        other = KEY._replace(scopes=())

        def meanwhile() -> AccessToken:
            (lock,) = [path for path in files(directory) if path.name.endswith(".lock")]
            os.utime(lock, (NOW, NOW))
            clock.now = NOW + 3 * 3600
            fill(new(), other, token(expires_at=clock.now + 300))
            assert lock.exists()
            return token(expires_at=clock.now + 300)

        fill(new(), KEY._replace(scopes=("warm up",)))
        new().obtain(KEY, anything, meanwhile)


class TestPrivacy:
    def test_directory_and_files_are_for_the_user_alone(self, new: Callable[[], TokenCache], directory: Path) -> None:
        previous = os.umask(0)
        try:
            fill(new())
        finally:
            os.umask(previous)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        found = list(directory.iterdir())
        assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
        assert sorted(path.name[:6] for path in found) == ["key", "token-"]

    def test_names_tell_nothing_and_differ_between_users(self, tmp_path: Path, clock: Clock) -> None:
        names = []
        for user in ("one", "two"):
            fill(TokenCache(str(tmp_path / user), clock=clock))
            (path,) = files(tmp_path / user)
            names.append(path.name)
            assert "registry" not in path.name
        assert names[0] != names[1]

    def test_no_identity_is_in_a_file(self, new: Callable[[], TokenCache], directory: Path) -> None:
        fill(new())
        (path,) = files(directory)
        assert set(json.loads(path.read_bytes())) == {
            "format",
            "origin",
            "value",
            "expires_at",
            "realm",
            "service",
            "scopes",
            "source",
            "user",
        }
        assert KEY.identity not in path.read_bytes()

    def test_a_secret_of_the_users_own_stays_in_memory(self, new: Callable[[], TokenCache], directory: Path) -> None:
        cache = new()
        own = token(expires_at=float("inf"))._replace(storable=False)
        fill(cache, value=own)
        assert cache.load(KEY) == own
        assert files(directory) == []

    def test_a_loose_mode_is_tightened(self, new: Callable[[], TokenCache], directory: Path) -> None:
        directory.mkdir(parents=True)
        directory.chmod(0o755)
        fill(new())
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700

    def test_reprs_show_no_secret(self) -> None:
        shown = f"{token()!r} {token()} {KEY!r} {[token(), KEY]}"
        assert SECRET not in shown
        assert "somebody" not in shown
        assert "registry.test" in shown


class TestDistrust:
    """A directory or file that is not safely ours is as good as none."""

    def test_a_symbolic_link_is_refused_with_one_warning(
        self, new: Callable[[], TokenCache], directory: Path, notices: list[Notice], tmp_path: Path
    ) -> None:
        real = tmp_path / "elsewhere"
        real.mkdir(mode=0o700)
        directory.parent.mkdir()
        directory.symlink_to(real)
        cache = new()
        fill(cache)
        assert cache.load(KEY) == token()
        cache.discard(KEY, SECRET)
        assert [notice.level for notice in notices] == ["warning"]
        assert "symbolic link" in notices[0].text
        assert list(real.iterdir()) == []

    def test_somebody_elses_directory_is_refused_with_one_warning(
        self,
        new: Callable[[], TokenCache],
        directory: Path,
        notices: list[Notice],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        directory.mkdir(parents=True)
        monkeypatch.setattr(token_directory.os, "geteuid", lambda: os.getuid() + 1)
        fill(new())
        assert [notice.level for notice in notices] == ["warning"]
        assert "another user" in notices[0].text
        assert list(directory.iterdir()) == []

    def test_a_place_that_cannot_be_made_is_no_error(self, tmp_path: Path, clock: Clock) -> None:
        (tmp_path / "file").touch()
        notices: list[Notice] = []
        for place in ("file", "file/below", "x" * 300):
            fill(TokenCache(str(tmp_path / place), clock=clock, run=Run(notices.append)))
        assert [notice.level for notice in notices] == ["info"] * 3

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff",
            b"[" * 100_000,
            b"x" * 1_000_000,
            b'{"format": 2, "origin": "https://registry.test"}',
        ],
    )
    def test_a_corrupt_file_is_ignored_and_replaced(
        self, new: Callable[[], TokenCache], directory: Path, content: bytes
    ) -> None:
        fill(new())
        (path,) = files(directory)
        path.write_bytes(content)
        assert new().load(KEY) is None
        fill(new())
        assert new().load(KEY) == token()

    @pytest.mark.parametrize(
        "change",
        [
            {"format": 1},
            {"user": None},
            {"origin": "https://evil.test"},
            {"value": ""},
            {"value": "to ken"},
            {"value": "x\r\nX-Evil: 1"},
            {"value": 5},
            {"realm": None},
            {"scopes": "repository:a:pull"},
            {"scopes": [1]},
            {"expires_at": "later"},
            {"expires_at": 1e300},
            {"expires_at": 10**400},
            {"expires_at": float("nan")},
            {"expires_at": -1},
        ],
    )
    def test_a_file_with_other_content_is_ignored(
        self, new: Callable[[], TokenCache], directory: Path, change: dict[str, object]
    ) -> None:
        fill(new())
        (path,) = files(directory)
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
        assert new().load(KEY) is None

    @pytest.mark.parametrize("plant", ["symlink", "directory", "fifo", "readable"])
    def test_what_is_no_private_file_of_ours_is_never_read(
        self, new: Callable[[], TokenCache], directory: Path, tmp_path: Path, plant: str
    ) -> None:
        fill(new())
        (path,) = files(directory)
        if plant == "readable":
            path.chmod(0o644)
        else:
            path.rename(tmp_path / "moved")
            {
                "symlink": lambda: path.symlink_to(tmp_path / "moved"),
                "directory": path.mkdir,
                "fifo": lambda: os.mkfifo(path, 0o600),
            }[plant]()
        assert new().load(KEY) is None
        fill(new())
        if plant != "directory":
            assert new().load(KEY) == token()
            assert stat.S_IMODE(path.lstat().st_mode) == 0o600

    @pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
    def test_a_broken_key_is_replaced(self, new: Callable[[], TokenCache], directory: Path, content: bytes) -> None:
        fill(new())
        (directory / "key").write_bytes(content)
        fill(new())
        assert new().load(KEY) == token()
        assert len((directory / "key").read_bytes()) == 32

    def test_a_key_that_others_may_read_is_replaced(self, new: Callable[[], TokenCache], directory: Path) -> None:
        fill(new())
        before = (directory / "key").read_bytes()
        (directory / "key").chmod(0o644)
        fill(new())
        assert (directory / "key").read_bytes() != before

    @pytest.mark.parametrize("call", ["write", "rename", "open", "link"])
    def test_a_full_or_failing_disk_costs_the_cache_only(
        self, new: Callable[[], TokenCache], directory: Path, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        real = getattr(os, call)

        def failing(*args: object, **kwargs: object) -> object:
            if call == "open" and isinstance(args[1], int) and not args[1] & os.O_CREAT:
                return real(*args, **kwargs)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(token_directory.os, call, failing)
        cache = new()
        fill(cache)
        assert cache.load(KEY) == token()
        monkeypatch.undo()
        assert files(directory, ".new-") == []

    def test_where_files_cannot_be_locked_everybody_goes_alone(
        self, new: Callable[[], TokenCache], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import fcntl

        def unsupported(*_: object) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(fcntl, "flock", unsupported)
        fill(new())
        assert new().load(KEY) == token()


class TestConcurrency:
    def test_threads_share_one_exchange(self, new: Callable[[], TokenCache]) -> None:
        cache = new()
        ready = threading.Barrier(10)
        calls, results = [], []

        def fetch() -> AccessToken:
            calls.append(1)
            return token()

        def work() -> None:
            ready.wait()
            results.append(cache.obtain(KEY, anything, fetch)[0])

        in_threads(work, 10)
        assert len(calls) == 1
        assert results == [token()] * 10

    def test_threads_that_waited_for_a_failure_fail_with_it(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        aboard = threading.Semaphore(0)

        class Counted(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                aboard.release()
                return super().wait(timeout)

        monkeypatch.setattr(tokens, "Event", Counted)
        cache = TokenCache(None, clock=clock)
        calls, errors = [], []

        def fetch() -> AccessToken:
            calls.append(1)
            for _ in range(4):
                aboard.acquire()
            raise Unauthenticated("no")

        def work() -> None:
            try:
                cache.obtain(KEY, anything, fetch)
            except Unauthenticated as error:
                errors.append(error)

        in_threads(work, 5)
        assert len(calls) == 1
        assert len(set(map(id, errors))) == 5

    def test_a_crash_of_the_one_who_fetches_leaves_nobody_waiting(self, clock: Clock) -> None:
        cache = TokenCache(None, clock=clock)

        def crash() -> AccessToken:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            cache.obtain(KEY, anything, crash)
        assert cache.obtain(KEY, anything, token) == (token(), True)

    def test_a_failed_exchange_releases_the_lock(self, new: Callable[[], TokenCache], directory: Path) -> None:
        def fail() -> AccessToken:
            raise Unavailable("cut")

        with pytest.raises(Unavailable):
            new().obtain(KEY, anything, fail)
        assert files(directory) == []
        fill(new())

    def test_waiting_for_another_process_is_bounded(self, directory: Path, clock: Clock) -> None:
        holder, impatient = (TokenCache(str(directory), clock=clock, wait_s=0.02) for _ in range(2))

        def slow() -> AccessToken:
            # While this one holds the lock, the other waits its 20 ms and then asks for itself.
            assert impatient.obtain(KEY, anything, lambda: token("own")) == (token("own"), True)
            return token()

        assert holder.obtain(KEY, anything, slow) == (token(), True)


def in_threads(work: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class TestDeadline:
    """No wait for others lasts longer than the command may (`--timeout`)."""

    def test_the_lock_of_another_process_is_not_waited_for_beyond_it(self, directory: Path, clock: Clock) -> None:
        holder, began = TokenCache(str(directory), clock=clock), threading.Event()
        done = threading.Event()

        def slow() -> AccessToken:
            began.set()
            done.wait(20)
            return token()

        thread = threading.Thread(target=holder.obtain, args=(KEY, anything, slow))
        thread.start()
        try:
            assert began.wait(5)
            for cache in (TokenCache(str(directory), clock=clock, run=Run()), holder):
                cache._run = Run(deadline=time.monotonic() + 0.2)
                start = time.monotonic()
                with pytest.raises(DeadlineExceeded):
                    cache.obtain(KEY, anything, never)
                assert time.monotonic() - start < 5
        finally:
            done.set()
            thread.join()


class TestEpoch:
    """A login or logout ends the tokens from before, for every process (C20)."""

    def test_a_new_epoch_removes_tokens_and_hides_those_written_under_the_old_one(
        self, new: Callable[[], TokenCache], directory: Path
    ) -> None:
        cache = new()
        old = KEY._replace(epoch=cache.epoch())
        fill(cache, old)
        tokens.forget_tokens(str(directory))
        assert files(directory) == []
        fill(new(), old)  # by a process that began before
        current = KEY._replace(epoch=new().epoch())
        assert current != old
        assert new().load(current) is None
        fill(new(), current)
        assert new().load(current) == token()

    def test_without_a_directory_there_is_nothing_to_do(self, directory: Path) -> None:
        tokens.forget_tokens("")
        tokens.forget_tokens(str(directory))
        assert not directory.exists()
        assert TokenCache(None).epoch() == b""

    def test_a_directory_of_somebody_else_is_left_alone(self, tmp_path: Path, directory: Path) -> None:
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "token-1").touch()
        directory.parent.mkdir()
        directory.symlink_to(tmp_path / "other")
        tokens.forget_tokens(str(directory))
        assert [path.name for path in (tmp_path / "other").iterdir()] == ["token-1"]
