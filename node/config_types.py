"""What the keys of the configuration may be: the types of their values, each with its own words for what is right."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

# What is checked was read from a file, where a key without a value stands for a mistake.
OF_A_FILE = "of a file"


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


def _off(value: Any) -> Any:
    """Take false for ``off`` where that is the name of a choice: YAML 1.1 reads the bare word so."""
    return "off" if value is False else value


def none_where_off(value: Any, info: ValidationInfo) -> Any:
    """Take ``off``, which YAML 1.1 reads as false, for no section; nothing else, or commented keys would turn TLS off."""
    if value is None and info.context == OF_A_FILE:
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


def syslog_receiver(value: str) -> str:
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


def address_of_the_page(value: str) -> str:
    """Check under which address people reach the status page."""
    if value and not re.fullmatch(r"https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?", value):
        raise ValueError(
            "must be https://HOST or http://HOST:PORT, without a path, such as https://cxr.hospital.example"
        )
    return value


def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's own, which no other machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _network(value: str) -> str:
    """Check an IP address, or a network of them."""
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError("must be an IP address, such as 10.1.2.3, or a network, such as 10.1.2.0/24") from None
    return value


Number = BeforeValidator(_no_yes_or_no)
OffIsAWord = BeforeValidator(_off)
Name = Annotated[str, AfterValidator(_name)]
Network = Annotated[str, AfterValidator(_network)]
AETitle = Annotated[str, AfterValidator(_ae_title)]
Host = Annotated[str, AfterValidator(_not_empty)]
Folder = Annotated[Path, BeforeValidator(_not_empty)]
File = Folder
FileOrNone = Annotated[Path | None, BeforeValidator(_none_where_empty)]
Port = Annotated[int, Number, Field(ge=0, le=65535)]
Seconds = Annotated[float, Number, Field(ge=0, le=3600)]


class Section(BaseModel):
    """One section of the file: frozen, and strict about names it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ListenTLS(Section):
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


class DestinationTLS(Section):
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
