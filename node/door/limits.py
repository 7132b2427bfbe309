"""What the door grants a peer: time, bytes, and places. Each number has its reason beside it."""

from __future__ import annotations

from dataclasses import dataclass

from node.door.walk import OBJECT_LIMIT_BYTES


@dataclass(frozen=True, slots=True)
class Limits:
    """The door's limits.

    The first group holds until an association is asked for, the second bounds associations in number, the third what
    one of them may send and how slowly, the fourth its end.

    Notes
    -----
    Lengths: PS3.8 9.3 gives the length of a PDU 32 bits, and of its type none but P-DATA-TF a bound (Annex D.1).
    """

    # From accept to the last byte of the A-ASSOCIATE-RQ, TLS handshake included. A segment that is lost is sent again
    # after 1, 3 and 7 s (RFC 6298).
    request_s: float = 10.0
    # 128 presentation contexts of 45 transfer syntaxes, which is all the Standard has, come to some 170 kB.
    request_bytes: int = 256 << 10
    # Connections that have not asked yet. Each costs a descriptor and about a kilobyte; in a TLS handshake, 42 kB (measured).
    arrivals: int = 512
    arrivals_per_address: int = 256
    # A request that finds no place waits this long for one before it is rejected; it costs no thread.
    place_s: float = 2.0

    # Each association costs two threads. One peer must not take all places, nor the unknown those of the known.
    associations: int = 64
    associations_per_peer: int = 32
    # When there is no place, an association that was silent this long makes one: before its first message, and after.
    mute_s: float = 1.0
    idle_s: float = 15.0

    # What the node announces (PS3.8 D.1), and room for a peer that does not count the item's own header.
    pdu_bytes: int = 131_072
    pdu_slack_bytes: int = 1024
    # A command set is some 300 bytes; a data set beside a C-STORE's lists the instances of a storage commitment.
    command_bytes: int = 64 << 10
    information_bytes: int = 1 << 20
    object_bytes: int = OBJECT_LIMIT_BYTES
    # A data set that is too large is swallowed and refused, but not without end: no element is longer (PS3.5 7.1).
    swallowed_bytes: int = 4 << 30
    empty_fragments: int = 1000
    # While a PDU or a message is under way; a line of 64 kbit/s carries twice as much.
    rate_bytes_s: int = 4096
    rate_window_s: float = 10.0
    # Whole messages that wait for their answer before reading stops; without an asynchronous window there is one.
    queued: int = 4
    # pynetdicom's default; DCMTK's storescp hangs up as late (60.8 s, measured).
    silence_s: float = 60.0

    # A peer that does not read what it is sent.
    send_s: float = 15.0
    # ARTIM (PS3.8 9.1.5): how long the peer may take to hang up, and how much is read meanwhile, so that the last
    # word is not lost to a TCP reset.
    linger_s: float = 3.0
    evicted_linger_s: float = 0.5
    drained_bytes: int = 256 << 10
