"""The stores against a dict: any order of operations, on disk with crashes of the process between them."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from dist_tool.errors import AlreadyExists, DigestMismatch, Locked, NotFound, SizeMismatch
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.store import open_store
from dist_tool.store.gc import GcPolicy, collect
from dist_tool.store.memory import MemoryStore
from dist_tool.store.verify import read, verify_all

CONTENTS = [b"", b"a", b"ab", b"abc" * 30, b"abd" * 30, b"x" * 300]
REFS = st.sampled_from(["r1", "r2"])
NAMES = st.sampled_from(["n1", "n2", "docker.io/library/redis:latest"])
CONTENT = st.sampled_from(CONTENTS)
ALGORITHMS = st.sampled_from(["sha256", "sha512"])


class StoreMachine(RuleBasedStateMachine):
    """`blobs`, `partial`, `labels` and `names` say what must be in the store."""

    digests = Bundle("digests")

    def new_store(self):
        return MemoryStore()

    @initialize()
    def begin(self):
        self.store = self.new_store()
        self.blobs: dict[Digest, bytes] = {}
        self.partial: dict[str, bytes] = {}
        self.writers = {}
        self.labels: dict[Digest, dict[str, str]] = {}
        self.names: dict[str, Digest] = {}

    @rule(ref=REFS)
    def open(self, ref):
        if ref in self.writers:
            with pytest.raises(Locked):
                self.store.writer(ref)
            return
        writer = self.store.writer(ref)
        self.writers[ref] = writer
        assert writer.offset == len(self.partial.setdefault(ref, b""))
        assert writer.digest() == Digest.of(self.partial[ref])

    @rule(ref=REFS, data=CONTENT)
    def write(self, ref, data):
        if ref in self.writers:
            assert self.writers[ref].write(data) == len(data)
            self.partial[ref] += data

    @rule(ref=REFS)
    def truncate(self, ref):
        if ref in self.writers:
            self.writers[ref].truncate()
            self.partial[ref] = b""

    @rule(ref=REFS)
    def close(self, ref):
        if ref in self.writers:
            self.writers.pop(ref).close()
            if not self.partial[ref]:
                del self.partial[ref]

    @rule(ref=REFS, algorithm=ALGORITHMS, target=digests)
    def commit(self, ref, algorithm):
        if ref not in self.writers:
            return Digest.of(b"absent")
        data = self.partial.pop(ref)
        desc = Descriptor(Digest.of(data, algorithm), len(data))
        if desc.digest in self.blobs:
            with pytest.raises(AlreadyExists):
                self.writers.pop(ref).commit(desc)
        else:
            assert self.writers.pop(ref).commit(desc).digest == desc.digest
            self.blobs[desc.digest] = data
        return desc.digest

    @rule(ref=REFS)
    def commit_as_something_else(self, ref):
        if ref in self.writers:
            with pytest.raises(DigestMismatch):
                self.writers.pop(ref).commit(Descriptor(Digest.of(b"something else"), len(self.partial.pop(ref))))

    @rule(ref=REFS)
    def commit_too_little(self, ref):
        if ref in self.writers:
            with pytest.raises(SizeMismatch):
                self.writers.pop(ref).commit(Descriptor(Digest.of(b""), len(self.partial[ref]) + 1))

    @rule(ref=REFS)
    def abort(self, ref):
        if ref in self.writers:
            with pytest.raises(Locked):
                self.store.abort(ref)
        elif ref in self.partial:
            self.store.abort(ref)
            del self.partial[ref]
        else:
            with pytest.raises(NotFound):
                self.store.abort(ref)

    @rule(digest=digests)
    def delete(self, digest):
        if digest in self.blobs:
            self.store.delete(digest)
            del self.blobs[digest]
            self.labels.pop(digest, None)
        else:
            with pytest.raises(NotFound):
                self.store.delete(digest)

    @rule(digest=digests, labels=st.dictionaries(st.sampled_from("abc"), st.sampled_from(["", "1", "2"])))
    def label(self, digest, labels):
        if digest not in self.blobs:
            with pytest.raises(NotFound):
                self.store.label(digest, labels)
            return
        mine = self.labels.setdefault(digest, {})
        mine.update(labels)
        self.labels[digest] = {key: value for key, value in mine.items() if value}
        assert self.store.label(digest, labels).labels == self.labels[digest]

    @rule(name=NAMES, digest=digests)
    def tag(self, name, digest):
        if digest in self.blobs:
            self.store.tag(name, Descriptor(digest, len(self.blobs[digest])))
            self.names[name] = digest
        else:
            with pytest.raises(NotFound):
                self.store.tag(name, Descriptor(digest, 1))

    @rule(name=NAMES)
    def untag(self, name):
        if name in self.names:
            assert self.store.untag(name).digest == self.names.pop(name)
        else:
            with pytest.raises(NotFound):
                self.store.untag(name)

    @invariant()
    def the_store_is_what_the_model_says(self):
        if not hasattr(self, "store"):
            return
        assert {info.digest: (info.size, info.labels) for info in self.store.walk()} == {
            digest: (len(data), self.labels.get(digest, {})) for digest, data in self.blobs.items()
        }
        assert {status.ref: (status.offset, status.active) for status in self.store.statuses()} == {
            ref: (len(data), ref in self.writers) for ref, data in self.partial.items()
        }
        assert {name: self.store.resolve(name, Hints()).digest for name in self.store.tags()} == self.names
        assert all(verdict.state == "ok" for verdict in verify_all(self.store))
        for digest, data in self.blobs.items():
            assert read(self.store, Descriptor(digest), 1000) == data


class DiskStoreMachine(StoreMachine):
    """The store on disk: a process may be killed, and garbage is collected."""

    def new_store(self):
        self.root = tempfile.mkdtemp()
        return open_store(self.root + "/store")

    def teardown(self):
        for writer in getattr(self, "writers", {}).values():
            writer.abandon()
        if hasattr(self, "root"):
            shutil.rmtree(self.root)

    @rule(ref=REFS)
    def crash(self, ref):
        """What a kill does to a writer: file and lock are gone, and nothing else happens."""
        if ref in self.writers:
            self.writers.pop(ref).abandon()
            self.store = open_store(self.store.root)

    @rule(dry_run=st.booleans())
    def collect(self, dry_run):
        removed = {each.name for each in collect(self.store, GcPolicy(grace_s=0, dry_run=dry_run))}
        garbage = {digest for digest in self.blobs if digest not in self.names.values()}
        abandoned = {ref for ref in self.partial if ref not in self.writers}
        assert removed == {str(digest) for digest in garbage} | abandoned
        if not dry_run:
            for digest in garbage:
                del self.blobs[digest]
                self.labels.pop(digest, None)
            for ref in abandoned:
                del self.partial[ref]


SETTINGS = settings(
    max_examples=int(os.environ.get("DIST_TEST_EXAMPLES", "20")),
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestMemoryStoreMachine = StoreMachine.TestCase
TestMemoryStoreMachine.settings = SETTINGS
TestDiskStoreMachine = DiskStoreMachine.TestCase
TestDiskStoreMachine.settings = SETTINGS
