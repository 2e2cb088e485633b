"""Opening an uploaded file: plain CSV, gzip, or a zip with one CSV in it, never more than a stated size unpacked."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

from app.domain.errors import InvalidInput

#: Most that a file may unpack to: about 2 million rows of the 12-column layout.
MAX_UNPACKED_BYTES = 200 * 1024 * 1024

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"


@contextmanager
def open_csv(stream: BinaryIO, filename: str, *, max_bytes: int = MAX_UNPACKED_BYTES) -> Iterator[Iterator[list[str]]]:
    """The rows of the CSV in `stream`, unpacked as its first bytes say; `stream` must be seekable.

    Raises InvalidInput, in the user's words, for an empty or damaged file, one that is not what its name says, a zip
    with more than one file, one that unpacks to more than `max_bytes`, and for bytes that are not text.
    """
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(_unpacked(stream, filename, max_bytes))
            limited = io.BufferedReader(_Limited(raw, filename, max_bytes), 1 << 16)
            yield csv.reader(io.TextIOWrapper(limited, encoding="utf-8-sig", errors="strict", newline=""), strict=True)
        except InvalidInput:
            raise
        except (UnicodeDecodeError, csv.Error):
            raise not_text(filename) from None
        except (EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
            raise _invalid(f"{filename} is damaged and cannot be unpacked completely ({error}).") from None


@contextmanager
def open_bytes(stream: BinaryIO, filename: str, *, max_bytes: int = MAX_UNPACKED_BYTES) -> Iterator[BinaryIO]:
    """The unpacked bytes of `stream`, at most `max_bytes`. Raises as `open_csv` and as the unpackers do."""
    with _unpacked(stream, filename, max_bytes) as raw:
        yield io.BufferedReader(_Limited(raw, filename, max_bytes), 1 << 16)


def not_text(filename: str) -> InvalidInput:
    """What to say about bytes that are no CSV."""
    return _invalid(f"{filename} is not a text file with comma-separated values.")


@contextmanager
def _unpacked(stream: BinaryIO, filename: str, max_bytes: int) -> Iterator[BinaryIO]:
    start = stream.read(4)
    stream.seek(0)
    name = filename.lower()
    if not start:
        raise _invalid(f"{filename} is empty.")
    if name.endswith(".gz") and not start.startswith(_GZIP):
        raise _invalid(f"{filename} is named .gz, but it is not a gzip file.")
    if name.endswith(".zip") and not start.startswith((_ZIP, _EMPTY_ZIP)):
        raise _invalid(f"{filename} is named .zip, but it is not a zip file.")
    if start.startswith(_GZIP):
        with gzip.GzipFile(fileobj=stream, mode="rb") as unpacked:
            yield unpacked  # type: ignore[misc]  # a GzipFile reads like any binary stream
    elif start.startswith((_ZIP, _EMPTY_ZIP)):
        with zipfile.ZipFile(stream) as archive, archive.open(_only_file(archive, filename, max_bytes)) as member:
            yield member  # type: ignore[misc]
    else:
        yield stream


def _only_file(archive: zipfile.ZipFile, filename: str, max_bytes: int) -> zipfile.ZipInfo:
    files = [info for info in archive.infolist() if not info.is_dir()]
    if not files:
        raise _invalid(f"{filename} holds no file.")
    if len(files) > 1:
        names = ", ".join(info.filename for info in files[:3]) + (", …" if len(files) > 3 else "")
        raise _invalid(f"{filename} holds {len(files)} files ({names}). Please import them one by one.")
    if files[0].flag_bits & 0x1:
        raise _invalid(f"{filename} is protected by a password.")
    if files[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _invalid(f"{filename} is packed in an uncommon way; please pack it again as an ordinary zip.")
    if files[0].file_size > max_bytes:
        raise _too_large(filename, max_bytes)
    return files[0]


class _Limited(io.RawIOBase):
    """A raw stream that refuses to give more than `most` bytes, whatever its wrapping promised."""

    def __init__(self, raw: BinaryIO, filename: str, most: int) -> None:
        super().__init__()
        self._raw = raw
        self._filename = filename
        self._most = most
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._raw.read(len(buffer))
        self._given += len(data)
        if self._given > self._most:
            raise _too_large(self._filename, self._most)
        buffer[: len(data)] = data
        return len(data)


def _too_large(filename: str, most: int) -> InvalidInput:
    return _invalid(
        f"{filename} unpacks to more than {most // (1024 * 1024)} MB. Please split it, for instance by month."
    )


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(message, field="file")
