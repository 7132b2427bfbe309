"""An association that the node requests of a peer: opened or its refusal judged, asked one question at a time, ended."""

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pynetdicom import Association, evt
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from node.errors import DeliveryError, Parked, TryAgain
from node.product import IMPLEMENTATION_CLASS_UID
from node.requestor import RequestorAE, TransportConnection, next_response
from node.tls import failures
from node.tls.contexts import ClientTLS

# Three repeats of a lost SYN, sent 1, 3 and 7 s after the first (RFC 6298), fit into it.
CONNECTION_TIMEOUT_S = 10.0

# The ARTIM time is left to the implementation (PS3.8 9.1.5); DCMTK's storescu waits 30 s for either answer.
ACSE_TIMEOUT_S = 30.0
DIMSE_TIMEOUT_S = 30.0

# Nothing is lost with an unanswered release, so the next instance waits no longer for it than an idle association lives.
RELEASE_TIMEOUT_S = 5.0

# How often a waiting requestor looks whether the association still stands; an answer itself wakes it at once.
_LOOK_EVERY_S = 0.1

EventReportHandler = Callable[[Any], tuple[int, None]]


@dataclass(frozen=True)
class Peer:
    """Whom to call, and as whom.

    Parameters
    ----------
    name : str
        Name of the destination in the configuration.
    ae_title, host, port
        Called AE title and its address.
    calling_ae_title : str
        AE title of this node.
    tls : ClientTLS, optional
        What it is called by; in the clear without.
    """

    name: str
    ae_title: str
    host: str
    port: int
    calling_ae_title: str
    tls: ClientTLS | None = None

    def __str__(self) -> str:
        return f"destination '{self.name}' ({self.ae_title} at {self.host}:{self.port})"


class AssociationEnded(TryAgain):
    """The peer ended the association before it answered."""


class RequestedAssociation:
    """An established association with a peer.

    Parameters
    ----------
    peer : Peer
    contexts : Sequence of PresentationContext
        Presentation contexts to propose, at most 128.
    on_event_report : callable, optional
        Answers an N-EVENT-REPORT that comes on this association: takes a pynetdicom Event, returns (status, None).

    Attributes
    ----------
    accepted : Mapping of (abstract syntax UID, transfer syntax UID) to presentation context ID
        What the peer accepted.

    Raises
    ------
    TryAgain
        When the peer cannot be reached, is busy, or gives no answer.
    Parked
        When it rejects the node for good, or accepts none of the contexts.
    """

    def __init__(
        self,
        peer: Peer,
        contexts: Sequence[PresentationContext],
        on_event_report: EventReportHandler | None = None,
    ) -> None:
        self.peer = peer
        self._message_id = 0
        started_s = time.monotonic()
        self._association = _associate(peer, contexts, on_event_report)
        self._connection: TransportConnection = self._association.dul.socket
        if not self._association.is_established:
            raise self._refusal(time.monotonic() - started_s)
        self.accepted: Mapping[tuple[str, str], int] = {
            (context.abstract_syntax, context.transfer_syntax[0]): context.context_id
            for context in self._association.accepted_contexts
        }

    @property
    def is_established(self) -> bool:
        """Whether the association still stands, as far as is known."""
        return bool(self._association.is_established)

    def ask(self, request: Any, context_id: int) -> Any:
        """Send a request and wait for its response.

        Parameters
        ----------
        request : DIMSE primitive
            C_ECHO, C_STORE or N_ACTION; its Message ID is set here.
        context_id : int
            A presentation context ID out of ``accepted``.

        Returns
        -------
        DIMSE primitive
            The response, with a ``Status``.

        Raises
        ------
        AssociationEnded
            When the peer aborts, releases or closes the connection instead.
        TryAgain
            When it says nothing for 30 s after the last byte was sent. The association is aborted.
        """
        self._message_id = self._message_id % 0xFFFF + 1
        request.MessageID = self._message_id
        self._association.dimse.send_msg(request, context_id)
        response = self._response(time.monotonic())
        if response.Status is None:
            self.abort()
            raise TryAgain(f"{self.peer} answered without a status; look in its log.")
        return response

    def _response(self, asked_s: float) -> Any:
        while time.monotonic() - max(asked_s, self._connection.last_sent_s) < DIMSE_TIMEOUT_S:
            message = self._next_message()
            if message is not None and message.MessageIDBeingRespondedTo == self._message_id:
                return message
            if message is None and not self.is_established:
                raise self._ended()
        self.abort()
        raise TryAgain(f"{self.peer} took a message and gave no answer within {DIMSE_TIMEOUT_S:.0f} s.")

    def _ended(self) -> TryAgain:
        if self._connection.stalled:
            return TryAgain(f"{self.peer} stopped reading in the middle of a message. If this lasts, look in its log.")
        return AssociationEnded(
            f"{self.peer} ended the association before it answered. If this lasts, look in its log."
        )

    def _next_message(self) -> Any:
        return next_response(self._association, _LOOK_EVERY_S)

    def release(self) -> None:
        """Release the association; abort it where the peer does not answer."""
        if not self.is_established:
            return
        # Not Association.release(): it waits on a flag that the thread serving an N-EVENT-REPORT may clear for good.
        self._association.acse_timeout = RELEASE_TIMEOUT_S
        self._association._reactor_checkpoint.clear()
        self._association.acse.negotiate_release()
        self._association._reactor_checkpoint.set()

    def abort(self) -> None:
        """Abort the association, and cut the connection where the peer does not even read that."""
        self._association.abort(block=False)
        self._association.dul.join(1.0)
        self._connection.cut()

    def _refusal(self, waited_s: float) -> DeliveryError:
        """Say why there is no association."""
        answer = self._answer()
        if answer is not None and answer.result != _ACCEPTED:
            return rejection(self.peer, answer.result, answer.result_source, answer.diagnostic)
        if self._connection.failure is not None:
            return _unreachable(self.peer, self._connection.failure)
        if self._association.acceptor.primitive is not None:
            return Parked(f"{self.peer} accepted the association but none of its SOP classes. {_allow(self._proposed)}")
        if waited_s >= ACSE_TIMEOUT_S:
            return TryAgain(f"{self.peer} took the connection but not the association within {ACSE_TIMEOUT_S:.0f} s.")
        check = "" if self.peer.tls else ", and whether it wants TLS"
        return TryAgain(
            f"{self.peer} ended the connection when an association was requested. Check that it is DICOM{check}."
        )

    def _answer(self) -> A_ASSOCIATE | None:
        # A peer may reject and close before pynetdicom looks whether it is connected at all; it then takes the
        # connection for failed and leaves the rejection in the queue.
        answer = self._association.acceptor.primitive or self._association.dul.receive_pdu()
        return answer if isinstance(answer, A_ASSOCIATE) else None

    @property
    def _proposed(self) -> Sequence[PresentationContext]:
        contexts: Sequence[PresentationContext] = self._association.requestor.requested_contexts
        return contexts


def _associate(
    peer: Peer, contexts: Sequence[PresentationContext], on_event_report: EventReportHandler | None
) -> Association:
    entity = RequestorAE(ae_title=peer.calling_ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = None  # optional, and the default would name pynetdicom (PS3.7 D.3.3.2)
    entity.connection_timeout = CONNECTION_TIMEOUT_S
    entity.acse_timeout = ACSE_TIMEOUT_S
    entity.dimse_timeout = DIMSE_TIMEOUT_S
    # pynetdicom's own idle timer hears only what comes in, and would abort a long message that is still going out.
    entity.network_timeout = None
    handlers = [(evt.EVT_N_EVENT_REPORT, on_event_report)] if on_event_report else []
    try:
        return entity.associate(
            peer.host,
            peer.port,
            list(contexts),
            ae_title=peer.ae_title,
            evt_handlers=handlers,
            tls_args=(peer.tls.context(), peer.tls.server_name) if peer.tls else None,
        )
    except OSError as failure:  # the host name is looked up before there is a connection
        raise _unreachable(peer, failure) from None


def _unreachable(peer: Peer, failure: OSError) -> TryAgain:
    """Say why there is no connection. A certificate that is not trusted waits as well: it expires, and is renewed."""
    if peer.tls and isinstance(failure, ssl.SSLError | ConnectionResetError | BrokenPipeError):
        return TryAgain(f"{peer} {failures.of_server(failure, peer.tls.server_name)}")
    why = "no answer to the connection" if isinstance(failure, TimeoutError) else str(failure.strerror).lower()
    return TryAgain(f"{peer} cannot be reached: {why}. Check that it is running, and its host and port.")


# PS3.8 9.3.3 and Table 9-21.
_ACCEPTED, _REJECTED_TRANSIENT = 0, 2

# PS3.8 Table 9-21: (source, reason) to the Standard's words and what to do about it.
_REJECTIONS = {
    (1, 1): ("no reason given", "Look in its log."),
    (1, 2): ("application context name not supported", "It must speak DICOM's application context."),
    (1, 3): ("calling AE title not recognized", "Add {calling} to its known AE titles."),
    (1, 7): ("called AE title not recognized", "Set the destination's ae_title to the one it answers to."),
    (2, 1): ("no reason given", "Look in its log."),
    (2, 2): ("protocol version not supported", "It must speak version 1 of the DICOM upper layer protocol."),
    (3, 1): ("temporary congestion", "If this lasts, look in its log."),
    (3, 2): ("local limit exceeded", "If this lasts, allow it more associations."),
}


def rejection(peer: Peer, result: int, source: int, reason: int) -> DeliveryError:
    """Judge an A-ASSOCIATE-RJ.

    Parameters
    ----------
    peer : Peer
    result, source, reason : int
        The fields of the PDU.

    Returns
    -------
    TryAgain or Parked
        For a transient and a permanent rejection.

    References
    ----------
    DICOM PS3.8 9.3.4, Table 9-21.
    """
    words, action = _REJECTIONS.get((source, reason), (f"reason {source}/{reason}", "Look in its log."))
    message = f"{peer} refused the association: {words}. {action.format(calling=peer.calling_ae_title)}"
    return TryAgain(message) if result == _REJECTED_TRANSIENT else Parked(message)


def _allow(contexts: Sequence[PresentationContext]) -> str:
    names = dict.fromkeys(context.abstract_syntax.name for context in contexts)
    return f"Let it accept at least one of: {', '.join(names)}."
