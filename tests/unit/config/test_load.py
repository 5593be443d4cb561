"""Which files are read, and what wins: flags, then the environment, then files."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.config_files import write_settings

from dist_tool import config
from dist_tool.errors import InvalidArgument


@pytest.fixture
def environ(isolation: Path) -> dict[str, str]:
    return {"HOME": str(isolation)}


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that stands for /etc/dist. It does not exist yet."""
    directory = tmp_path / "etc" / "dist"
    monkeypatch.setattr(config, "SYSTEM_DIRECTORY", str(directory))
    return directory


def places(environ: dict[str, str], file: str | None = None) -> dict[str, str]:
    return {remote.prefix: remote.own.location for remote in config.load(environ, file=file).routes}


def user(environ: dict[str, str]) -> Path:
    return Path(environ["HOME"]) / ".config" / "dist"


def test_without_files_the_settings_are_the_defaults(environ: dict[str, str]) -> None:
    settings = config.load(environ)
    assert (settings.routes, settings.timeout_s, settings.max_size, settings.lenient) == ((), None, None, False)
    assert settings.environ == environ


def test_the_environment_is_a_snapshot(environ: dict[str, str]) -> None:
    settings = config.load(environ)
    environ["LATER"] = "1"
    assert "LATER" not in settings.environ


def test_later_files_win_value_by_value(environ: dict[str, str], system: Path) -> None:
    order = [
        system / "config.toml",
        system / "config.d" / "10.toml",
        user(environ) / "config.toml",
        user(environ) / "config.d" / "1.toml",
        user(environ) / "config.d" / "2.toml",
    ]
    write_settings(order[0], timeout=100, max_size=7)
    for number, file in enumerate(order[1:], 1):
        write_settings(file, timeout=100 + number)
        settings = config.load(environ)
        assert (settings.timeout_s, settings.max_size) == (100 + number, 7)


def test_a_remote_overrides_one_of_the_same_prefix_whole(environ: dict[str, str], system: Path) -> None:
    write_settings(system / "config.toml", remotes={"docker.io": "old.example/hub", "quay.io": "quay.example"})
    file = write_settings(user(environ) / "config.toml", remotes={"a.example": "b.example"})
    file.write_text(file.read_text() + '\n[[remote]]\nprefix = "index.docker.io"\nblocked = true\n')
    remotes = {remote.prefix: remote for remote in config.load(environ).routes}
    assert set(remotes) == {"docker.io", "quay.io", "a.example"}
    assert (remotes["docker.io"].blocked, remotes["docker.io"].own.location) == (True, "")
    assert remotes["docker.io"].where == f"{file}:5"


def test_only_visible_toml_files_of_a_drop_in_directory_are_read(environ: dict[str, str]) -> None:
    directory = user(environ) / "config.d"
    write_settings(directory / "a.toml", timeout=1)
    for name in ("z.toml~", ".z.toml", "z.conf"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text("not TOML")
    assert config.load(environ).timeout_s == 1


def test_xdg_config_home_is_where_the_users_files_are(environ: dict[str, str], tmp_path: Path) -> None:
    write_settings(user(environ) / "config.toml", timeout=1)
    write_settings(tmp_path / "xdg" / "dist" / "config.toml", timeout=2)
    assert config.load({**environ, "XDG_CONFIG_HOME": f"{tmp_path}/xdg"}).timeout_s == 2
    assert config.load({**environ, "XDG_CONFIG_HOME": ""}).timeout_s == 1
    assert config.load({**environ, "XDG_CONFIG_HOME": "xdg"}).timeout_s == 1, "relative: XDG says to ignore it"


@pytest.mark.parametrize("home", [None, "", "relative", "/dev/null", "/nonexistent"])
def test_a_user_without_a_home_has_no_files(home: str | None, system: Path) -> None:
    write_settings(system / "config.toml", timeout=3)
    assert config.load({} if home is None else {"HOME": home}).timeout_s == 3


def test_a_named_file_stands_in_for_the_users_files_only(environ: dict[str, str], system: Path, tmp_path: Path) -> None:
    write_settings(system / "config.toml", remotes={"system.example": "a.example"})
    write_settings(user(environ) / "config.toml", remotes={"user.example": "a.example"})
    write_settings(user(environ) / "config.d" / "a.toml", remotes={"drop-in.example": "a.example"})
    by_variable = write_settings(tmp_path / "variable.toml", remotes={"variable.example": "a.example"})
    by_flag = write_settings(tmp_path / "flag.toml", remotes={"flag.example": "a.example"})
    assert set(places(environ)) == {"system.example", "user.example", "drop-in.example"}
    environ["DIST_CONFIG"] = str(by_variable)
    assert set(places(environ)) == {"system.example", "variable.example"}
    assert set(places(environ, str(by_flag))) == {"system.example", "flag.example"}


def test_an_empty_name_means_no_file_at_all(environ: dict[str, str], system: Path) -> None:
    write_settings(system / "config.toml", timeout=1)
    write_settings(user(environ) / "config.toml", timeout=2)
    assert config.load({**environ, "DIST_CONFIG": ""}).timeout_s is None
    assert config.load(environ, file="").timeout_s is None


def test_a_named_file_must_exist(environ: dict[str, str], tmp_path: Path) -> None:
    missing = f"{tmp_path}/none.toml"
    for variable, flag, name in (("", missing, "--config"), (missing, None, "DIST_CONFIG")):
        with pytest.raises(InvalidArgument) as caught:
            config.load({**environ, "DIST_CONFIG": variable}, file=flag)
        assert str(caught.value) == f"{missing}: No such file or directory: given by {name}"


def test_a_drop_in_that_dangles_is_an_error(environ: dict[str, str]) -> None:
    directory = user(environ) / "config.d"
    directory.mkdir(parents=True)
    (directory / "a.toml").symlink_to("nowhere")
    with pytest.raises(InvalidArgument, match=r"a\.toml: No such file"):
        config.load(environ)


def test_a_directory_is_no_file(environ: dict[str, str]) -> None:
    (user(environ) / "config.toml").mkdir(parents=True)
    with pytest.raises(InvalidArgument, match=r"config\.toml: Is a directory"):
        config.load(environ)


def test_a_file_that_may_not_be_read_is_an_error(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the refusal is made."""

    def refuse(name: str) -> list[str]:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(InvalidArgument, match=r"config\.d: Permission denied"):
        config.load(environ)


def test_a_file_of_more_than_a_mebibyte_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "large.toml"
    file.write_bytes(b"#" * (1 << 20))
    config.load(environ, file=str(file))
    file.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(InvalidArgument, match=r"large\.toml: the configuration file is larger than 1 MiB"):
        config.load(environ, file=str(file))


def test_an_endless_file_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="larger than 1 MiB"):
        config.load(environ, file="/dev/zero")


@pytest.mark.parametrize("name", ["DIST_TIMEOUT", "CONTAINERD_FETCH_TIMEOUT"])
def test_timeouts_of_the_environment_win_over_files_and_lose_to_flags(name: str, environ: dict[str, str]) -> None:
    write_settings(user(environ) / "config.toml", timeout=10)
    environ[name] = "1m"
    assert config.load(environ).timeout_s == 60.0
    assert config.load(environ, timeout_s=5.0).timeout_s == 5.0


def test_our_own_timeout_variable_wins_over_its_alias(environ: dict[str, str]) -> None:
    environ |= {"DIST_TIMEOUT": "1", "CONTAINERD_FETCH_TIMEOUT": "2"}
    assert config.load(environ).timeout_s == 1.0
    environ["DIST_TIMEOUT"] = ""
    assert config.load(environ).timeout_s == 2.0


def test_only_zero_removes_a_limit_of_an_earlier_file(environ: dict[str, str], system: Path) -> None:
    write_settings(system / "config.toml", timeout=10, max_size=10)
    write_settings(user(environ) / "config.toml")
    assert config.load(environ).timeout_s == 10.0
    write_settings(user(environ) / "config.toml", timeout=0)
    assert config.load(environ).timeout_s is None
    assert config.load(environ, max_size=0).max_size is None
    environ["DIST_TIMEOUT"] = "20"
    assert config.load(environ, timeout_s=0.0).timeout_s is None


def test_flags_win_over_files(environ: dict[str, str]) -> None:
    file = write_settings(user(environ) / "config.toml", max_size=10)
    file.write_text(file.read_text() + "\nlenient = true\n")
    assert (config.load(environ).max_size, config.load(environ).lenient) == (10, True)
    settings = config.load(environ, max_size=20, lenient=False)
    assert (settings.max_size, settings.lenient) == (20, False)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("DIST_TIMEOUT", "soon"),
        ("DIST_TIMEOUT", "-1"),
        ("CONTAINERD_FETCH_TIMEOUT", "9999h"),
        ("DIST_NO_TOKEN_CACHE", "maybe"),
    ],
)
def test_bad_values_name_their_variable(name: str, word: str, environ: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        config.load({**environ, name: word})
    assert str(caught.value).startswith(f"{name}: ")


def test_tokens_are_cached_in_the_users_cache_directory(environ: dict[str, str]) -> None:
    assert config.load(environ).cache_dir == f"{environ['HOME']}/.cache/dist"
    assert config.load({**environ, "XDG_CACHE_HOME": "/var/cache/me"}).cache_dir == "/var/cache/me/dist"
    assert config.load({**environ, "XDG_CACHE_HOME": "relative"}).cache_dir == f"{environ['HOME']}/.cache/dist"
    assert config.load({}).cache_dir == ""
    assert config.load({"XDG_CACHE_HOME": "/var/cache/me"}).cache_dir == "/var/cache/me/dist"


@pytest.mark.parametrize(
    ("word", "file", "cached"),
    [
        ("1", None, False),
        ("TRUE", "true", False),
        ("0", None, True),
        ("no", "false", True),
        ("", None, True),
        ("", "true", True),
        ("", "false", False),
    ],
)
def test_the_token_cache_can_be_switched_off(
    word: str, file: str | None, cached: bool, environ: dict[str, str]
) -> None:
    if file is not None:
        write_settings(user(environ) / "config.toml")
        (user(environ) / "config.toml").write_text(f"[fetch]\ntoken_cache = {file}\n")
    assert bool(config.load({**environ, "DIST_NO_TOKEN_CACHE": word}).cache_dir) == cached
