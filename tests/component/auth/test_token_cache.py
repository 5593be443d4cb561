"""The cache of access tokens: one exchange for everybody, nothing but tokens, nobody else's (C10, C20, C21, W6)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.cached_tokens import Clock, files, fill

from dist_tool.auth.token_cache import TokenCache

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "dist"


class TestConcurrency:
    def test_a_lock_left_by_a_killed_process_stops_nobody(self, directory: Path, clock: Clock) -> None:
        script = WORKER.format(body="os.kill(os.getpid(), 9)")
        done = subprocess.run([sys.executable, "-c", script, str(directory)], cwd=ROOT, timeout=60, check=False)
        assert done.returncode == -9
        assert [path.suffix for path in files(directory)] == [".lock"]
        fill(TokenCache(str(directory), clock=clock, wait_s=0))

    def test_ten_cold_processes_make_one_exchange(self, tmp_path: Path, directory: Path) -> None:
        """Whoever fetches waits until all ten have started, so all others find the lock held. Behaviours W6."""
        body = """
with open(sys.argv[2] + "/counter", "a") as counter:
    counter.write("x")
while len(os.listdir(sys.argv[2] + "/started")) < 10:
    time.sleep(0.01)
"""
        (tmp_path / "started").mkdir()
        script = WORKER.format(body=body.replace("\n", "\n    "))
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", script, str(directory), str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
            )
            for _ in range(10)
        ]
        outputs = [process.communicate(timeout=120)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * 10
        assert (tmp_path / "counter").read_text() == "x"
        assert len(set(outputs)) == 1
        assert outputs[0].startswith(b"token-of-")
        assert [path.suffix for path in files(directory)] == [""]


WORKER = """
import os, sys, time
from dist_tool.auth.token_cache import (AccessToken, TokenCache, TokenKey)

def fetch():
    {body}
    return AccessToken(f"token-of-{{os.getpid()}}", time.time() + 300, "https://auth.test/token")

if len(sys.argv) > 2:
    open(f"{{sys.argv[2]}}/started/{{os.getpid()}}", "w").close()
key = TokenKey("https://registry.test", "registry.test", ("repository:a:pull",), b"somebody")
print(TokenCache(sys.argv[1], wait_s=100).obtain(key, lambda token: True, fetch)[0].value)
"""
