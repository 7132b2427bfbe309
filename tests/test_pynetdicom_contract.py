"""What the door assumes of pynetdicom: an upgrade that takes one of its guards away fails here, by its name.

`node/door` hooks into these places. Where a test fails, read the change there, and the door's tests; then widen the pin.
"""

import inspect
import queue
import struct
import threading

import pynetdicom
import pytest
from pynetdicom import AE, acse, association, dimse, dul, evt, fsm, pdu, service_class, timer, transport
from pynetdicom.dimse_messages import C_ECHO_RQ, N_EVENT_REPORT_RQ, DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.service_class_n import StorageCommitmentServiceClass

from tests.raw import (
    COMMITMENT,
    COMMITMENT_INSTANCE,
    CR,
    DATA_SET,
    N_EVENT_REPORT,
    RELEASE_RQ,
    echo_request,
    elements,
)
from tests.raw import pdu as raw_pdu

REPORT = elements(x0002=COMMITMENT, x0100=N_EVENT_REPORT, x0110=3, x0800=DATA_SET, x1000=COMMITMENT_INSTANCE, x1002=1)


@pytest.fixture
def acceptor():
    return association.Association(AE(), "acceptor")


def parameters(function):
    return list(inspect.signature(function).parameters)


def source(function):
    return inspect.getsource(function)


def decoded(command_set):
    data = P_DATA()
    data.presentation_data_value_list.append((1, b"\3" + command_set))
    message = DIMSEMessage()
    return message, message.decode_msg(data)


def test_it_is_the_version_that_was_read():
    assert pynetdicom.__version__.startswith("3.0.")


# The listener


def test_a_server_of_our_class_is_made_with_our_parameters():
    assert {"server_class", "ssl_context", "contexts", "evt_handlers", "kwargs"} <= set(parameters(AE.make_server))
    made = "server_class(self, address, ae_title, contexts, ssl_context, evt_handlers=evt_handlers or [], **kwargs,"
    assert made in " ".join(source(AE.make_server).replace("# type: ignore", "").split()).replace("( ", "(")
    assert parameters(transport.AssociationServer.__init__)[1:6] == [
        "ae",
        "address",
        "ae_title",
        "contexts",
        "ssl_context",
    ]


def test_a_server_knows_its_associations_by_the_name_of_their_threads():
    known = source(transport.AssociationServer.active_associations.fget)
    assert '"AcceptorThread" in' in known
    assert "_server is self" in known


def test_a_server_binds_when_it_is_made_and_closes_its_port_when_told():
    made = AE("X")
    made.add_supported_context(CR)
    server = made.make_server(("127.0.0.1", 0), server_class=transport.AssociationServer)
    assert server.socket.getsockname() == server.server_address
    server.server_close()
    assert server.socket.fileno() == -1


# The association


def test_an_association_takes_other_parts_after_it_was_made(acceptor):
    assert type(acceptor.dul) is dul.DULServiceProvider
    assert type(acceptor.dimse) is dimse.DIMSEServiceProvider
    assert not acceptor.dul.is_alive()
    acceptor.dul, acceptor.dimse = dul.DULServiceProvider(acceptor), dimse.DIMSEServiceProvider(acceptor)
    acceptor.acse_timeout, acceptor.network_timeout = 7, 8
    assert (acceptor.dul.artim_timer.timeout, acceptor.dul._idle_timer.timeout) == (7, 8)
    assert acceptor.acse.dul is acceptor.dul
    assert (acceptor._accepted_cx, acceptor._server, acceptor._is_paused) == ({}, None, False)


def test_a_socket_tells_the_state_machine_that_it_is_connected(acceptor):
    transport.AssociationSocket(acceptor, client_socket=object())
    assert acceptor.dul.event_queue.get_nowait() == "Evt5"


def test_an_association_is_served_by_the_methods_that_are_replaced():
    loop = source(association.Association._run_reactor)
    for call in (
        "self.dimse.get_msg(block=False)",
        "self._serve_request(msg",
        "self.acse.is_release_requested()",
        "self.acse.is_aborted()",
        "self.dul.is_alive()",
        "self.dul.idle_timer_expired()",
    ):
        assert call in loop
    start = source(association.Association.run_reactor)
    assert "self.dul.start()" in start
    assert "receive_pdu(wait=True" in start
    assert "self._server.shutdown_request(sock.socket)" in start
    assert "self.dul.stop_dul()" in source(association.Association.kill)


def test_handlers_are_bound_as_upstream_binds_them():
    made = source(transport.RequestHandler._create_association)
    for name in (
        "acceptor.maximum_length",
        "acceptor.ae_title",
        "acceptor.address_info",
        "acceptor.implementation_class_uid",
        "acceptor.implementation_version_name",
        "acceptor.supported_contexts",
        "requestor.address_info",
    ):
        assert f"assoc.{name} =" in made
    assert made.count("assoc.") == 12, "something more is set"
    assert evt.EVT_C_STORE.is_intervention
    assert not evt.EVT_RELEASED.is_intervention


def test_upstreams_own_limits_come_after_the_request_and_are_not_relied_on():
    assert "maximum_associations" in source(acse.ACSE._negotiate_as_acceptor)
    assert AE().maximum_associations == 10


def test_a_service_takes_a_request_and_its_context():
    for service in (StorageCommitmentServiceClass, service_class.VerificationServiceClass):
        assert parameters(service.SCP) == ["self", "req", "context"]
        assert parameters(service.__init__) == ["self", "assoc"]


def test_a_fault_of_a_handler_is_answered_with_a_status():
    assert "with attempt(rsp, self.dimse, cx_id, self.assoc) as ctx:" in source(
        service_class.ServiceClass._n_event_report_scp
    )
    assert "return True" in source(service_class.attempt.__exit__)


# The upper layer


def test_the_upper_layers_loop_goes_by_the_methods_that_are_replaced():
    loop = source(dul.DULServiceProvider.run_reactor)
    order = [
        "time.sleep(self._run_loop_delay)",
        "if self._kill_thread:",
        "if self.artim_timer.expired:",
        "if self._process_recv_primitive():",
        "elif self._is_transport_event():",
        "self.event_queue.get(block=False)",
        "self.state_machine.do_action(event)",
    ]
    assert [loop.index(line) for line in order] == sorted(loop.index(line) for line in order)
    assert "self._idle_timer.start()" in loop


def test_the_upper_layer_has_the_queues_and_flags_that_are_used(acceptor):
    layer = acceptor.dul
    for name in ("event_queue", "_recv_pdu", "to_user_queue", "to_provider_queue"):
        assert isinstance(getattr(layer, name), queue.Queue), name
    assert layer._kill_thread is False
    layer.kill_dul()
    assert layer._kill_thread is True
    assert isinstance(layer, threading.Thread)


def test_a_pdu_is_decoded_to_its_event(acceptor):
    found, event = acceptor.dul._decode_pdu(memoryview(raw_pdu(RELEASE_RQ, bytes(4))))
    assert (type(found), event) == (pdu.A_RELEASE_RQ, "Evt12")


def test_the_state_machine_goes_as_the_standard_says():
    """PS3.8 Table 9-10; what the door puts into the queue ends an association in every state."""
    table = fsm.TRANSITION_TABLE
    assert table[("Evt5", "Sta1")] == "AE-5"
    assert table[("Evt6", "Sta2")] == "AE-6"
    assert table[("Evt19", "Sta2")] == "AA-1"
    for state in ("Sta3", "Sta6", "Sta7", "Sta8", "Sta9", "Sta10", "Sta11", "Sta12"):
        assert table[("Evt19", state)] == "AA-8"
        assert table[("Evt17", state)] == "AA-4"
    assert (table[("Evt17", "Sta13")], table[("Evt18", "Sta13")]) == ("AR-5", "AA-2")
    assert ("Evt9", "Sta13") not in table, "an answer that comes too late raises, so the door drops it"


def test_p_data_does_nothing_in_the_state_machine_but_feed_what_the_door_replaces():
    steps = [line.strip() for line in source(fsm.DT_2).splitlines()[-7:] if line.strip() and "#" not in line]
    assert steps == [
        "pdu = dul._recv_pdu.get(False)",
        'dul.assoc.dimse.receive_primitive(cast("P_DATA", pdu.to_primitive()))',
        'return "Sta6"',
    ]


def test_the_abort_that_the_state_machine_sends_can_be_given_its_reason():
    sent = source(fsm.AA_8)
    assert "pdu.source = 0x02" in sent
    assert "dul._send(pdu)" in sent
    abort = pdu.A_ABORT_RQ()
    abort.source, abort.reason_diagnostic = 2, 6
    assert abort.encode() == struct.pack(">BxLxxBB", 7, 4, 2, 6)


def test_a_timer_has_the_parts_that_are_set_by_another_clock():
    assert {"_start_time", "_end_time", "_timeout"} <= set(vars(timer.Timer(1)))
    assert source(timer.Timer.expired.fget).count("self.remaining") == 1
    assert "self.start()" in source(timer.Timer.restart)


# Messages


def test_a_command_set_is_decoded_to_its_message():
    message, is_whole = decoded(echo_request())
    assert (type(message), is_whole) == (C_ECHO_RQ, True)
    assert message.message_to_primitive().is_valid_request
    message, is_whole = decoded(REPORT)
    assert (type(message), is_whole) == (N_EVENT_REPORT_RQ, False)


def test_a_data_set_that_comes_after_its_primitive_was_made_is_seen_in_it():
    message, _ = decoded(REPORT)
    primitive = message.message_to_primitive()
    message.data_set.write(b"later")
    assert primitive.EventInformation.getvalue() == b"later"


def test_a_message_is_asked_for_without_blocking_and_none_is_two_nones(acceptor):
    assert parameters(dimse.DIMSEServiceProvider.get_msg) == ["self", "block"]
    acceptor.dimse_timeout = 0.01
    assert acceptor.dimse.get_msg(block=False) == (None, None)
