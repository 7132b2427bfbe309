"""What a browser sends: small forms, and one file with a form. Neither may be larger than it has to be.

How long it may take is `node.web.connection`'s to say.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FORM_BYTES = 8 << 10
# The largest radiograph in use has about 60 MB.
FILE_BYTES = 64 << 20
FORM_TOKEN, FILE = "form_token", "file"
NO_FORM = "This is no form of this page."
_TYPE = "application/x-www-form-urlencoded"


async def fields(request: Request) -> dict[str, str]:
    """Return the fields of a small form.

    Raises
    ------
    HTTPException
        413 or 415 where it is none, 400 where it ends early.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise HTTPException(415, NO_FORM)
    body = b""
    async for part in _parts(request):
        body += part
        if len(body) > FORM_BYTES:
            raise HTTPException(413, "This is more than any form of this page holds.")
    try:
        found = parse_qs(body.decode("ascii"), max_num_fields=8, keep_blank_values=True, errors="strict")
    except ValueError:
        raise HTTPException(400, NO_FORM) from None
    return {name: values[0] for name, values in found.items()}


class Upload:
    """A file that came with a form, in memory: nothing of it is written to a disk.

    Attributes
    ----------
    descriptor : int
        Of the file.
    size : int
    form_token : str
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("upload", os.MFD_CLOEXEC)
        self.size = 0
        self.is_too_large = False
        self._token, self._name, self._header, self._value = b"", b"", b"", b""

    @property
    def form_token(self) -> str:
        """What the form brought back."""
        return self._token.decode("ascii", "replace")

    def callbacks(self) -> MultipartCallbacks:
        """Return what the parser is to call."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_part_data": self._on_data,
        }

    def _begin(self) -> None:
        self._name, self._header, self._value = b"", b"", b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._name = parse_options_header(self._value)[1].get(b"name", b"")
        self._header, self._value = b"", b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == FORM_TOKEN.encode():
            self._token = (self._token + data[start:end])[:FORM_BYTES]
        elif self._name == FILE.encode():
            self.size += end - start
            self.is_too_large = self.is_too_large or self.size > FILE_BYTES
            if not self.is_too_large:
                os.write(self.descriptor, data[start:end])


@contextlib.asynccontextmanager
async def upload(request: Request) -> AsyncIterator[Upload]:
    """Receive the file that came with a form; at the end of the context it is gone.

    Raises
    ------
    HTTPException
        400, 413 or 415.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise HTTPException(415, NO_FORM)
    received = Upload()
    try:
        await _fill(received, request, options[b"boundary"])
        yield received
    finally:
        os.close(received.descriptor)


async def _fill(received: Upload, request: Request, boundary: bytes) -> None:
    try:
        parser = MultipartParser(boundary, received.callbacks())
        async for part in _parts(request):
            parser.write(part)
        parser.finalize()
    except FormParserError:
        raise HTTPException(400, NO_FORM) from None
    # Said once all of it has come: a browser that is cut off while it sends shows no answer.
    if received.is_too_large:
        raise HTTPException(413, f"The file is larger than {FILE_BYTES >> 20} MiB; no film is.")


async def _parts(request: Request) -> AsyncIterator[bytes]:
    try:
        async for part in request.stream():
            yield part
    except ClientDisconnect:
        raise HTTPException(400, "The request ended early.") from None
