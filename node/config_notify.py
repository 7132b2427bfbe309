"""Who is told of urgent studies and of faults: the section ``notify`` of the configuration."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from node.config_types import (
    DestinationTLS,
    FileOrNone,
    Host,
    Name,
    Number,
    OffIsAWord,
    Section,
    is_loopback,
    none_where_off,
)

Answer = Literal["urgent", "flagged", "uncertain", "not_flagged", "not_analysed"]
Occasion = Literal["urgent", "flagged", "uncertain", "not_flagged", "not_analysed", "unreleased", "faults"]
ServerPort = Annotated[int, Number, Field(ge=1, le=65535)]
# HL7 v2 has characters of its own between fields; a name of an application or facility holds none of them (HL7 2.5.1 2.5.4).
_HL7_NAME = re.compile(r"[^|^~\\&\x00-\x1f]{0,20}")


def _url(value: str) -> str:
    """Check where a webhook is."""
    try:
        parts = urlsplit(value)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is none
        is_right = False
    if not is_right or parts.username or parts.fragment or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ValueError("must be https://HOST/PATH, without a user, a password or a fragment")
    return value


def _mail_address(value: str) -> str:
    """Check an address of e-mail, bare."""
    if not re.fullmatch(r"[^\s@<>,;:\"()\[\]\\\x00-\x1f\x7f-\uffff]{1,64}@[A-Za-z0-9.-]{1,253}", value):
        raise ValueError("must be a bare address, such as radiology-it@hospital.example")
    return value


def _hl7_name(value: str) -> str:
    if not _HL7_NAME.fullmatch(value):
        raise ValueError("must be at most 20 characters, none of them | ^ ~ \\ &")
    return value


MailAddress = Annotated[str, AfterValidator(_mail_address)]
HL7Name = Annotated[str, AfterValidator(_hl7_name)]
TLSOrOff = Annotated[DestinationTLS | None, BeforeValidator(none_where_off)]


class Webhook(Section):
    """An address that messages are posted to as JSON."""

    url: Annotated[str, AfterValidator(_url)]
    secret_file: FileOrNone = None
    trusted: FileOrNone = None

    @property
    def is_encrypted(self) -> bool:
        """Whether nobody between can read it."""
        return self.url.startswith("https:") or is_loopback(urlsplit(self.url).hostname or "")


class Email(Section):
    """A mail server that takes messages, and whom they are for."""

    host: Host
    port: ServerPort = 587
    security: Annotated[Literal["starttls", "tls", "off"], OffIsAWord] = "starttls"
    trusted: FileOrNone = None
    user: str = ""
    password_file: FileOrNone = None
    sender: MailAddress
    recipients: Annotated[tuple[MailAddress, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _a_password_is_not_sent_in_the_clear(self) -> Email:
        if bool(self.user) != bool(self.password_file):
            raise ValueError("user and password_file go together; give both, or neither")
        if self.user and not self.is_encrypted:
            raise ValueError("a password is not sent in the clear; set security to starttls or tls")
        return self

    @property
    def is_encrypted(self) -> bool:
        """Whether nobody between the node and the mail server can read it."""
        return self.security != "off" or is_loopback(self.host)


class HL7(Section):
    """A receiver of HL7 v2 messages by MLLP."""

    host: Host
    port: ServerPort = 2575
    tls: TLSOrOff = None
    sending_facility: HL7Name = ""
    receiving_application: HL7Name = ""
    receiving_facility: HL7Name = ""


class Receiver(Section):
    """Somebody who is told, by one of three ways, and of what."""

    name: Name
    webhook: Webhook | None = None
    email: Email | None = None
    hl7: HL7 | None = None
    about: tuple[Occasion, ...] = ("urgent", "flagged", "faults")
    identifiers: Literal["key", "plain"] = "key"

    @model_validator(mode="after")
    def _is_told_in_one_way_that_fits(self) -> Receiver:
        ways = [way for way in (self.webhook, self.email, self.hl7) if way]
        if len(ways) != 1:
            raise ValueError("give one of webhook, email and hl7")
        if self.hl7 and (self.identifiers != "plain" or {"faults", "unreleased"} & set(self.about)):
            raise ValueError(
                "an HL7 message is about a patient: identifiers must be plain, and about hold answers alone, "
                "such as [urgent, flagged]"
            )
        if self.identifiers == "plain" and isinstance(way := ways[0], Webhook | Email) and not way.is_encrypted:
            raise ValueError("with identifiers plain it must be encrypted: https, or security starttls or tls")
        return self

    def is_told(self, occasion: str) -> bool:
        """Tell whether an answer, ``unreleased`` or ``faults`` is told."""
        return occasion in self.about
