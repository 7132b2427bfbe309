"""Who is let in: the version, the application context, both AE titles and the address, in this order."""

import ipaddress

import pytest

from node.door import verdict
from node.door.callers import Callers, plain
from node.door.request import AssociationRequest
from tests.raw import request


def asked(**changes: object) -> AssociationRequest:
    return AssociationRequest.decode(request(**changes))  # type: ignore[arg-type]


def networks(**listed: list[str]) -> dict[str, list[ipaddress.IPv4Network | ipaddress.IPv6Network]]:
    return {title: [ipaddress.ip_network(each, strict=False) for each in found] for title, found in listed.items()}


def test_everything_that_is_wrong_is_told_in_its_order() -> None:
    callers = Callers("CXRTRIAGE", ["PACS"])
    wrong = {"version": 2, "application_context": "1.2.3", "called": b"OTHER", "calling": b"STRANGER"}
    told = []
    for cure in (
        {},
        {"version": 1},
        {"application_context": "1.2.840.10008.3.1.1.1"},
        {"called": b"CXRTRIAGE"},
        {"calling": b"PACS"},
    ):
        wrong |= cure
        told.append(callers.rejection(asked(**wrong), "127.0.0.1"))
    assert told == [
        verdict.PROTOCOL_VERSION,
        verdict.APPLICATION_CONTEXT,
        verdict.CALLED_AE_TITLE,
        verdict.CALLING_AE_TITLE,
        None,
    ]


def test_the_rejections_carry_the_numbers_of_the_standard() -> None:
    """PS3.8 Table 9-21."""
    assert verdict.CALLED_AE_TITLE.pdu() == b"\3\0\0\0\0\4\0\1\1\7"
    assert verdict.CALLING_AE_TITLE.pdu() == b"\3\0\0\0\0\4\0\1\1\3"
    assert verdict.APPLICATION_CONTEXT.pdu() == b"\3\0\0\0\0\4\0\1\1\2"
    assert verdict.PROTOCOL_VERSION.pdu() == b"\3\0\0\0\0\4\0\1\2\2"
    assert verdict.TEMPORARY_CONGESTION.pdu() == b"\3\0\0\0\0\4\0\2\3\1"
    assert verdict.LOCAL_LIMIT.pdu() == b"\3\0\0\0\0\4\0\2\3\2"
    assert verdict.Violation("", verdict.UNEXPECTED_PDU).pdu() == b"\7\0\0\0\0\4\0\0\2\2"


def test_a_peer_that_speaks_several_versions_speaks_this_one() -> None:
    assert Callers("CXRTRIAGE").rejection(asked(version=0xFFFF), "127.0.0.1") is None


@pytest.mark.parametrize("title", [b"", b"\xc3\xa9", b"A\\B", b"A\nB"])
def test_a_caller_without_a_title_is_not_recognized(title: bytes) -> None:
    assert Callers("CXRTRIAGE").rejection(asked(calling=title), "127.0.0.1") == verdict.CALLING_AE_TITLE


@pytest.mark.parametrize(
    ("address", "is_let_in"),
    [
        ("10.1.2.3", True),
        ("10.1.4.200", True),
        ("10.1.2.4", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:10.1.2.4", False),
        ("fd00::5", True),
        ("fd01::5", False),
        ("fe80::1%eth0", True),
    ],
)
def test_a_title_with_addresses_is_let_in_from_these_alone(address: str, is_let_in: bool) -> None:
    listed = networks(PACS=["10.1.2.3", "10.1.4.0/24", "fd00::/16", "fe80::/10"])
    callers = Callers("CXRTRIAGE", addresses=listed)
    assert (callers.rejection(asked(calling=b"PACS"), address) is None) == is_let_in
    assert callers.rejection(asked(calling=b"OTHER"), address) is None


def test_a_title_with_an_empty_list_of_addresses_is_let_in_from_nowhere() -> None:
    callers = Callers("CXRTRIAGE", addresses={"PACS": []})
    assert callers.rejection(asked(calling=b"PACS"), "127.0.0.1") == verdict.CALLING_AE_TITLE


def test_addresses_do_not_stand_in_for_the_list_of_callers() -> None:
    callers = Callers("CXRTRIAGE", ["MODALITY"], networks(PACS=["127.0.0.1"]))
    assert callers.rejection(asked(calling=b"PACS"), "127.0.0.1") == verdict.CALLING_AE_TITLE


def test_who_is_named_in_the_configuration_is_known_and_has_an_account_of_its_own() -> None:
    callers = Callers("CXRTRIAGE", (), networks(A=["127.0.0.1"]), ["B"])
    peers = {title: callers.peer(asked(calling=title), "::ffff:127.0.0.1") for title in (b"A", b"B", b"C", b"D")}
    assert [peer.is_known for peer in peers.values()] == [True, True, False, False]
    assert len({peer.account for peer in peers.values()}) == 3
    assert peers[b"C"].account == peers[b"D"].account
    assert {peer.address for peer in peers.values()} == {"127.0.0.1"}
    assert callers.knows_any
    assert not Callers("CXRTRIAGE").knows_any


def test_an_address_is_told_without_its_zone_and_mapping() -> None:
    assert [plain(each) for each in ("10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "::1")] == [
        "10.0.0.1",
        "10.0.0.1",
        "fe80::1",
        "::1",
    ]
