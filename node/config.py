"""The configuration: one YAML file to checked settings, every mistake reported at once with its file, line and key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from node.config_notify import Receiver
from node.config_types import (
    OF_A_FILE,
    AETitle,
    DestinationTLS,
    FileOrNone,
    Folder,
    Host,
    ListenTLS,
    Name,
    Network,
    Number,
    OffIsAWord,
    Port,
    Seconds,
    Section,
    address_of_the_page,
    is_loopback,
    none_where_off,
    syslog_receiver,
)
from node.errors import ConfigError

TLS = TypeVar("TLS", ListenTLS, DestinationTLS)


class Listen(Section):
    """Where the node listens for DICOM associations, and whom it answers."""

    ae_title: AETitle = "CXRTRIAGE"
    host: Host = "127.0.0.1"
    port: Port = 11112
    callers: tuple[AETitle, ...] = ()
    addresses: dict[AETitle, tuple[Network, ...]] = Field(default={})
    associations: Annotated[int, Number, Field(ge=1, le=512)] = 64
    associations_per_caller: Annotated[int, Number, Field(ge=1, le=512)] = 32
    tls: Annotated[ListenTLS | None, BeforeValidator(none_where_off)] = None


class Spool(Section):
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


class Study(Section):
    """When a study counts as complete."""

    settle_s: Seconds = 1.0
    quiet_s: Seconds = 5.0


class Gate(Section):
    """Which images the model may read, beyond what the model bundle itself demands."""

    read_secondary_capture: bool = False
    minimum_px: Annotated[int, Number, Field(ge=32, le=4096)] = 128


class Model(Section):
    """Which model reads, and on what."""

    bundle: Folder = Path("models/cxr-triage-0.3.0")
    device: Literal["auto", "cpu", "gpu"] = "auto"
    thresholds: FileOrNone = None


class Report(Section):
    """What the results look like."""

    heat_map: Annotated[Literal["all", "flagged", "off"], OffIsAWord] = "all"
    not_analysed: bool = True
    language: Literal["en", "de", "fr", "es", "pt", "ja"] = "en"
    map_opacity: Annotated[float, Number, Field(ge=0.3, le=0.8)] = 0.55
    extra: tuple[Literal["box", "key_object", "pdf"], ...] = ()


class Destination(Section):
    """A Storage SCP that receives the results."""

    name: Name
    ae_title: AETitle
    host: Host
    port: Annotated[int, Number, Field(ge=1, le=65535)]
    profile: Literal["viewer", "air"] = "viewer"
    commitment: bool = False
    tls: Annotated[DestinationTLS | None, BeforeValidator(none_where_off)] = None


class Web(Section):
    """Where the status page listens, and who may see patients' data on it."""

    host: Host = "127.0.0.1"
    port: Port = 8080
    password_file: FileOrNone = None
    open: bool = False
    url: Annotated[str, AfterValidator(address_of_the_page)] = ""

    @model_validator(mode="after")
    def _others_need_a_password(self) -> Web:
        if not (is_loopback(self.host) or self.password_file or self.open):
            raise ValueError(
                f"host {self.host} lets other machines see the status page, and there is no password. Name a "
                "password_file (cxr-node password writes it), or set host to 127.0.0.1, or, where something before the "
                "page guards it, open to true"
            )
        return self


class Audit(Section):
    """Where audit records go, and what they name studies and patients by."""

    file: FileOrNone = None
    syslog: Annotated[str, AfterValidator(syslog_receiver)] = ""
    tls: Annotated[DestinationTLS | None, BeforeValidator(none_where_off)] = None
    identifiers: Literal["key", "plain"] = "key"

    @model_validator(mode="after")
    def _tls_goes_with_its_scheme(self) -> Audit:
        if self.syslog.startswith("tls:") != (self.tls is not None):
            raise ValueError("syslog tls://HOST:PORT and the section tls go together; give both, or neither")
        return self


class Limits(Section):
    """What a film may cost until it is given up, and how long the worker may stand still until it is started anew."""

    film_s: Annotated[float, Number, Field(ge=1, le=600)] = 20
    film_mb: Annotated[int, Number, Field(ge=64, le=1_000_000)] = 2048
    step_s: Annotated[float, Number, Field(ge=5, le=3600)] = 60
    worker_mb: Annotated[int, Number, Field(ge=256, le=1_000_000)] = 4096


NAMED = TypeVar("NAMED", Destination, Receiver)


class Settings(Section):
    """The whole configuration."""

    mode: Literal["live", "shadow", "supervised"] = "live"
    listen: Listen = Listen()
    spool: Spool = Spool()
    study: Study = Study()
    gate: Gate = Gate()
    limits: Limits = Limits()
    model: Model = Model()
    report: Report = Report()
    destinations: tuple[Destination, ...] = ()
    web: Web = Web()
    audit: Audit = Audit()
    notify: tuple[Receiver, ...] = ()

    @field_validator("destinations", "notify")
    @classmethod
    def _names_are_unique(cls, named: tuple[NAMED, ...], info: ValidationInfo) -> tuple[NAMED, ...]:
        names = [each.name for each in named]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"the name {twice[0]!r} is used twice; give each {'receiver' if info.field_name == 'notify' else 'destination'} its own"
            )
        return named

    def digest(self) -> str:
        """Return a digest of what shapes a result; it enters each result's UID, so that other settings make other UIDs.

        Addresses, folders and times are left out: moving the node to another disk does not change what it says. So is
        the mode: a result that waits for a person, or is sent to nobody, is the very object that would be sent.
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
        settings = Settings.model_validate(values, context=OF_A_FILE)
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
    for part in filter(str.isidentifier, section.split(".")):  # not the numbers of a list's sections
        annotation = getattr(model.model_fields.get(part), "annotation", None)
        for each in (annotation, *get_args(annotation)):  # a section, a section or None, or a list of sections
            if isinstance(each, type) and issubclass(each, BaseModel):
                model = each
    return f"Known here: {', '.join(model.model_fields)}."


def _with_absolute_folders(settings: Settings, base: Path) -> Settings:
    return settings.model_copy(
        update={
            "spool": settings.spool.model_copy(update={"folder": base / settings.spool.folder}),
            "model": settings.model.model_copy(update=_absolute(base, settings.model)),
            "audit": settings.audit.model_copy(update=_absolute_audit(base, settings.audit)),
            "web": settings.web.model_copy(update=_absolute_web(base, settings.web)),
            "listen": settings.listen.model_copy(update={"tls": _absolute_tls(base, settings.listen.tls)}),
            "notify": tuple(each.model_copy(update=_absolute_receiver(base, each)) for each in settings.notify),
            "destinations": tuple(
                each.model_copy(update={"tls": _absolute_tls(base, each.tls)}) for each in settings.destinations
            ),
        }
    )


def _absolute(base: Path, model: Model) -> dict[str, Path | None]:
    return {"bundle": base / model.bundle, "thresholds": base / model.thresholds if model.thresholds else None}


def _absolute_audit(base: Path, audit: Audit) -> dict[str, Any]:
    return {"file": base / audit.file if audit.file else None, "tls": _absolute_tls(base, audit.tls)}


def _absolute_web(base: Path, web: Web) -> dict[str, Path | None]:
    return {"password_file": base / web.password_file if web.password_file else None}


def _absolute_receiver(base: Path, receiver: Receiver) -> dict[str, Any]:
    webhook, email, hl7 = receiver.webhook, receiver.email, receiver.hl7
    return {
        "webhook": webhook and webhook.model_copy(update=_absolute_files(base, webhook, "secret_file", "trusted")),
        "email": email and email.model_copy(update=_absolute_files(base, email, "password_file", "trusted")),
        "hl7": hl7 and hl7.model_copy(update={"tls": _absolute_tls(base, hl7.tls)}),
    }


def _absolute_files(base: Path, section: Section, *keys: str) -> dict[str, Path]:
    return {key: base / path for key in keys if (path := getattr(section, key))}


def _absolute_tls(base: Path, tls: TLS | None) -> TLS | None:
    if tls is None:
        return None
    files = {"certificate": tls.certificate, "key": tls.key, "trusted": tls.trusted}
    return tls.model_copy(update={name: base / path for name, path in files.items() if path})
