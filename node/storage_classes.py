"""The storage SOP classes of the Standard, retired ones included, and which of them carry images.

A PACS pushes whole studies, so the node takes whatever can be stored; what the model may read is the gate's question.

References
----------
DICOM PS3.4 Annex B.5 and PS3.6 Annex A.
"""

import re

# It adds to pydicom's dictionary what came into the Standard later: without it, what follows would go by who was imported first.
import pynetdicom  # noqa: F401
from pydicom.uid import UID, ExplicitVRLittleEndian, UID_dictionary

# Classes without a study: services about stores, and instances that belong to no patient (PS3.4 Annex GG).
_NOT_OF_A_STUDY = (
    "Media Storage Directory",
    "Storage Commitment",
    "Storage Management",
    "Storage Service",
    "Stored Print",
    "Hanging Protocol",
    "Color Palette",
    "Implant Template",
    "Implant Assembly",
    "Defined Procedure Protocol",
    "Protocol Approval",
    "Inventory",
    "DICOS",
)


def _storage_names() -> dict[str, str]:
    """Return {UID: name} of every storage SOP class of a study that pydicom's copy of PS3.6 knows."""
    return {
        uid: entry[0]
        for uid, entry in UID_dictionary.items()
        if entry[1] == "SOP Class" and "Storage" in entry[0] and not any(word in entry[0] for word in _NOT_OF_A_STUDY)
    }


STORAGE_CLASSES: dict[str, str] = _storage_names()


def _transfer_syntaxes() -> list[str]:
    """Return every transfer syntax for instances that pydicom's copy of PS3.6 knows, in the order of preference.

    A sender that offers several for one presentation context can encode each, so the cheapest to read is taken: an
    uncompressed one, and among those the one that says what its private attributes are.
    """
    syntaxes = [uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax" and _carries(entry[0])]
    return sorted(syntaxes, key=lambda uid: (UID(uid).is_encapsulated, uid != ExplicitVRLittleEndian))


def _carries(name: str) -> bool:
    """Tell whether instances are stored in this transfer syntax: not in Papyrus, XML or MIME forms, nor by reference."""
    return not any(word in name for word in ("Papyrus", "XML", "MIME", "Referenced", "SMPTE"))


TRANSFER_SYNTAXES: list[str] = _transfer_syntaxes()


def name_of(sop_class_uid: str) -> str:
    """Return the Standard's name of a SOP class, or the UID itself when it is not known."""
    return str(UID(sop_class_uid).name)


def is_image(sop_class_uid: str) -> bool:
    """Tell whether a SOP class is an image to look at, going by the Standard's own name for it.

    Reports, presentation states, waveforms, segmentations, dose grids and the like are not.

    Parameters
    ----------
    sop_class_uid : str

    Returns
    -------
    bool
    """
    return re.search(r"\bImage\b", STORAGE_CLASSES.get(sop_class_uid, "")) is not None
