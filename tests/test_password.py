import stat
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from node import password
from node.cli import app
from node.config import load
from node.errors import ConfigError


def test_a_password_is_kept_so_that_nobody_reads_it_and_no_two_lines_are_alike(tmp_path: Path) -> None:
    password.write(tmp_path / "kept", "correct horse battery")
    line = (tmp_path / "kept").read_text()
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o600
    assert "horse" not in line
    assert line.strip() != password.hashed("correct horse battery")
    assert password.is_right("correct horse battery", password.read(tmp_path / "kept"))
    assert not password.is_right("correct horse batter", password.read(tmp_path / "kept"))


def test_letters_that_keyboards_compose_in_two_ways_are_the_same() -> None:
    assert password.is_right("Schl\u00fcssel 12", password.hashed("Schlu\u0308ssel 12"))


@pytest.mark.parametrize("typed", ["", "short", "x" * 257])
def test_a_password_that_is_too_short_or_too_long_is_not_kept(tmp_path: Path, typed: str) -> None:
    with pytest.raises(ConfigError, match="10 to 256 characters"):
        password.write(tmp_path / "kept", typed)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        "",
        "secret",
        "scrypt$15$8$3$$",
        "scrypt$40$8$3$c2FsdA==$c2FsdA==",
        "scrypt$15$8$3$c2FsdA==$not base64",
        "md5$1$1$1$a$b",
    ],
)
def test_a_file_that_holds_no_password_is_refused_with_what_to_do(tmp_path: Path, line: str) -> None:
    (tmp_path / "kept").write_text(line)
    (tmp_path / "kept").chmod(0o600)
    with pytest.raises(ConfigError, match="Make it anew: cxr-node password"):
        password.read(tmp_path / "kept")
    assert not password.is_right("anything at all", line)


def test_a_file_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    password.write(tmp_path / "kept", "correct horse battery")
    (tmp_path / "kept").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod o="):
        password.read(tmp_path / "kept")


def test_a_file_that_is_not_there_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Make it: cxr-node password"):
        password.read(tmp_path / "none")


def test_the_command_asks_twice_and_writes_where_the_configuration_says(tmp_path: Path) -> None:
    config = tmp_path / "node.yaml"
    config.write_text(yaml.safe_dump({"web": {"password_file": "web.password"}}))
    typed = "correct horse battery\ncorrect horse battery\n"
    done = CliRunner().invoke(app, ["password", "--config", str(config)], input=typed)
    assert done.exit_code == 0
    assert "horse" not in done.output
    assert password.is_right("correct horse battery", password.read(tmp_path / "web.password"))


def test_the_command_wants_a_file_named(tmp_path: Path) -> None:
    config = tmp_path / "node.yaml"
    config.write_text("{}")
    done = CliRunner().invoke(app, ["password", "--config", str(config)], input="x\nx\n")
    assert isinstance(done.exception, ConfigError)
    assert "web.password_file names no file" in str(done.exception)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "cxr.hospital.example", "127.1"])
def test_a_page_that_others_reach_needs_a_password_or_a_word(tmp_path: Path, host: str) -> None:
    config = tmp_path / "node.yaml"
    config.write_text(yaml.safe_dump({"web": {"host": host}}))
    with pytest.raises(ConfigError, match="Name a password_file"):
        load(config)
    for guarded in ({"password_file": "web.password"}, {"open": True}):
        config.write_text(yaml.safe_dump({"web": {"host": host, **guarded}}))
        assert load(config).web.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_a_page_of_this_machine_alone_needs_none(tmp_path: Path, host: str) -> None:
    config = tmp_path / "node.yaml"
    config.write_text(yaml.safe_dump({"web": {"host": host}}))
    assert load(config).web.password_file is None


@pytest.mark.parametrize("url", ["cxr.example", "ftp://cxr.example", "https://cxr.example/", "https://a b", "https://"])
def test_an_address_of_the_page_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    config = tmp_path / "node.yaml"
    config.write_text(yaml.safe_dump({"web": {"url": url}}))
    with pytest.raises(ConfigError, match="without a path"):
        load(config)
