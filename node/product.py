"""Who we are, as the objects we write and the associations we open say it."""

import uuid

NAME = "CXR Triage Node"
MANUFACTURER = "CXR Triage Node project"
MODEL_NAME = "CXR Triage Node"
NOTICE = "Research and education only, not for diagnosis"

# Every UID of this product is a version 5 UUID in this namespace (PS3.5 B.2). It never changes: with it, a rebuilt
# object keeps its UID and a PACS recognizes it.
UID_NAMESPACE = uuid.UUID("2c1f3a94-7d0b-4c58-9e63-5b8a1f47d6e2")

# Coding scheme designator of our own codes; "99" marks a private scheme (PS3.16 section 8.2).
PRIVATE_SCHEME = "99CXRTRIAGE"


def uid(*parts: str) -> str:
    """Return the UID that names these parts, the same each time.

    Parameters
    ----------
    parts : str
        What makes the thing the one it is, most general first, e.g. ``"device", "CXRTRIAGE"``.

    Returns
    -------
    str
        ``2.25.`` and the decimal value of a version 5 UUID, at most 44 characters.

    References
    ----------
    DICOM PS3.5 B.2, ISO/IEC 9834-8.
    """
    return f"2.25.{uuid.uuid5(UID_NAMESPACE, '|'.join(parts)).int}"


IMPLEMENTATION_CLASS_UID = uid("implementation class")
