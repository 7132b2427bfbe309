"""The machine that the node is on: what the configuration says, the model, the spool, the ports and the certificates."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from node import check, password
from node.config import Destination, Listen, Settings
from node.config_types import DestinationTLS, is_loopback
from node.deliver import StorageSCU
from node.disk import room
from node.doctor.findings import Finding, bad, good, note, told
from node.doctor.stranger import who_answers
from node.durable import FOLDER_MODE
from node.errors import ConfigError, NodeError
from node.status import ROOM_WANTED_BYTES, roles
from node.tls.certificates import all_files, days_left, expires
from node.tls.watch import WARN_DAYS

_GIB = 2**30
_MOUNTS = Path("/proc/self/mountinfo")
# Another machine decides there whether fsync and file locks hold what they promise.
_OVER_THE_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "virtiofs"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.davfs2", "davfs"),
}
_IN_MEMORY = {"tmpfs", "ramfs"}
# proc_pid_mountinfo(5): space, tab, newline and backslash are written in octal.
_OCTAL = re.compile(r"\\([0-7]{3})")


def configuration(settings: Settings) -> Iterator[Finding]:
    """Look at what the keys say together; each by itself was checked as it was read."""
    listen = settings.listen
    yield good("configuration", f"AE title {listen.ae_title}, {listen.host}, port {listen.port}")
    if not settings.destinations:
        yield bad(
            "destinations", "none: results would go nowhere", "Name your PACS under destinations, as shown below."
        )
    far = [each.name for each in settings.destinations if not is_loopback(each.host)]
    if is_loopback(listen.host) and far:
        yield note(
            "listen.host",
            f"{listen.host} is this machine alone, and {', '.join(far)} is another one: it cannot send films here",
            "Set listen.host: 0.0.0.0 and listen.callers, unless a program of this machine sends the films.",
        )
    if not is_loopback(listen.host):
        yield from _open_to_others(listen)


def _open_to_others(listen: Listen) -> Iterator[Finding]:
    yield note(
        "firewall",
        f"the node listens on {listen.host}: callers of other machines must get through to port {listen.port}",
        f"On this machine, as root: ufw allow proto tcp from PACS-ADDRESS to any port {listen.port}, or "
        f"firewall-cmd --permanent --add-port={listen.port}/tcp and firewall-cmd --reload; and so on any firewall between.",
    )
    if not listen.callers and not (listen.tls and listen.tls.client_certificate):
        yield note(
            "listen.callers",
            "empty: whoever reaches the port may send films",
            "Name the AE titles that may call in listen.callers, and their addresses in listen.addresses.",
        )


def model(settings: Settings, golden: bool) -> Iterator[Finding]:
    """Look at the model bundle and its digests, and where it is wanted have it answer its golden cases."""
    for found in check.model(settings, golden):
        words, _, mend = found.words.partition(". ")
        yield good(found.subject, words) if found.passed else bad(found.subject, words, mend)


def spool(settings: Settings) -> Iterator[Finding]:
    """Look at the spool's folder and its disk; nothing is left there."""
    folder = settings.spool.folder
    place = _nearest(folder)
    trouble = _trouble_to_write(place)
    if trouble:
        yield bad(
            "spool",
            f"{place} cannot be written to: {trouble}",
            f"Give the service's user the folder (chown USER {folder}), or name another one under spool.folder.",
        )
        return
    yield good("spool", f"{folder} can be written to" if place == folder else f"{folder} will be made in {place}")
    if place == folder:
        yield from _rights(folder)
    yield from _kind_of_disk(folder, _file_system(folder, _MOUNTS.read_text("utf-8")) if _MOUNTS.exists() else "")
    yield _free(settings)


def _nearest(folder: Path) -> Path:
    """Return the folder itself, or the nearest above it that is there; one that may not be looked into counts as there."""
    for path in (folder, *folder.resolve().parents):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            pass
        return path
    return folder


def _trouble_to_write(place: Path) -> str:
    try:
        if not place.is_dir():
            return "it is no folder"
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-") as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return os.strerror(error.errno or 0).lower()
    return ""


def _rights(folder: Path) -> Iterator[Finding]:
    found = folder.stat()
    if stat.S_IMODE(found.st_mode) & ~FOLDER_MODE:
        yield note(
            "spool rights",
            f"others than its owner may look into {folder}, which holds patients' images",
            f"Take that away: chmod 700 {folder}. The node does so, too, when it starts.",
        )
    if found.st_uid != os.geteuid():
        yield note(
            "spool rights",
            f"{folder} is another user's",
            "Run this as the user that runs the node: what is true of you may not be true of it.",
        )


def _kind_of_disk(folder: Path, kind: str) -> Iterator[Finding]:
    if kind in _OVER_THE_NETWORK:
        yield bad(
            "spool disk",
            f"{folder} is on a network file system ({kind}): what the node has acknowledged may not outlive a power cut",
            "Name a folder on a local disk under spool.folder.",
        )
    elif kind in _IN_MEMORY:
        yield note(
            "spool disk",
            f"{folder} is in memory ({kind}): whatever was received is gone after a restart",
            "Good for a trial alone; else name a folder on a local disk under spool.folder.",
        )
    elif kind:
        yield good("spool disk", f"{kind}, on this machine")


def _file_system(folder: Path, mounts: str) -> str:
    """Return the type of the file system that a folder is on, or will be; empty where it cannot be told.

    Parameters
    ----------
    folder : Path
    mounts : str
        As in /proc/self/mountinfo: the mount point is field 5, the type follows a lone dash.
    """
    place, longest, kind = folder.resolve(), -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(_OCTAL.sub(lambda match: chr(int(match[1], 8)), before.split()[4]))
        if place.is_relative_to(point) and len(point.parts) >= longest:
            longest, kind = len(point.parts), after.split()[0]
    return kind


def _free(settings: Settings) -> Finding:
    found = room(settings.spool.folder, settings.spool.reserve_bytes)
    words = f"{found.free_bytes / _GIB:.1f} GiB of {found.total_bytes / _GIB:.1f} GiB are free"
    if found.is_short:
        return bad(
            "spool room",
            f"{words}, less than spool.reserve_mb keeps: new films are refused",
            "Make room on the disk, or move spool.folder to a larger one.",
        )
    if found.free_bytes < ROOM_WANTED_BYTES:
        wanted = ROOM_WANTED_BYTES >> 30
        return note(
            "spool room", words, f"A day of a busy department takes {wanted} GiB: make room, or move spool.folder."
        )
    return good("spool room", words)


def port(settings: Settings) -> Finding:
    """Look whether the node's port is free, is this very node's, or is somebody else's."""
    listen, subject = settings.listen, "port"
    if listen.port == 0:
        return note(subject, "0: the system picks another port at each start", "Set listen.port, or no PACS finds it.")
    trouble = _trouble_to_bind(listen.host, listen.port)
    if trouble is None:
        return good(subject, f"{listen.port} is free: the node is not running")
    if trouble.errno != errno.EADDRINUSE:
        return _not_to_be_bound(subject, "listen", listen.host, listen.port, trouble)
    facts = _running(settings, "receive")
    if facts["running"] and facts.get("port") == listen.port:
        return _own_answer(subject, listen)
    return _held_by_another(subject, listen)


def web(settings: Settings) -> Iterator[Finding]:
    """Look at the status page's port, and who can see the page."""
    section, subject = settings.web, "status page"
    if section.password_file:
        yield from _password(section.password_file)
    elif not is_loopback(section.host):
        yield note(
            subject,
            f"listens on {section.host} and has no login: whoever reaches port {section.port} sees it, without patients' data",
            "Set web.password_file, or web.host: 127.0.0.1, or put a proxy with a login before it.",
        )
    if not is_loopback(section.host) and not section.url.startswith("https:"):
        yield note(
            subject,
            f"listens on {section.host} without TLS: passwords and films cross the network in the clear",
            "Put a proxy with TLS before it, and name its address in web.url.",
        )
    trouble = _trouble_to_bind(section.host, section.port) if section.port else None
    if trouble is None:
        yield good(subject, f"port {section.port} is free" if section.port else "on a port that the system picks")
    elif trouble.errno != errno.EADDRINUSE:
        yield _not_to_be_bound(subject, "web", section.host, section.port, trouble)
    elif _running(settings, "web").get("port") == section.port:
        yield good(subject, f"this node answers at http://{_reachable(section.host)}:{section.port}")
    else:
        kind = who_answers(_reachable(section.host), section.port) or "another program"
        yield bad(subject, f"port {section.port} is held by {kind}", "Stop that program, or change web.port.")


def certificates(settings: Settings) -> Iterator[Finding]:
    """Look at the files of every section ``tls``: there, whole, in force, of one another, and for how long."""
    for files in all_files(settings):
        try:
            files.check()
            if files.certificate is None:
                yield good(files.section, "the authorities' certificates can be read")
                continue
            days = days_left(expires(files.section, files.certificate))
        except ConfigError as error:
            yield told(files.section, error, f"{files.section}.")
            continue
        if days < WARN_DAYS:
            mend = f"Have it renewed, and put the new one into {files.certificate}; the node takes it up by itself."
            yield note(files.section, f"the certificate expires in {days} days", mend)
        else:
            yield good(files.section, f"the certificate holds for {days} more days")


def _running(settings: Settings, role: str) -> dict[str, Any]:
    """Return what a role of this spool announced while it runs; nothing where this user may not look."""
    with contextlib.suppress(PermissionError):
        return roles(settings.spool.folder)[role]  # type: ignore[no-any-return]
    return {"running": False}


def _own_answer(subject: str, listen: Listen) -> Finding:
    try:
        with StorageSCU(_itself(listen), _calling(listen)) as scu:
            return good(subject, f"{listen.port}: this node answers a C-ECHO in {scu.echo():.0f} ms")
    except NodeError as error:
        if "calling AE title" in str(error):  # as it should, of a caller that the configuration does not name
            return good(
                subject, f"{listen.port}: this node runs; it lets callers of listen.callers in, and nobody else"
            )
        return told(subject, error)


def _held_by_another(subject: str, listen: Listen) -> Finding:
    mend = "Stop that program, or change listen.port, here and in the PACS."
    kind = who_answers(_reachable(listen.host), listen.port)
    if kind:
        return bad(subject, f"{listen.port} is held by {kind}", mend)
    try:
        with StorageSCU(_itself(listen), _calling(listen)) as scu:
            scu.echo()
    except NodeError:
        return bad(
            subject, f"{listen.port} is held by another program, which does not answer to {listen.ae_title}", mend
        )
    kind = f"another DICOM node, which answers to {listen.ae_title}, too, and has another spool"
    return bad(subject, f"{listen.port} is held by {kind}", mend)


def _itself(listen: Listen) -> Destination:
    """Return the node as a destination of its own; its certificate is trusted, whatever name it is for."""
    tls = listen.tls and DestinationTLS(
        trusted=listen.tls.certificate, certificate=listen.tls.certificate, key=listen.tls.key, check_name=False
    )
    itself = Destination(name="itself", ae_title=listen.ae_title, host=_reachable(listen.host), port=listen.port)
    return itself.model_copy(update={"tls": tls})


def _calling(listen: Listen) -> str:
    return listen.callers[0] if listen.callers else listen.ae_title


def _trouble_to_bind(host: str, number: int) -> OSError | None:
    """Return why a port cannot be listened on, None where it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)  # of two that are bound, only the second to listen is refused
    except OSError as error:
        return error
    return None


def _not_to_be_bound(subject: str, section: str, host: str, number: int, trouble: OSError) -> Finding:
    if trouble.errno == errno.EACCES:
        return bad(
            subject,
            f"this user may not listen on port {number}: ports below 1024 are root's",
            f"Set {section}.port: 11112, or give the service CAP_NET_BIND_SERVICE.",
        )
    return bad(
        subject,
        f"{host} is no address of this machine",
        f"Set {section}.host to one of its addresses, or to 0.0.0.0 for all.",
    )


def _reachable(host: str) -> str:
    """Return an address at which a host that listens on all its addresses is reached from here."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (nothing listens here)


def _password(path: Path) -> Iterator[Finding]:
    """Look whether somebody can log in at the status page."""
    try:
        password.read(path)
        yield good("status page", "asks for a password before it shows films")
    except ConfigError as error:
        yield told("status page", error, "web.password_file:")
