"""DICOM over TLS, both ways: who the node is, whom it trusts, and what it says where a handshake fails.

::

    certificates    the files: read, held against each other, and when they expire
    contexts        what connections are encrypted by; it follows the files
    failures        a failed handshake in words
    watch           tells in time that a certificate expires

TLS 1.2 and 1.3, and suites that BCP 195 recommends: DICOM PS3.15 B.12, "BCP 195 RFC 8996, 9325 TLS Secure Transport
Connection Profile". Peers of the earlier profiles B.9 to B.11 are understood where they offer TLS 1.2 with ECDHE and GCM.
"""
