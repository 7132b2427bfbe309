"""One thing looked at: well, worth knowing, or bad; what is not well comes with who must do what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from node.errors import NodeError


class State(StrEnum):
    """How it is. Only what is bad must be mended before the node can do its work."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes
    ----------
    subject : str
    state : State
    found : str
    mend : str
        Who must do what; empty where nobody must.
    """

    subject: str
    state: State
    found: str
    mend: str = ""


def good(subject: str, found: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(subject, State.GOOD, found)


def note(subject: str, found: str, mend: str) -> Finding:
    """Return a finding that a person should know of."""
    return Finding(subject, State.NOTE, found, mend)


def bad(subject: str, found: str, mend: str) -> Finding:
    """Return a finding that keeps the node from its work."""
    return Finding(subject, State.BAD, found, mend)


def told(subject: str, error: NodeError, about: str = "") -> Finding:
    """Return an error of the node as a finding: its messages say what is wrong, then in a new sentence what to do.

    Parameters
    ----------
    subject : str
    error : NodeError
    about : str
        Words at the message's beginning that the subject says already.
    """
    found, _, mend = str(error).removeprefix(about).strip().partition(". ")
    return bad(subject, found.removesuffix("."), mend)


def all_well(findings: Iterable[Finding]) -> bool:
    """Tell whether nothing is bad."""
    return all(finding.state is not State.BAD for finding in findings)
