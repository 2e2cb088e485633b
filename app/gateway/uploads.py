"""A file sent by a form: written to a temporary file as it arrives, and refused as soon as it is too large."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.domain.errors import InvalidInput
from app.gateway.errors import TooLarge

#: Room for the form's other fields and the lines between them.
_FORM_BYTES = 64 * 1024
#: How much of a refused file is read and thrown away, in times of the limit: a browser that is still sending
#: does not see an answer.
_DRAIN_TIMES = 10


@dataclass(frozen=True, slots=True)
class Upload:
    """A form with one file. `file` is open until the `async with` ends."""

    file: BinaryIO
    filename: str
    fields: dict[str, str]

    def sha256(self) -> str:
        """Of the file's bytes. Reads all of it: call it in a thread."""
        digest = hashlib.sha256()
        self.file.seek(0)
        while block := self.file.read(1 << 20):
            digest.update(block)
        self.file.seek(0)
        return digest.hexdigest()


@asynccontextmanager
async def one_file(request: Request, *, field: str, limit_bytes: int) -> AsyncIterator[Upload]:
    """The form in `request`, whose `field` is a file of at most `limit_bytes`.

    Raises TooLarge, or InvalidInput when it is not such a form. Never holds more than 1 MB in memory.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidInput("Send the file as a form (multipart/form-data).", field=field)
    parser = MultiPartParser(request.headers, _limited(request, limit_bytes), max_files=1, max_fields=10)
    try:
        form = await parser.parse()
    except MultiPartException:
        raise InvalidInput("The form could not be read: it was cut off or is damaged.", field=field) from None
    try:
        found = form.get(field)
        if not isinstance(found, UploadFile):
            raise InvalidInput("Choose a file.", field=field)
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        yield Upload(found.file, _short(found.filename or "the file"), fields)
    finally:
        await form.close()


async def _limited(request: Request, limit_bytes: int) -> AsyncGenerator[bytes, None]:
    most = limit_bytes + _FORM_BYTES
    announced = request.headers.get("content-length", "")
    refused = announced.isdigit() and int(announced) > most
    taken = 0
    async for chunk in request.stream():
        taken += len(chunk)
        refused = refused or taken > most
        if not refused:
            yield chunk
        elif taken > most * _DRAIN_TIMES:
            break
    if refused:
        raise TooLarge(
            f"The file is larger than {limit_bytes // (1024 * 1024)} MB, the most that is taken.", field="file"
        )


def _short(filename: str) -> str:
    """The last part of a file's name, fit to be shown."""
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(char for char in name if char.isprintable())[:100] or "the file"
