"""A message as a person reads it, in plain text."""

from __future__ import annotations

from node.notices import Form
from node.status_text import moment

_LEADS = {
    "study": "The results of a study are on their way to the PACS.",
    "unreleased": "The results of a study wait to be released: cxr-node release, or the status page.",
    "faults": "Something about the node needs a person.",
    "test": "Somebody has asked the node to send this, to see whether it arrives.",
}


def subject(message: Form) -> str:
    """Return one line that says what it is about, e.g. ``[CXRTRIAGE] URGENT: Tuberculosis``."""
    return " ".join(f"[{message['node']}] {message['summary']}".split())


def body(message: Form) -> str:
    """Return the whole message."""
    lead = (
        "Nothing is wrong any more."
        if message["kind"] == "faults" and not message["faults"]
        else _LEADS[message["kind"]]
    )
    lines = [message["summary"], "", lead, "", *_facts(message)]
    return "\n".join([*lines, "", message["notice"], ""])


def _facts(message: Form) -> list[str]:
    if message["kind"] == "faults":
        lines = [line for fault in message["faults"] for line in _fault(fault)]
        return [*lines, *(f"Over: {what}" for what in message["over"]), *_page(message)]
    if message["kind"] == "test":
        return _page(message)
    facts = {
        "Study": message["study"],
        "Study Instance UID": message.get("study_instance_uid"),
        "Accession Number": message.get("accession_number"),
        "Warnings": ", ".join(message["warnings"]).replace("_", " ").lower(),
        "Received": f"{moment(message['received'])} UTC",
        "Read": f"{moment(message['done'])} UTC, by {message['model']}",
    }
    return [*(f"{name}: {value}" for name, value in facts.items() if value), *_page(message)]


def _fault(fault: Form) -> list[str]:
    times = f" ({fault['count']} times since the last message)" if fault["count"] > 1 else ""
    return [f"- {fault['what']}{times}", f"  {fault['do']}"]


def _page(message: Form) -> list[str]:
    return [f"Status page: {message['page']}"] if message["page"] else []
