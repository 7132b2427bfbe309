"""What can go wrong, drawn as one tree. Each class says who acts next: the sender, the clock, or a person.

::

    NodeError
      ConfigError, BundleError          a person, before the node starts
      ReleaseError                      the person who asked: these results cannot be released, or withheld, now
      ReceiveError                      the sender, told by a C-STORE status
        OutOfResources 0xA700, DataSetMismatch 0xA900, CannotUnderstand and OtherContent 0xC210
      NotAssessable                     nobody: the image is stored and reported as not analysed
      InferenceError, ReportError       a person: the study is parked, the node lives on
      DeliveryError
        TryAgain                        the clock, after a backoff
        Parked                          a person, after `cxr-node retry`
          NotTaken                      this node, which tries another form of the result, then a person

Messages carry identifiers and reasons, never the value of a patient attribute.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why an image is not read by the model. The value is the code value in scheme 99CXRTRIAGE."""

    WRONG_MODALITY = "WRONG_MODALITY"
    NOT_AN_IMAGE = "NOT_AN_IMAGE"
    NOT_CHEST = "NOT_CHEST"
    NOT_FRONTAL = "NOT_FRONTAL"
    FOR_PROCESSING = "FOR_PROCESSING"
    SECONDARY = "SECONDARY"
    OWN_OBJECT = "OWN_OBJECT"
    MULTI_FRAME = "MULTI_FRAME"
    COLOR = "COLOR"
    NO_PIXELS = "NO_PIXELS"
    PIXEL_FORMAT = "PIXEL_FORMAT"
    BROKEN_PIXELS = "BROKEN_PIXELS"
    NOT_DECODED = "NOT_DECODED"
    TOO_SMALL = "TOO_SMALL"
    AGE_OUT_OF_RANGE = "AGE_OUT_OF_RANGE"
    NOT_A_CHEST_FILM = "NOT_A_CHEST_FILM"


class NodeError(Exception):
    """Anything this node can say no to."""


class ConfigError(NodeError):
    """The configuration cannot be used; the message lists every complaint with file, line and key."""


class BundleError(NodeError):
    """The model bundle is missing, incomplete, or not the one its manifest describes."""


class ReleaseError(NodeError):
    """Results that a person asked to be sent or withheld, and that cannot be, with the reason."""


class ReceiveError(NodeError):
    """An instance that is not taken.

    Parameters
    ----------
    comment : str
        Error Comment (0000,0902), at most 64 characters, no patient data.

    References
    ----------
    DICOM PS3.4 Table B.2-1, PS3.7 Annex C.
    """

    status = 0xC000

    def __init__(self, comment: str) -> None:
        super().__init__(comment)
        self.comment = comment[:64]


class OutOfResources(ReceiveError):
    """No room to store the instance: the sender may try again later."""

    status = 0xA700

    @classmethod
    def on(cls, error: OSError) -> "OutOfResources":
        """Say so of what the disk answered."""
        return cls(f"the spool does not take the instance ({error.strerror})")

    @classmethod
    def reserved(cls) -> "OutOfResources":
        """Say that what room is left is kept for results."""
        return cls("the spool's disk is short of room")


class DataSetMismatch(ReceiveError):
    """The data set is not the SOP instance that the command announced."""

    status = 0xA900


class CannotUnderstand(ReceiveError):
    """The data set is malformed, or its SOP instance UID is held with other content.

    0xC210 is the code that pynetdicom, too, answers to a data set it cannot decode.
    """

    status = 0xC210


class OtherContent(CannotUnderstand):
    """The SOP instance UID is held with other content: one of the two was given a UID that is not its own."""


class NotAssessable(NodeError):
    """An image the model may not read.

    Parameters
    ----------
    reason : Reason
        The coded reason, shown in the report.
    detail : str
        A few words from a fixed vocabulary or a coded attribute such as the Body Part Examined.
        Never free text of the patient module.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class InferenceError(NodeError):
    """The model did not give a usable answer; the study is parked."""


class ReportError(NodeError):
    """A result object could not be built, or would break a viewer; the study is parked."""


class DeliveryError(NodeError):
    """A result that did not reach its destination."""


class TryAgain(DeliveryError):
    """A passing trouble: the same bytes are sent again after a backoff."""


class Parked(DeliveryError):
    """The destination refuses for good: a person mends it, then runs ``cxr-node retry``."""


class NotTaken(Parked):
    """The destination takes no form of a result that it was offered."""
