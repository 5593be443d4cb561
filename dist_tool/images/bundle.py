"""OCI runtime bundles: the runtime's config.json from an image's config (image-spec conversion.md)."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from dist_tool.errors import InvalidContent, Unsupported
from dist_tool.files import os_errors
from dist_tool.layers.options import ApplyOptions, IdRange
from dist_tool.oci.image import ImageConfig
from dist_tool.rootfs.accounts import Accounts
from dist_tool.rootfs.staging import Staged

_ANNOTATION = "org.opencontainers.image."
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ALL = (IdRange(0, 0, 2**32 - 1),)  # ids that are the same on the host
_TTY_GROUP = 5
_SAFE = ["nosuid", "noexec", "nodev"]


def write_config(config: ImageConfig, stage: Staged, options: ApplyOptions) -> None:
    """Write `config.json` beside `rootfs`. Raises InvalidContent for a user that the image does not know."""
    text = json.dumps(runtime_config(config, Accounts.read(stage.root), user_namespace(options)), indent=2) + "\n"
    with os_errors("config.json"):
        descriptor = os.open("config.json", _CREATE, 0o666, dir_fd=stage.top)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        _let_in(stage.top, options)


def _let_in(bundle: int, options: ApplyOptions) -> None:
    """Let the root group of the container pass through the bundle's directory, which a runtime needs for `rootfs`."""
    owner = options.parent_owner()
    if owner is not None and os.geteuid() == 0:
        os.chown(bundle, -1, owner[1])
        os.fchmod(bundle, 0o710)


class UserNamespace(NamedTuple):
    """The id maps of a container's user namespace. `rootless`: it is made by an ordinary user."""

    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]
    rootless: bool


def user_namespace(options: ApplyOptions) -> UserNamespace | None:
    """The namespace in which the owners of an unpacked tree are what the image names; None for that of the host."""
    rootless = os.geteuid() != 0
    if options.uid_map or options.gid_map:
        return UserNamespace(options.uid_map or _ALL, options.gid_map or _ALL, rootless)
    if rootless:
        return UserNamespace((IdRange(0, os.geteuid(), 1),), (IdRange(0, os.getegid(), 1),), rootless)
    return None


def check_bundle(config: ImageConfig) -> None:
    """Raise Unsupported for an image whose bundle would not run here."""
    if config.platform.os == "windows":
        raise Unsupported("a Windows image cannot become a bundle for Linux", hint="unpack it without --bundle")


def runtime_config(config: ImageConfig, accounts: Accounts, namespace: UserNamespace | None) -> dict[str, Any]:
    """The runtime configuration of an image."""
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")],
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
    }
    rootless = namespace is not None and namespace.rootless
    if namespace is not None:
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = _mappings(namespace.uids)
        linux["gidMappings"] = _mappings(namespace.gids)
    if not rootless:
        linux["namespaces"].append({"type": "network"})
    terminals = namespace is None or _covers(namespace.gids, _TTY_GROUP)
    return {
        "ociVersion": "1.0.2",
        "process": _process(config, accounts),
        "root": {"path": "rootfs"},
        "mounts": [*_mounts(rootless=rootless, terminals=terminals), *_volumes(config)],
        "annotations": _annotations(config),
        "linux": linux,
    }


def _mappings(ranges: tuple[IdRange, ...]) -> list[dict[str, int]]:
    return [{"containerID": first, "hostID": host, "size": size} for first, host, size in ranges]


def _covers(ranges: tuple[IdRange, ...], number: int) -> bool:
    return any(first <= number < first + size for first, _, size in ranges)


def _process(config: ImageConfig, accounts: Accounts) -> dict[str, Any]:
    run = config.execution
    env = list(run.env)
    if not any(entry.startswith("PATH=") for entry in env):
        env.insert(0, _PATH)
    capabilities = {kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted")}
    return {
        "terminal": False,
        "user": _user(run.user, accounts),
        "args": [*run.entrypoint, *run.cmd] or ["sh"],
        "env": env,
        "cwd": run.working_dir if run.working_dir.startswith("/") else f"/{run.working_dir}",
        "capabilities": capabilities,
        "noNewPrivileges": True,
    }


def _user(text: str, accounts: Accounts) -> dict[str, Any]:
    """`user`, `uid`, `user:group`, `uid:gid` and their mixtures (image-spec config.md, "User")."""
    name, _, group = text.partition(":")
    account = accounts.user(name or "0")
    if account is None:
        raise InvalidContent(f"the image runs as {text!r}, which its /etc/passwd does not know")
    gid = account.gid
    if group:
        found = accounts.group(group)
        if found is None:
            raise InvalidContent(f"the image runs as {text!r}, which its /etc/group does not know")
        gid = found
    user: dict[str, Any] = {"uid": account.uid, "gid": gid}
    if not group and account.name and (more := accounts.supplementary(account.name, gid)):
        user["additionalGids"] = more
    return user


def _annotations(config: ImageConfig) -> dict[str, str]:
    """Facts of the image; its labels win over what they are derived from."""
    platform, run = config.platform, config.execution
    derived = {
        "os": platform.os,
        "architecture": platform.architecture,
        "variant": platform.variant,
        "os.version": platform.os_version,
        "os.features": ",".join(platform.os_features),
        "author": config.author,
        "created": config.created,
        "stopSignal": run.stop_signal,
        "exposedPorts": ",".join(run.exposed_ports),
    }
    return {**{_ANNOTATION + name: value for name, value in derived.items() if value}, **run.labels}


def _mounts(*, rootless: bool, terminals: bool) -> list[dict[str, Any]]:
    group = [f"gid={_TTY_GROUP}"] if terminals else []
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *group]
    sys = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_SAFE, "ro"]}
    if rootless:  # sysfs belongs to a network namespace of one's own
        sys = {"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", *_SAFE, "ro"]}
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        _tmpfs("/dev", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts},
        _tmpfs("/dev/shm", [*_SAFE, "mode=1777", "size=65536k"]),  # noqa: S108  a mount, not a temporary file
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _SAFE},
        sys,
    ]


def _volumes(config: ImageConfig) -> list[dict[str, Any]]:
    """A place to write to for each volume that the image declares."""
    return [_tmpfs(path, ["nosuid", "nodev", "mode=755"]) for path in sorted(config.execution.volumes)]


def _tmpfs(destination: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options}
