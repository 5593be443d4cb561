"""The job on a real registry: skopeo pushes to docker-registry, the README's pipelines fetch, digests agree."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.content import image, random_bytes, write_layout
from support.fetching import docker_config
from support.invoked import said
from support.processes import (
    Registry,
    Result,
    dist_command,
    dist_environment,
    require_program,
    run_dist,
    run_program,
)

from dist_tool.oci.digest import Digest

LAYERS = 10
NAME = "library/redis"
R = "docker.io/library/redis"
SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of busybox and what lies around it, a layer each."""
    busybox = Path(require_program("busybox")).read_bytes()
    around = [{f"usr/share/{n}": random_bytes(f"around busybox {n}", 20_000 + n)} for n in range(LAYERS - 1)]
    sample = image("busybox", layers=[{"bin/busybox": busybox}, *around])
    return write_layout(tmp_path_factory.mktemp("busybox") / "img", {"latest": sample})


def skopeo(registry: Registry, side: str) -> list[str]:
    """skopeo's options for one side of a copy ("src" or "dest"), or of an inspection ("")."""
    prefix = f"--{side}-" if side else "--"
    login = [f"{prefix}creds={registry.user}:{registry.password}"] if registry.user else []
    if not registry.ca:
        return [f"{prefix}tls-verify=false", *login]
    trust = Path(registry.ca).parent / "trust"  # a directory of its own: skopeo takes every key for a client's
    trust.mkdir(exist_ok=True)
    (trust / "ca.crt").write_bytes(Path(registry.ca).read_bytes())
    return [f"{prefix}cert-dir={trust}", *login]


class Pushed:
    """The image in a registry, as skopeo sees it, and `docker.io/library` served from there."""

    def __init__(self, registry: Registry, layout: Path) -> None:
        self.registry = registry
        self.reference = f"docker://{registry.host}/{NAME}:latest"
        copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--format", "v2s2", *skopeo(registry, "dest")]
        run_program(*copy, f"oci:{layout}:latest", self.reference)
        inspect = ["skopeo", "inspect", "--raw", *skopeo(registry, ""), self.reference]
        self.manifest = run_program(*inspect)
        self.digest = "sha256:" + run_program("sha256sum", stdin=self.manifest).split()[0].decode()
        self.layers = [layer["digest"] for layer in json.loads(self.manifest)["layers"]]

    def configure(self, home: Path, *lines: str) -> None:
        """Serve the Hub's images from the registry, logged in where it wants that."""
        config = home / ".config" / "dist" / "config.toml"
        config.parent.mkdir(parents=True)
        remote = ["[[remote]]", 'prefix = "docker.io/library"', f'location = "{self.registry.host}/library"', *lines]
        config.write_text("\n".join(remote))
        if self.registry.user:
            (home / ".docker").mkdir()
            login = f"{self.registry.user}:{self.registry.password}"
            (home / ".docker" / "config.json").write_text(docker_config({self.registry.host: login}))


@pytest.fixture(scope="module")
def plain(registry: Registry, layout: Path) -> Pushed:
    return Pushed(registry, layout)


@pytest.fixture(scope="module")
def locked(locked_registry: Registry, layout: Path) -> Pushed:
    return Pushed(locked_registry, layout)


@pytest.fixture(scope="module")
def secure(tls_registry: Registry, layout: Path) -> Pushed:
    return Pushed(tls_registry, layout)


@pytest.fixture(params=["plain", "locked", "secure"])
def pushed(request: pytest.FixtureRequest, isolation: Path) -> Pushed:
    """Each kind of registry, configured as it needs to be."""
    found: Pushed = request.getfixturevalue(request.param)
    found.configure(isolation, *([f'tls.ca = ["{found.registry.ca}"]'] if found.registry.ca else []))
    return found


@pytest.fixture
def path(tmp_path: Path) -> Mapping[str, str]:
    """An environment whose PATH has `dist`."""
    for program in ("jq", "shasum", "xargs", "sha256sum"):
        require_program(program)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "dist"
    program.write_text("#!/bin/sh\nexec " + " ".join(dist_command()) + ' "$@"\n')
    program.chmod(0o755)
    environment = dist_environment()
    return {**environment, "PATH": f"{tmp_path / 'bin'}:{environment['PATH']}"}


def sh(script: str, environment: Mapping[str, str]) -> bytes:
    """What `sh` makes of a script, which must end well and say nothing."""
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, timeout=120, check=False)
    assert (done.returncode, said(done.stderr)) == (0, [])
    return done.stdout


def test_the_three_pipelines_of_the_readme_as_typed(pushed: Pushed, path: Mapping[str, str]) -> None:
    first = sh(f"dist fetch {R} latest mediatype:application/vnd.docker.distribution.manifest.v2+json", path)
    assert first == pushed.manifest
    assert json.loads(first)["mediaType"] == SCHEMA2
    second = sh(f"dist fetch {R} sha256:$(dist fetch {R} latest | shasum -a256)", path)
    assert second == pushed.manifest
    third = f"dist fetch {R} {pushed.digest} | jq -r '.layers[].digest' | xargs -n1 -P10 dist fetch {R} > /dev/null"
    assert sh(third, path) == b""
    assert len(pushed.layers) == LAYERS


def test_digests_agree_with_skopeos(plain: Pushed, isolation: Path, path: Mapping[str, str]) -> None:
    plain.configure(isolation)
    assert sh(f"dist resolve {R}:latest", path).decode().strip() == plain.digest
    layers = (
        f"dist fetch {R} latest | jq -r '.layers[].digest' | xargs -n1 -P10 sh -c 'dist fetch {R} \"$0\" | sha256sum'"
    )
    got = [f"sha256:{line.split()[0]}" for line in sh(layers, path).decode().splitlines()]
    assert sorted(got) == sorted(plain.layers)
    config = f"dist fetch {R} latest | jq -r .config.digest | xargs dist fetch {R} | jq -r '.rootfs.diff_ids | length'"
    assert sh(config, path) == f"{LAYERS}\n".encode()


def test_many_objects_from_one_process(plain: Pushed, isolation: Path, path: Mapping[str, str], tmp_path: Path) -> None:
    plain.configure(isolation)
    line = f"dist fetch {R} latest | jq -r '.layers[].digest' | dist fetch {R} --stdin --into {tmp_path / 'layers'}"
    assert len(sh(line, path).splitlines()) == LAYERS
    for digest in plain.layers:
        file = tmp_path / "layers" / digest.replace(":", "-")
        assert str(Digest.of(file.read_bytes())) == digest


def _fetch(registry: Registry, object_id: str, **environ: str) -> Result:
    return run_dist(["fetch", f"{registry.host}/{NAME}", object_id], environ)


def test_what_a_real_registry_has_not_is_exit_3(plain: Pushed) -> None:
    for object_id in ("no-such-tag", f"sha256:{'0' * 64}"):
        result = _fetch(plain.registry, object_id)
        assert (result.code, result.stdout) == (3, b"")
    result = run_dist(["fetch", f"{plain.registry.host}/no/such", "latest"])
    assert result.code == 3
    assert "NAME_UNKNOWN" in result.stderr or "MANIFEST_UNKNOWN" in result.stderr


def test_without_a_password_and_with_a_wrong_one_it_is_exit_4(locked: Pushed, isolation: Path) -> None:
    host = locked.registry.host
    result = _fetch(locked.registry, "latest")
    assert (result.code, result.stdout) == (4, b"")
    assert f"dist login {host}" in result.stderr
    (isolation / ".docker").mkdir()
    (isolation / ".docker" / "config.json").write_text(docker_config({host: "tester:wrong"}))
    result = _fetch(locked.registry, "latest")
    assert (result.code, result.stdout) == (4, b"")
    assert "wrong" not in result.stderr


def test_a_ca_may_come_from_the_environment(secure: Pushed, isolation: Path) -> None:
    secure.configure(isolation)
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        assert run_dist(["fetch", R, "latest"], {variable: secure.registry.ca}).stdout == secure.manifest


def test_with_no_trust_in_its_certificate_it_is_exit_6(secure: Pushed) -> None:
    result = _fetch(secure.registry, "latest")
    assert (result.code, result.stdout) == (6, b"")
    assert "certificate is not trusted" in result.stderr
    assert "SSL_CERT_FILE" in result.stderr


def test_the_right_login_in_containers_file_is_used_too(locked: Pushed, isolation: Path) -> None:
    directory = isolation / "run" / "containers"
    directory.mkdir()
    (directory / "auth.json").write_text(docker_config({locked.registry.host: "tester:correct horse"}))
    assert _fetch(locked.registry, "latest").stdout == locked.manifest


def test_tags_are_listed_page_by_page(plain: Pushed) -> None:
    from support.repositories import opened as open_remote

    from dist_tool.config import load

    with open_remote(f"{plain.registry.host}/{NAME}", load({})) as remote:
        assert list(remote.tags()) == ["latest"]  # type: ignore[attr-defined]
        # registry 2.8 has no referrers API: the tag is asked for, and there is none
        assert list(remote.referrers(Digest.parse(plain.digest))) == []  # type: ignore[attr-defined]
