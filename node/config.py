"""The configuration: one YAML file to checked settings, every mistake reported at once with its file, line and key."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from node.errors import ConfigError

# In the spool's folder, where the configuration names no other database.
BOOK = "queue.sqlite"
# What is checked was read from a file, where a key without a value stands for a mistake.
_OF_A_FILE = "of a file"


def _ae_title(value: str) -> str:
    """Check an AE title: 1 to 16 characters, no backslash, no control character, not only spaces (PS3.5 6.2, VR AE)."""
    value = value.strip(" ")
    if not 1 <= len(value) <= 16 or not re.fullmatch(r"[\x20-\x5b\x5d-\x7e]+", value):
        raise ValueError("must be 1 to 16 printable ASCII characters without a backslash (an AE title, PS3.5 6.2)")
    return value


def _name(value: str) -> str:
    """Check a destination's name, which also names a folder of the spool."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", value):
        raise ValueError("must be 1 to 32 lower-case letters, digits, '-' or '_', for it names a folder too")
    return value


def _no_yes_or_no(value: Any) -> Any:
    """Refuse a truth value where a number belongs: Python would take ``port: yes`` for port 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number; YAML reads a bare yes, no, on or off as true or false")
    return value


def _not_empty(value: Any) -> Any:
    """Refuse an empty host, which would listen on every network card, and an empty folder, which is the file's own."""
    if value == "":
        raise ValueError("must not be empty")
    return value


def _none_where_empty(value: Any) -> Any:
    """Take an empty text for no file at all."""
    return None if value == "" else value


def _none_where_off(value: Any, info: ValidationInfo) -> Any:
    """Take ``off``, which YAML 1.1 reads as false, for no section; nothing else, or commented keys would turn TLS off."""
    if value is None and info.context == _OF_A_FILE:
        raise ValueError("must be off, or a section of keys")
    return None if value is False or value == "off" else value


def _server_name(value: str) -> str:
    """Check a name that a certificate may be for: of a host, or an IP address."""
    try:
        encoded = value.encode("idna")
    except UnicodeError:
        encoded = b"."
    if encoded.startswith(b".") or not value.isprintable():
        raise ValueError("must be the name of a host, such as pacs.hospital.example, or an IP address")
    return value


def _syslog_receiver(value: str) -> str:
    """Check where a syslog receiver is."""
    try:
        parts = urlsplit(value)
        is_right = (
            parts.scheme in ("udp", "tls")
            and parts.hostname
            and parts.port
            and value == f"{parts.scheme}://{parts.netloc}"
        )
    except ValueError:  # a port that is none
        is_right = False
    if value and not is_right:
        raise ValueError("must be udp://HOST:PORT or tls://HOST:PORT, such as udp://10.1.2.3:514, or empty")
    return value


def _network(value: str) -> str:
    """Check an IP address, or a network of them."""
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError("must be an IP address, such as 10.1.2.3, or a network, such as 10.1.2.0/24") from None
    return value


Number = BeforeValidator(_no_yes_or_no)
Network = Annotated[str, AfterValidator(_network)]
AETitle = Annotated[str, AfterValidator(_ae_title)]
Host = Annotated[str, AfterValidator(_not_empty)]
Folder = Annotated[Path, BeforeValidator(_not_empty)]
File = Folder
FileOrNone = Annotated[Path | None, BeforeValidator(_none_where_empty)]
Port = Annotated[int, Number, Field(ge=0, le=65535)]
Seconds = Annotated[float, Number, Field(ge=0, le=3600)]


class _Section(BaseModel):
    """One section of the file: frozen, and strict about names it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ListenTLS(_Section):
    """How the node proves who it is to its callers, and what they must prove."""

    certificate: File
    key: File
    trusted: FileOrNone = None
    client_certificate: bool = True

    @model_validator(mode="after")
    def _callers_are_held_against_something(self) -> ListenTLS:
        if self.client_certificate and self.trusted is None:
            raise ValueError("trusted is missing: name the file of the authorities that sign the callers' certificates")
        return self


class DestinationTLS(_Section):
    """What a destination must prove, and how the node proves who it is to it."""

    trusted: File
    certificate: FileOrNone = None
    key: FileOrNone = None
    server_name: Annotated[str, AfterValidator(_server_name)] = ""
    check_name: bool = True

    @model_validator(mode="after")
    def _a_certificate_has_a_key(self) -> DestinationTLS:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; give both, or neither")
        return self


TLS = TypeVar("TLS", ListenTLS, DestinationTLS)


class Listen(_Section):
    """Where the node listens for DICOM associations, and whom it answers."""

    ae_title: AETitle = "CXRTRIAGE"
    host: Host = "127.0.0.1"
    port: Port = 11112
    callers: tuple[AETitle, ...] = ()
    addresses: dict[AETitle, tuple[Network, ...]] = {}
    associations: Annotated[int, Number, Field(ge=1, le=512)] = 64
    associations_per_caller: Annotated[int, Number, Field(ge=1, le=512)] = 32
    tls: Annotated[ListenTLS | None, BeforeValidator(_none_where_off)] = None


class Spool(_Section):
    """Where instances, results and the work to do are kept."""

    folder: Folder = Path("spool")
    reserve_mb: Annotated[int, Number, Field(ge=0, le=1_000_000)] = 1024
    keep_days: Annotated[float, Number, Field(ge=0, le=36_500)] = 30
    keep_gb: Annotated[float, Number, Field(ge=0, le=1_000_000)] = 0
    quarantine_mb: Annotated[int, Number, Field(ge=0, le=1_000_000)] = 256

    @property
    def reserve_bytes(self) -> int:
        """Room that is kept for the results of what was acknowledged already."""
        return self.reserve_mb << 20


class Database(_Section):
    """Where the durable queue keeps its book. Empty: a SQLite file in the spool folder."""

    url: str = ""

    @field_validator("url")
    @classmethod
    def _known_engine(cls, url: str) -> str:
        if url and not url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        return url


class Study(_Section):
    """When a study counts as complete."""

    settle_s: Seconds = 1.0
    quiet_s: Seconds = 5.0


class Gate(_Section):
    """Which images the model may read, beyond what the model bundle itself demands."""

    read_secondary_capture: bool = False
    minimum_px: Annotated[int, Number, Field(ge=32, le=4096)] = 128


class Model(_Section):
    """Which model reads, and on what."""

    bundle: Folder = Path("models/cxr-triage-0.3.0")
    device: Literal["auto", "cpu", "gpu"] = "auto"
    thresholds: FileOrNone = None


class Report(_Section):
    """What the results look like."""

    heat_map: Literal["all", "flagged", "off"] = "all"
    not_analysed: bool = True
    language: Literal["en", "de", "fr", "es", "pt", "ja"] = "en"

    @model_validator(mode="before")
    @classmethod
    def _off_is_a_word(cls, section: Any) -> Any:
        # YAML 1.1 reads a bare `off` as false; here it is the name of a choice.
        if isinstance(section, dict) and section.get("heat_map") is False:
            return {**section, "heat_map": "off"}
        return section


class Destination(_Section):
    """A Storage SCP that receives the results."""

    name: Annotated[str, AfterValidator(_name)]
    ae_title: AETitle
    host: Host
    port: Annotated[int, Number, Field(ge=1, le=65535)]
    profile: Literal["viewer", "air"] = "viewer"
    commitment: bool = False
    tls: Annotated[DestinationTLS | None, BeforeValidator(_none_where_off)] = None


class Web(_Section):
    """Where the status page listens."""

    host: Host = "127.0.0.1"
    port: Port = 8080


class Audit(_Section):
    """Where audit records go, and what they name studies and patients by."""

    file: FileOrNone = None
    syslog: Annotated[str, AfterValidator(_syslog_receiver)] = ""
    tls: Annotated[DestinationTLS | None, BeforeValidator(_none_where_off)] = None
    identifiers: Literal["key", "plain"] = "key"

    @model_validator(mode="after")
    def _tls_goes_with_its_scheme(self) -> Audit:
        if self.syslog.startswith("tls:") != (self.tls is not None):
            raise ValueError("syslog tls://HOST:PORT and the section tls go together; give both, or neither")
        return self


class Limits(_Section):
    """What a film may cost until it is given up, and how long the worker may stand still until it is started anew."""

    film_s: Annotated[float, Number, Field(ge=1, le=600)] = 20
    film_mb: Annotated[int, Number, Field(ge=64, le=1_000_000)] = 2048
    step_s: Annotated[float, Number, Field(ge=5, le=3600)] = 60
    worker_mb: Annotated[int, Number, Field(ge=256, le=1_000_000)] = 4096


class Settings(_Section):
    """The whole configuration."""

    listen: Listen = Listen()
    spool: Spool = Spool()
    database: Database = Database()
    study: Study = Study()
    gate: Gate = Gate()
    limits: Limits = Limits()
    model: Model = Model()
    report: Report = Report()
    destinations: tuple[Destination, ...] = ()
    web: Web = Web()
    audit: Audit = Audit()

    @field_validator("destinations")
    @classmethod
    def _names_are_unique(cls, destinations: tuple[Destination, ...]) -> tuple[Destination, ...]:
        names = [destination.name for destination in destinations]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the name {twice[0]!r} is used twice; give each destination its own")
        return destinations

    @property
    def database_url(self) -> str:
        """The URL of the queue's database."""
        return self.database.url or f"sqlite:///{self.spool.folder / BOOK}"

    def digest(self) -> str:
        """Return a digest of what shapes a result; it enters each result's UID, so that other settings make other UIDs.

        Addresses, folders and times are left out: moving the node to another disk does not change what it says.
        """
        shaping = {"report": self.report.model_dump(mode="json"), "gate": self.gate.model_dump(mode="json")}
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]


def load(path: Path) -> Settings:
    """Read and check a configuration file.

    Relative folders are taken from the file's own folder.

    Parameters
    ----------
    path : Path
        The YAML file.

    Returns
    -------
    Settings

    Raises
    ------
    ConfigError
        Naming each mistake as ``file:line: key: what is right``.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. Copy config/node.yaml and name it with --config.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.__class__.__name__}). Check the file and its rights."
        ) from None
    lines, values = _parse(path, text)
    complaints = [(line, key, "is given twice; keep one") for key, line in _doubles(lines)]
    if not isinstance(values, dict):
        raise ConfigError(f"{path}:1: the file must hold sections such as 'listen:'; see config/node.yaml")
    try:
        settings = Settings.model_validate(values, context=_OF_A_FILE)
    except ValidationError as error:
        complaints += [_complaint(dict(lines), problem) for problem in error.errors(include_input=False)]
    if complaints:
        shown = [(line, key if key.isprintable() else ascii(key), right) for line, key, right in sorted(complaints)]
        raise ConfigError("\n".join(f"{path}:{line}: {key}: {right}" for line, key, right in shown))
    return _with_absolute_folders(settings, path.resolve().parent)


class _Loader(yaml.SafeLoader):
    """A safe loader that keeps each key as it is written, and says in which line a value has no meaning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                key.tag = self.DEFAULT_SCALAR_TAG
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError:
            words = "this is no number or date; put text in quotes"
            raise yaml.constructor.ConstructorError(None, None, words, node.start_mark) from None


def _parse(path: Path, text: str) -> tuple[list[tuple[str, int]], Any]:
    """Return the file's keys, dotted, each with its line, and the file's values; an empty file holds no section."""
    try:
        loader = _Loader(text)
        tree = loader.get_single_node()
        lines = sorted(_lines(tree), key=lambda key_and_line: key_and_line[1]) if tree else []
        values = loader.construct_document(tree) if tree else None
        return lines, {} if values is None else values
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}:{line}: not valid YAML: it holds a character YAML does not allow") from None
    except RecursionError:
        raise ConfigError(f"{path}:1: not valid YAML: it is nested too deeply") from None


def _lines(tree: yaml.Node) -> Iterator[tuple[str, int]]:
    """Yield (dotted key, line) for each key and list item of the file."""
    waiting, seen = [("", tree)], set()
    while waiting:
        prefix, node = waiting.pop()
        if id(node) in seen:  # an alias, perhaps of something around it
            continue
        seen.add(id(node))
        for name, value, line in _children(node):
            dotted = f"{prefix}.{name}" if prefix else name
            yield dotted, line
            waiting.append((dotted, value))


def _children(node: yaml.Node) -> list[tuple[str, yaml.Node, int]]:
    if isinstance(node, yaml.MappingNode):
        return [(str(key.value), value, key.start_mark.line + 1) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [(str(index), value, value.start_mark.line + 1) for index, value in enumerate(node.value)]
    return []


def _doubles(lines: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Yield keys given more than once, which YAML would silently settle by the last."""
    seen: set[str] = set()
    for name, line in lines:
        if name in seen:
            yield name, line
        seen.add(name)


def _complaint(lines: dict[str, int], problem: Any) -> tuple[int, str, str]:
    """Return the line, the key and what is right of one problem that pydantic found."""
    key = _dotted(problem["loc"])
    return _line_of(key, lines), key or "file", _what_is_right(key, problem)


def _dotted(location: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in location)


def _line_of(key: str, lines: dict[str, int]) -> int:
    """Return the line of a key, or of its nearest section when the key is missing."""
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return lines.get(key, 1)


def _what_is_right(key: str, problem: Any) -> str:
    match problem["type"]:
        case "extra_forbidden":
            return f"is not a key of this file. {_known_keys(key.rpartition('.')[0])}"
        case "model_type":
            return f"must be a section of keys. {_known_keys(key)}"
        case "tuple_type":
            return "must be a list; [] is an empty one"
        case "dict_type":
            return "must be a section of keys, each with a list; {} is an empty one"
        case "string_type":
            return "must be text; put it in quotes"
        case "missing":
            return "is missing; give it a value"
    return str(problem["msg"]).removeprefix("Value error, ")


def _known_keys(section: str) -> str:
    """Say which keys a section has."""
    model: type[BaseModel] = Settings
    for part in filter(None, section.split(".")):
        annotation = Destination if part.isdigit() else getattr(model.model_fields.get(part), "annotation", None)
        for each in (annotation, *get_args(annotation)):  # a section, or a section or None
            if isinstance(each, type) and issubclass(each, BaseModel):
                model = each
    return f"Known here: {', '.join(model.model_fields)}."


def _with_absolute_folders(settings: Settings, base: Path) -> Settings:
    return settings.model_copy(
        update={
            "spool": settings.spool.model_copy(update={"folder": base / settings.spool.folder}),
            "model": settings.model.model_copy(update=_absolute(base, settings.model)),
            "audit": settings.audit.model_copy(update=_absolute_audit(base, settings.audit)),
            "listen": settings.listen.model_copy(update={"tls": _absolute_tls(base, settings.listen.tls)}),
            "destinations": tuple(
                each.model_copy(update={"tls": _absolute_tls(base, each.tls)}) for each in settings.destinations
            ),
        }
    )


def _absolute(base: Path, model: Model) -> dict[str, Path | None]:
    return {"bundle": base / model.bundle, "thresholds": base / model.thresholds if model.thresholds else None}


def _absolute_audit(base: Path, audit: Audit) -> dict[str, Any]:
    return {"file": base / audit.file if audit.file else None, "tls": _absolute_tls(base, audit.tls)}


def _absolute_tls(base: Path, tls: TLS | None) -> TLS | None:
    if tls is None:
        return None
    files = {"certificate": tls.certificate, "key": tls.key, "trusted": tls.trusted}
    return tls.model_copy(update={name: base / path for name, path in files.items() if path})
