"""What a person would look at who connects the node to a PACS: this machine, each destination, and what both must be told.

::

    findings        one thing looked at: well, worth knowing, or bad with its mend
    here            configuration, model, spool, ports and certificates
    messages        the mode, and those who are told of studies and faults
    there           each destination: connection, association, C-ECHO, what it takes
    stranger        what answers on a port in place of what should
    trial           a sample, read and reported on, stored at each destination as test data
    instructions    what to type into the PACS, and into the node's configuration
    show            all of it on a terminal, or as JSON

It starts nothing and changes nothing, but for the trial, which stores test data where a person asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from node.config import Settings
from node.doctor import here, messages, there
from node.doctor.findings import Finding, told
from node.errors import NodeError

_CORRECT = "Correct that line; config/node.yaml has every key with its meaning."


def examine(settings: Settings, golden: bool = False, send: bool = False, notify: bool = False) -> Iterator[Finding]:
    """Look at everything, nearest first.

    Parameters
    ----------
    settings : Settings
    golden : bool
        Have the model answer its golden cases, too.
    send : bool
        Store a test study at every destination.
    notify : bool
        Send a test message to everybody who is told of studies and faults.

    Yields
    ------
    Finding
    """
    yield from here.configuration(settings)
    yield from here.model(settings, golden)
    yield from here.spool(settings)
    yield from here.certificates(settings)
    yield here.port(settings)
    yield from here.web(settings)
    yield from messages.mode(settings)
    yield from messages.receivers(settings, notify)
    for at in settings.destinations:
        yield from there.destination(settings, at)
    if send:
        from node.doctor.trial import round_trip  # highdicom and the model come with it

        yield from round_trip(settings)


def of_errors(error: NodeError) -> list[Finding]:
    """Return the mistakes of a configuration that could not be loaded, one finding each: its message has a line each."""
    found = [told("configuration", NodeError(line)) for line in str(error).splitlines()]
    return [each if each.mend else replace(each, mend=_CORRECT) for each in found]
