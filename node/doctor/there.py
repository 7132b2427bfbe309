"""Each destination: whether it can be reached, lets the node in, and takes what the node would send."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
)

from node.config import Destination, Settings
from node.deliver import EXTRA_SOP_CLASSES, StorageSCU
from node.doctor.findings import Finding, bad, good, note, told
from node.doctor.stranger import who_answers
from node.errors import DeliveryError, NodeError, TryAgain
from node.report.document import AI_RESULTS, TRIAGE_REPORT, Kind

REPORTS: dict[str, Kind] = {"viewer": TRIAGE_REPORT, "air": AI_RESULTS}
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_IN_EITHER = f"{ExplicitVRLittleEndian.name} or {ImplicitVRLittleEndian.name}"
# A machine of a hospital answers within a second; one that a firewall hides never does.
_CONNECTED_WITHIN_S = 5.0

# (abstract syntax, transfer syntax)
Accepted = Collection[tuple[str, str]]


class Probe(StorageSCU):
    """The very SCU that results are delivered by, asked what the destination accepts."""

    def accepted(self) -> Accepted:
        """Return the presentation contexts that it accepts.

        Raises
        ------
        TryAgain, Parked
        """
        return self._association.do(lambda association: frozenset(association.accepted))


def destination(settings: Settings, at: Destination) -> Iterator[Finding]:
    """Look at one destination, as far as it lets us.

    Parameters
    ----------
    settings : Settings
    at : Destination
    """
    subject = f"destination {at.name}"
    trouble = _unreachable(subject, at)
    if trouble:
        yield trouble
        return
    try:
        with Probe(at, settings.listen.ae_title, extra=settings.report.extra) as probe:
            accepted = probe.accepted()
            yield good(subject, f"{at.ae_title} at {at.host}:{at.port} accepts {settings.listen.ae_title}")
            yield _echo(subject, probe)
    except NodeError as error:
        yield _refused(subject, settings, at, error)
        return
    yield from takes(subject, settings, at, accepted)


def takes(subject: str, settings: Settings, at: Destination, accepted: Accepted) -> Iterator[Finding]:
    """Say of what the node would send whether a destination takes it, by the contexts that it accepts."""
    yield _report(subject, REPORTS[at.profile], accepted)
    if settings.report.heat_map != "off":
        yield _pictures(subject, accepted)
    for kind in settings.report.extra:
        if kind != "box":  # a Comprehensive SR, as the report is
            yield _extra(subject, kind, accepted)
    if at.commitment:
        yield _commitment(subject, at, accepted)


def _unreachable(subject: str, at: Destination) -> Finding | None:
    """Return why there is no connection; what speaks on it is looked at later."""
    place = f"{at.host}:{at.port}"
    try:
        socket.create_connection((at.host, at.port), _CONNECTED_WITHIN_S).close()
    except socket.gaierror:
        return bad(
            subject,
            f"no machine is known by the name {at.host}",
            f"Correct destinations.{at.name}.host, give its IP address, or have the name entered in the hospital's DNS.",
        )
    except ConnectionRefusedError:
        return bad(
            subject,
            f"nothing listens on {place}: connection refused",
            f"Start the PACS there, or correct host and port of destinations.{at.name}; its port is in its own settings.",
        )
    except TimeoutError:
        return bad(
            subject,
            f"no answer at all from {place}",
            f"Have every firewall between let this machine through to port {at.port}, or correct "
            f"destinations.{at.name}.host.",
        )
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        return bad(subject, f"{place} cannot be reached: {why}", "Check this machine's network, and the host.")
    return None


def _refused(subject: str, settings: Settings, at: Destination, error: NodeError) -> Finding:
    """Say why there is no association, or what answers in place of a PACS."""
    if isinstance(error, TryAgain) and at.tls is None:
        kind = who_answers(at.host, at.port)
        if kind == "a server that speaks TLS":
            return bad(
                subject,
                f"{at.host}:{at.port} wants TLS, and the node speaks in the clear",
                f"Fill in destinations.{at.name}.tls, or name the port for connections without TLS.",
            )
        if kind:
            return bad(
                subject,
                f"{kind} answers on {at.host}:{at.port}, no PACS",
                f"Set destinations.{at.name}.port to the PACS's DICOM port (often 104, 11112 or 4242).",
            )
    about = f"destination '{at.name}' ({at.ae_title} at {at.host}:{at.port})"
    finding = told(subject, error, about)
    if "calling AE title" not in finding.found:
        return finding
    return bad(
        subject, finding.found, f"{finding.mend} There it is typed in as shown below, with {settings.listen.ae_title}."
    )


def _echo(subject: str, probe: Probe) -> Finding:
    try:
        return good(subject, f"answers a C-ECHO in {probe.echo():.0f} ms")
    except DeliveryError as error:
        found = told(subject, error, str(probe.peer))
        return note(subject, found.found, f"{found.mend} Storing may work all the same.")


def _report(subject: str, kind: Kind, accepted: Accepted) -> Finding:
    """Say which form of the report it takes: the first of those that the node can write."""
    taken = [uid for uid in kind.sop_class_uids if _syntaxes(uid, accepted)]
    best = kind.sop_class_uids[0]
    if not taken:
        names = ", ".join(_name(uid) for uid in kind.sop_class_uids)
        return bad(
            subject,
            f"this PACS takes no SR of class {names}: no report would arrive",
            f"Let it accept one of them (the first is the best) in {_IN_EITHER}, from this AE title; "
            "or name another destination for the reports.",
        )
    if taken[0] == best:
        return good(subject, f"takes reports as {_name(best)} in {' and '.join(_syntaxes(best, accepted))}")
    loses = (
        "a plain text, without codes and numbers for machines" if taken[0] == BasicTextSRStorage else "as good to read"
    )
    return note(
        subject,
        f"this PACS takes no SR of class {_name(best)}: reports go as {_name(taken[0])}, {loses}",
        f"Nothing need be done. To have the first, let it accept {_name(best)} in {_IN_EITHER}.",
    )


def _pictures(subject: str, accepted: Accepted) -> Finding:
    name = _name(SecondaryCaptureImageStorage)
    syntaxes = _syntaxes(SecondaryCaptureImageStorage, accepted)
    if syntaxes:
        return good(subject, f"takes heat maps as {name} in {' and '.join(syntaxes)}")
    return bad(
        subject,
        f"this PACS takes no {name}: each delivery with a heat map would be parked",
        f"Let it accept {name} in {_IN_EITHER}, or set report.heat_map: off.",
    )


def _extra(subject: str, kind: str, accepted: Accepted) -> Finding:
    name = _name(EXTRA_SOP_CLASSES[kind])
    if syntaxes := _syntaxes(EXTRA_SOP_CLASSES[kind], accepted):
        return good(subject, f"takes {name} in {' and '.join(syntaxes)}")
    return note(
        subject,
        f"this PACS takes no {name}, which report.extra asks for: everything else is delivered",
        f"Let it accept {name} in {_IN_EITHER}, or take {kind} out of report.extra.",
    )


def _commitment(subject: str, at: Destination, accepted: Accepted) -> Finding:
    if _syntaxes(StorageCommitmentPushModel, accepted):
        return good(subject, "takes requests for storage commitment")
    return bad(
        subject,
        "does not take requests for storage commitment, which destinations."
        f"{at.name}.commitment asks for: no delivery would ever be complete",
        f"Allow storage commitment there (Orthanc: AllowStorageCommitment), or set destinations.{at.name}.commitment: false.",
    )


def _syntaxes(sop_class_uid: str, accepted: Accepted) -> list[str]:
    """Return the names of the transfer syntaxes in which a SOP class is accepted."""
    return [syntax.name for syntax in SYNTAXES if (sop_class_uid, syntax) in accepted]


def _name(uid: str) -> str:
    return str(UID(uid).name).removesuffix(" Storage")
