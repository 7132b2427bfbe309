"""A result as it lies on disk: a DICOM file, and its data set in the transfer syntax that a peer accepted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from pynetdicom.dsutils import encode, split_dataset

from node.errors import Parked


@dataclass(frozen=True)
class Part10File:
    """A DICOM file, known by its file meta information.

    Parameters
    ----------
    path : Path
    sop_class_uid, sop_instance_uid, transfer_syntax_uid : str
        Of the file meta information.
    offset : int
        Where the data set begins, in bytes.

    References
    ----------
    DICOM PS3.10 7.1.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file meta information, and nothing else.

        Parameters
        ----------
        path : Path

        Raises
        ------
        Parked
            When it is missing or no DICOM file.
        """
        try:
            meta, offset = split_dataset(path)
            return cls(
                path,
                str(meta.MediaStorageSOPClassUID),
                str(meta.MediaStorageSOPInstanceUID),
                str(meta.TransferSyntaxUID),
                offset,
            )
        except (OSError, EOFError, InvalidDicomError, AttributeError) as error:
            why = type(error).__name__
            raise Parked(
                f"result file {path} cannot be read ({why}). Restore it, or have the study read again."
            ) from None

    @property
    def is_compressed(self) -> bool:
        """Whether the pixel data are encapsulated."""
        return bool(UID(self.transfer_syntax_uid).is_compressed)

    def data_set(self, transfer_syntax_uid: str) -> bytes:
        """Return the data set in a transfer syntax: the very bytes of the file where it is the file's own.

        Parameters
        ----------
        transfer_syntax_uid : str
            The file's own, or an uncompressed one in little endian.

        Returns
        -------
        bytes
        """
        if transfer_syntax_uid == self.transfer_syntax_uid:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return file.read()
        dataset = dcmread(self.path)
        if self.is_compressed:
            # The same picture in another encoding keeps its UID, so that a repeat is recognized as one.
            dataset.decompress(generate_instance_uid=False)
        encoded: bytes = encode(dataset, UID(transfer_syntax_uid).is_implicit_VR, True)
        return encoded
