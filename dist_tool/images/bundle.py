"""OCI runtime bundles: convert an image config to a runtime config.json (image-spec conversion.md)."""

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
_ALL = (IdRange(0, 0, 2**32 - 1),)  # the identity mapping
_TTY_GROUP = 5
_SAFE = ["nosuid", "noexec", "nodev"]


def write_config(config: ImageConfig, stage: Staged, options: ApplyOptions) -> None:
    """Write `config.json` next to `rootfs`. Raises InvalidContent if the image's account files lack its user."""
    text = json.dumps(runtime_config(config, Accounts.read(stage.root), user_namespace(options)), indent=2) + "\n"
    with os_errors("config.json"):
        descriptor = os.open("config.json", _CREATE, 0o666, dir_fd=stage.top)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        _allow_root_group(stage.top, options)


def _allow_root_group(bundle: int, options: ApplyOptions) -> None:
    """Give the container's root group search permission on the bundle directory: a runtime needs it for `rootfs`."""
    owner = options.parent_owner()
    if owner is not None and os.geteuid() == 0:
        os.chown(bundle, -1, owner[1])
        os.fchmod(bundle, 0o710)


class UserNamespace(NamedTuple):
    """ID mappings of a container's user namespace. `rootless`: an unprivileged user creates it."""

    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]
    rootless: bool


def user_namespace(options: ApplyOptions) -> UserNamespace | None:
    """The user namespace in which an unpacked tree has the image's owners; None for the host's namespace."""
    rootless = os.geteuid() != 0
    if options.uid_map or options.gid_map:
        return UserNamespace(options.uid_map or _ALL, options.gid_map or _ALL, rootless)
    if rootless:
        return UserNamespace((IdRange(0, os.geteuid(), 1),), (IdRange(0, os.getegid(), 1),), rootless)
    return None


def check_bundle(config: ImageConfig) -> None:
    """Raise Unsupported for an image that cannot run as a Linux bundle."""
    if config.platform.os == "windows":
        raise Unsupported("cannot create a Linux bundle from a Windows image", hint="unpack it without --bundle")


def runtime_config(config: ImageConfig, accounts: Accounts, namespace: UserNamespace | None) -> dict[str, Any]:
    """Runtime configuration for an image."""
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
    """Parse `user`, `uid`, `user:group`, `uid:gid` and mixed forms (image-spec config.md, "User")."""
    name, _, group = text.partition(":")
    account = accounts.user(name or "0")
    if account is None:
        raise InvalidContent(f"the image runs as {text!r}, which is not in its /etc/passwd")
    gid = account.gid
    if group:
        found = accounts.group(group)
        if found is None:
            raise InvalidContent(f"the image runs as {text!r}, whose group is not in its /etc/group")
        gid = found
    user: dict[str, Any] = {"uid": account.uid, "gid": gid}
    if not group and account.name and (more := accounts.supplementary(account.name, gid)):
        user["additionalGids"] = more
    return user


def _annotations(config: ImageConfig) -> dict[str, str]:
    """Annotations derived from the image config; the image's labels take precedence."""
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
    if rootless:  # mounting sysfs requires a network namespace of the container's own
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
    """A writable tmpfs for each volume that the image declares."""
    return [_tmpfs(path, ["nosuid", "nodev", "mode=755"]) for path in sorted(config.execution.volumes)]


def _tmpfs(destination: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options}
