"""The conformance statement is up to date, and says what a running node accepts and proposes and what its objects hold."""

from __future__ import annotations

import re
from dataclasses import replace
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.uid import EncapsulatedPDFStorage, KeyObjectSelectionDocumentStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, build_context
from pynetdicom.sop_class import (
    ModalityWorklistInformationFind,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelMove,
)

from node.config import Destination
from node.deliver import StorageSCU
from node.report import EXTRAS, compose
from node.report.source import Profile
from node.samples import studies as samples
from tests.films import chest
from tests.readings import FLAGGED, LATERAL, OPTIONS, UNLIKE, source
from tests.scp import HOST, storage_scp
from tests.senders import Node, request
from tests.tools.make_conformance import ALWAYS, CONFIGURED, FILE, SOMETIMES, shown, statement

# PS3.8 9.3.2.2: a presentation context ID is odd and one byte long.
CONTEXTS = 128
UNSUPPORTED = (
    ModalityWorklistInformationFind,
    StudyRootQueryRetrieveInformationModelMove,
    "1.2.840.10008.1.3.10",  # Media Storage Directory Storage
    "1.2.826.0.1.3680043.10.1338.9",  # a private class
)
TEXT = FILE.read_text("utf-8")


def rows(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    below = TEXT.split(f"\n{heading}", 1)[1].split("\n#", 1)[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    table = "\n".join(lines).split("| --- |", 1)[1].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def classes() -> dict[str, str]:
    return {uid: name for name, uid in rows("## Annex D")}


def syntaxes() -> dict[str, str]:
    return {row[0]: row[1] for row in rows("## Annex E")}


def test_the_statement_is_what_the_code_makes_of_it() -> None:
    assert statement() == TEXT, "docs/conformance.md is stale: run make docs, and look at what changed"


def told_to_be_accepted() -> set[tuple[str, str]]:
    """Pairs that the statement names: each class and each transfer syntax several times; all pairs take half a minute."""
    every = list(syntaxes().values())
    told = {(uid, every[(5 * at + step) % len(every)]) for at, uid in enumerate(classes()) for step in range(5)}
    for _, uid, names, _ in rows("#### 4.2.1"):
        told |= {(uid, syntaxes()[name]) for name in names.split(", ") if uid}
    return told


def test_a_running_node_accepts_what_the_statement_names_and_nothing_else(node: Node) -> None:
    told = told_to_be_accepted()
    assert {uid for uid, _ in told} >= set(classes())
    foreign = {(uid, syntax) for uid in UNSUPPORTED for syntax in syntaxes().values()}
    foreign |= {(uid, "1.2.840.10008.1.2.4.94") for uid in list(classes())[:3]}  # JPIP, by reference
    proposed, accepted = sorted(told | foreign), set()
    for first in range(0, len(proposed), CONTEXTS):
        association = request(node.port, proposed[first : first + CONTEXTS])
        assert association.is_established
        accepted |= {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
        association.release()
    assert {syntax for _, syntax in told} == set(syntaxes().values())
    assert accepted == told


def test_of_several_transfer_syntaxes_the_node_takes_the_first_of_its_own_order(node: Node) -> None:
    uid, order = next(iter(classes())), list(syntaxes().values())
    for offered in (order[:5], order[4::-1], order[:2:-1]):
        contexts = [build_context(uid, offered)]
        association = AE("MODALITY").associate(HOST, node.port, contexts=contexts, ae_title="CXRTRIAGE")
        (accepted,) = association.accepted_contexts
        association.release()
        assert accepted.transfer_syntax == [min(offered, key=order.index)]


@pytest.mark.parametrize(("extra", "roles"), [((), ("SCU",)), (EXTRAS, ("SCU", CONFIGURED))])
def test_the_node_proposes_what_the_statement_says(extra: tuple[str, ...], roles: tuple[str, ...]) -> None:
    told = {
        (uid, syntaxes()[name])
        for _, uid, names, role in rows("#### 4.3.1")
        for name in names.split(", ")
        if role in roles
    }
    with storage_scp() as scp:
        destination = Destination(name="pacs", ae_title="PACS", host=HOST, port=scp.port)
        with StorageSCU(destination, "CXRTRIAGE", extra=extra) as scu:
            scu.echo()
            (association,) = scp.associations
            proposed = association.requestor.primitive.presentation_context_definition_list
    found = {(str(each.abstract_syntax), str(syntax)) for each in proposed for syntax in each.transfer_syntax}
    assert found == told
    assert any(uid == StorageCommitmentPushModel for uid, _ in told)


@pytest.mark.parametrize("profile", ["viewer", "air"])
def test_objects_made_of_other_films_hold_what_the_statement_says(profile: Profile) -> None:
    annexes = {SecondaryCaptureImageStorage: 2, KeyObjectSelectionDocumentStorage: 3, EncapsulatedPDFStorage: 4}
    tables = {number: {row[1]: row for row in rows(f"### A.{number}")} for number in (1, 2, 3, 4)}
    films = [dcmread(sample.files[0], stop_before_pixels=True) for sample in samples()[:2]]
    said = [((films[0], FLAGGED),), ((films[1], LATERAL),), ((films[1], UNLIKE),)]
    for study in said[: 3 if profile == "viewer" else 2]:
        options = replace(OPTIONS, extra=EXTRAS)
        for result in compose(source(*study, plane=lambda key: chest(64, 56)), options, profile):
            for encoded in result.encodings:
                made = dcmread(BytesIO(encoded.data))
                table = tables[annexes.get(made.SOPClassUID, 1)]
                held = {str(element.tag): element for element in made}
                assert {tag: table[tag][2] for tag in held} == {tag: element.VR for tag, element in held.items()}
                assert {tag for tag, row in table.items() if row[3] == ALWAYS} <= set(held)
                assert all(row[3] in (ALWAYS, SOMETIMES) for row in table.values())
                fixed = {tag: row[4] for tag, row in table.items() if row[4].startswith('"') and tag in held}
                assert {tag: f'"{shown(held[tag].value)}"' for tag in fixed} == fixed


def test_the_numbers_of_the_statement_are_those_of_its_annexes() -> None:
    (count,) = re.findall(r"\| Storage \| all (\d+) of Annex D", TEXT)
    assert int(count) == len(classes())
