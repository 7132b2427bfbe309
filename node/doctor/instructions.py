"""What to type where: into the PACS so that it knows the node, and into the node's configuration so that it knows the PACS.

References
----------
Orthanc Book, "Configuration of DICOM modalities"; dcm4chee-arc-light wiki, "DICOM Exporter" and sample-export.ldif.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from pydicom.uid import UID

from node.config import Destination, Settings
from node.deliver import EXTRA_SOP_CLASSES
from node.doctor.there import REPORTS, SYNTAXES
from node.storage_classes import TRANSFER_SYNTAXES

Rows = list[tuple[str, str]]

# Where three common archives keep what the node must know of them.
WHERE = {
    "ae_title": "Orthanc: DicomAet in orthanc.json. dcm4chee: the archive's network AE, DCM4CHEE unless renamed.",
    "host": "the PACS's machine, as this one reaches it",
    "port": "Orthanc: DicomPort (4242 unless changed). dcm4chee: 11112 unless changed; with TLS 2762.",
}


def address(settings: Settings) -> str:
    """Return the address at which others reach the node: the one that this machine speaks to its destinations from.

    A container's own address is of no use to others; they take that of its machine.
    """
    host = settings.listen.host
    if host not in ("0.0.0.0", "::"):  # noqa: S104 (compared, not listened on)
        return host
    seen = [found for each in settings.destinations if (found := _towards(each)) and not found.startswith("127.")]
    return seen[0] if seen else socket.getfqdn()


def table(settings: Settings) -> Rows:
    """Return what every PACS asks for, as (field, value)."""
    listen = settings.listen
    rows = [
        ("AE title", listen.ae_title),
        ("Host name or IP address", address(settings)),
        ("Port", str(listen.port)),
        ("Encryption", "TLS" if listen.tls else "none"),
        ("It receives (Storage SCP)", "CR, DX and whatever else is in the study; any storage SOP class"),
        ("Transfer syntaxes to it", f"any of {len(TRANSFER_SYNTAXES)}: as stored, no conversion"),
        ("It sends (Storage SCU)", ", ".join(sent(settings))),
        ("Transfer syntaxes from it", " or ".join(syntax.name for syntax in SYNTAXES)),
        ("Query/Retrieve, Worklist, MPPS", "not used"),
    ]
    if any(each.commitment for each in settings.destinations):
        rows.append(("Storage Commitment", "the PACS is SCP, and reports to the AE title, host and port above"))
    return rows


def sent(settings: Settings) -> list[str]:
    """Return the names of the SOP classes that the destinations are sent: the preferred report, pictures, what is besides."""
    profiles = sorted({each.profile for each in settings.destinations}) or ["viewer"]
    names = [UID(REPORTS[profile].sop_class_uids[0]).name for profile in profiles]
    names += ["Secondary Capture Image Storage"] if settings.report.heat_map != "off" else []
    return list(dict.fromkeys([*names, *(UID(EXTRA_SOP_CLASSES[kind]).name for kind in settings.report.extra)]))


def orthanc(settings: Settings) -> str:
    """Return the entry of ``orthanc.json``."""
    listen = settings.listen
    entry: dict[str, Any] = {"AET": listen.ae_title, "Host": address(settings), "Port": listen.port, "AllowStore": True}
    if any(each.commitment for each in settings.destinations):
        entry["AllowStorageCommitment"] = True
    if listen.tls:
        entry["UseDicomTls"] = True
    return f'"DicomModalities": {{\n  "cxr-node": {json.dumps(entry)}\n}}'


def dcm4chee(settings: Settings) -> list[str]:
    """Return what to enter in dcm4chee-arc's user interface, step by step."""
    listen = settings.listen
    return [
        f"Configuration, AE list, new AE: device name and AE title {listen.ae_title}, host {address(settings)}, "
        f"port {listen.port}{', with TLS' if listen.tls else ''}.",
        f"Configuration, Devices, dcm4chee-arc, Archive Device: a new Exporter with URI dicom:{listen.ae_title}, "
        "AE title DCM4CHEE.",
        "There, too, a new Export Rule for that exporter: Entity Series, Condition Modality=CR|DX, "
        "Export Delay PT10S. Series by series and by modality: so results start no new round.",
    ]


def configuration(at: Destination | None) -> str:
    """Return the lines of the node's configuration that name a destination; of one not known yet, what belongs where."""
    if at is None:
        return "\n".join(
            [
                "destinations:",
                "  - name: pacs",
                f"    ae_title:   # {WHERE['ae_title']}",
                f"    host:       # {WHERE['host']}",
                f"    port:       # {WHERE['port']}",
            ]
        )
    lines = [f"  - name: {at.name}", f"    ae_title: {at.ae_title}", f"    host: {at.host}", f"    port: {at.port}"]
    lines += [f"    profile: {at.profile}", f"    commitment: {str(at.commitment).lower()}"]
    return "\n".join(lines)


def _towards(at: Destination) -> str:
    """Return the address that this machine would speak to a destination from; nothing is sent."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(at.host, at.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(place)
            return str(probe.getsockname()[0])
    except OSError:
        return ""
