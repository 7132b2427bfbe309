"""A snapshot in words: the phrases that the page and the terminal share, and the terminal's tables."""

from __future__ import annotations

from datetime import UTC, datetime
from math import floor
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from node.site_thresholds import told

Form = dict[str, Any]

_SLACK = 1e-9  # 100 * 0.29 is 28.999...

# What is special about a mode in which results are not sent by themselves.
MODES = {
    "shadow": "nothing is sent to any destination; see cxr-node export.",
    "supervised": "results wait until a person releases them.",
}
# Color only repeats what the word says.
STYLES = {
    **dict.fromkeys(("running", "delivered"), "green"),
    **dict.fromkeys(("starting", "waiting", "committing", "unreleased"), "yellow"),
    **dict.fromkeys(("stopped", "parked"), "bold red"),
}


def headline(snapshot: Form) -> str:
    """Return how the node is doing, in one line."""
    roles = snapshot["roles"]
    missing = [f"{role} is {roles[role]['state']}" for role in ("receive", "work") if not roles[role]["running"]]
    if missing:
        return f"Not ready: {', '.join(missing)}."
    if snapshot["disk"]["short"]:
        return "Not ready: the disk is short of room."
    troubles, waiting = len(snapshot["troubles"]), snapshot["unreleased"]["count"]
    to_do = [f"{troubles} to look at."] if troubles else []
    to_do += [f"{waiting} to release."] if waiting else []
    return f"Running{in_mode(snapshot)}. {' '.join(to_do) or 'Nothing to do.'}"


def in_mode(snapshot: Form) -> str:
    """Return what is special about the mode; of a node that sends its results, nothing."""
    return {"shadow": " in shadow mode: nothing is sent", "supervised": ", supervised"}.get(snapshot["mode"], "")


def still_unreleased(found: Form) -> str:
    """Return how many results wait for a person, and since when.

    Examples
    --------
    >>> still_unreleased({"count": 3, "oldest_s": 7300, "urgent": 1})
    '3, 1 of them urgent, the oldest for 2 h'
    """
    urgent = f", {found['urgent']} of them urgent" if found["urgent"] else ""
    return f"{found['count']}{urgent}, the oldest for {waited(found['oldest_s'])}"


def waited(seconds: float) -> str:
    """Return a duration as a person says it.

    Examples
    --------
    >>> waited(4.2), waited(150), waited(7300), waited(200_000)
    ('4 s', '2 min', '2 h', '2 d')
    """
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def mebibytes(count: int) -> str:
    """Return an amount of bytes as a person reads it.

    Examples
    --------
    >>> mebibytes(12_300), mebibytes(700 << 20), mebibytes(5 << 30)
    ('0.0 MiB', '700.0 MiB', '5.0 GiB')
    """
    return f"{count / 2**30:.1f} GiB" if count >= 1 << 30 else f"{count / 2**20:.1f} MiB"


def short(key: str) -> str:
    """Return enough of a study's key to know it by, and for ``cxr-node retry``."""
    return key[:12]


def moment(iso: str) -> str:
    """Return a moment in UTC to the second."""
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def percent(probability: float) -> str:
    """Return a probability in whole percent, never a plain 0 or 100.

    Rounded down: cut-offs are whole percents, and one that is not reached must not look as if it were.

    Examples
    --------
    >>> percent(0.934), percent(0.6497), percent(0.004), percent(0.997)
    ('93 %', '64 %', '<1 %', '>99 %')
    """
    value = 100 * probability
    return "<1 %" if value < 1 else ">99 %" if value > 99 else f"{floor(value + _SLACK)} %"


def answer(study: Form) -> str:
    """Return the study's answer as the report's headline begins, e.g. ``URGENT: Tuberculosis``."""
    if study["answer"] is None:
        return "-"
    word = str(study["answer"]).replace("_", " ").upper()
    return f"{word}: {study['label']}" if study["label"] else word


def probabilities(study: Form) -> str:
    """Return the probabilities of the study's leading image, in the model's order."""
    return ", ".join(f"{label} {percent(value)}" for label, value in study["probabilities"].items())


def images(study: Form) -> str:
    """Return how many images were read, and why others were not."""
    of = study["images"]
    if of["read"] is None:
        return f"{of['total']} received"
    refused = [f"{count} {reason.replace('_', ' ').lower()}" for reason, count in of["not_read"].items()]
    return "; ".join([f"{of['read']} of {of['total']} read", *refused])


def after(study: Form, iso: str) -> str:
    """Return a moment of a study, counted from its first image.

    Examples
    --------
    >>> after({"received": "2026-01-01T10:00:00+00:00"}, "2026-01-01T10:00:01.200000+00:00")
    '+1.2 s'
    """
    seconds = (datetime.fromisoformat(iso) - datetime.fromisoformat(study["received"])).total_seconds()
    if seconds < 0:
        return "(the clock was set back)"
    return f"+{seconds:.1f} s" if seconds < 60 else f"+{waited(seconds)}"


def progress(study: Form) -> dict[str, str]:
    """Return when a study was settled, taken up, read, and its results written, each counted from its first image."""
    moments = {
        "settled": study["settled"],
        "started": study["started"],
        "read": study["done"],
        "composed": study["composed"],
    }
    return {name: after(study, at) for name, at in moments.items() if at}


def results(study: Form) -> dict[str, str]:
    """Return by destination what became of the results, and when they were delivered."""
    return {
        name: f"{delivery['state']} {after(study, delivery['at'])}" if delivery["at"] else delivery["state"]
        for name, delivery in study["deliveries"].items()
    }


def cut_offs(model: Form) -> str:
    """Return whose cut-offs hold, and what they are."""
    return f"Cut-offs of {model['cut_offs_of']}: {told(model['cut_offs'])}"


def certificates(snapshot: Form) -> str:
    """Return what goes by TLS, and until when its certificate holds."""
    found = snapshot["certificates"]
    return "TLS: " + ", ".join(
        f"{each['section']} until {each['expires'][:10]}" if each["expires"] else each["section"] for each in found
    )


def where(role: Form) -> str:
    """Return where a role listens, or on what it computes."""
    return role.get("device", "").upper() or (f"{role['host']}:{role['port']}" if "port" in role else "")


def render(snapshot: Form) -> RenderableType:
    """Return a snapshot as what an administrator reads in one look.

    Parameters
    ----------
    snapshot : dict
        From `node.status.snapshot`.

    Returns
    -------
    rich.console.RenderableType
    """
    model, disk = snapshot["model"], snapshot["disk"]
    facts = [
        headline(snapshot),
        f"AE title {snapshot['ae_title']}, {disk['free_bytes'] / 2**30:.1f} GiB free, "
        f"{snapshot['studies_held']} studies held",
        "no usable model" if model["error"] else f"{model['name']} {model['version']}, weights {model['weights']}",
        *([] if model["error"] else [cut_offs(model)]),
        *([certificates(snapshot)] if snapshot["certificates"] else []),
        *([f"Mode {snapshot['mode']}: {MODES[snapshot['mode']]}"] if snapshot["mode"] in MODES else []),
        f"{snapshot['notice']}.",
    ]
    parts = (_roles, _troubles, _destinations, _unreleased, _parked, _quarantine, _studies)
    tables = [part(snapshot) for part in parts]
    title = f"CXR Triage Node {snapshot['version']}"
    return Group(Panel(Text("\n".join(facts)), title=title), *(table for table in tables if table.row_count))


# Columns that lose their meaning when they are folded.
_NARROW = ("study", "state", "since (UTC)", "received (UTC)", "results")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in _NARROW)
    return table


def _roles(snapshot: Form) -> Table:
    table = _table("What runs", "role", "state", "since (UTC)", "where")
    for name, role in snapshot["roles"].items():
        table.add_row(name, _colored(role["state"]), moment(role["since"]) if "since" in role else "", where(role))
    return table


def _troubles(snapshot: Form) -> Table:
    table = _table("What is wrong", "what", "what to do")
    for trouble in snapshot["troubles"]:
        table.add_row(Text(trouble["what"]), Text(trouble["do"]))
    return table


def _destinations(snapshot: Form) -> Table:
    table = _table("What waits", "destination", "waiting", "committing", "parked", "oldest", "last error")
    for found in snapshot["destinations"]:
        age = waited(found["oldest_s"]) if found["oldest_s"] is not None else ""
        counts = [str(found[state]) for state in ("waiting", "committing", "parked")]
        table.add_row(found["name"], *counts, age, Text(found["last_error"] or ""))
    return table


def _unreleased(snapshot: Form) -> Table:
    table = _table("To release, or to withhold", "study", "answer", "since (UTC)")
    for found in snapshot["unreleased"]["entries"]:
        table.add_row(short(found["study"]), answer(found), moment(found["since"]))
    return table


def _parked(snapshot: Form) -> Table:
    table = _table("Parked", "study", "work", "since (UTC)", "why")
    for found in snapshot["parked"]:
        work = f"{found['verb']} {found['destination'] or ''}".strip()
        table.add_row(short(found["study"]), work, moment(found["at"]), Text(found["message"]))
    return table


def _quarantine(snapshot: Form) -> Table:
    table = _table("Refused", "received (UTC)", "from", "what", "answered", "why", "size")
    for entry in snapshot["quarantine"]["entries"]:
        sender, size = f"{entry['calling']} at {entry['address']}", mebibytes(entry["bytes"])
        table.add_row(
            moment(entry["at"]), Text(sender), Text(entry["sop_class"]), entry["status"], Text(entry["reason"]), size
        )
    return table


def _studies(snapshot: Form) -> Table:
    table = _table("Latest studies", "study", "state", "answer", "images", "received (UTC)", "results")
    for study in snapshot["studies"]:
        table.add_row(
            short(study["study"]),
            _colored(study["state"]),
            answer(study),
            images(study),
            moment(study["received"]),
            "\n".join(f"{name} {words}" for name, words in results(study).items()),
        )
    return table


def _colored(word: str) -> Text:
    return Text(word, style=STYLES.get(word, ""))
