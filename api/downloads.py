"""Files to download: written to the end before the answer begins, so that none is sent that would break off."""

import base64
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from hashlib import sha256
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any

from fastapi import Query
from fastapi.responses import HTMLResponse, StreamingResponse

from api.deps import Call
from billing.exports import Export, Format, write_export
from billing.periods import BillingMonth, berlin_day

PERIOD_PATTERN = "^(20[2-9][0-9]|2100)-(0[1-9]|1[0-2])$"
Period = Annotated[
    str | None, Query(pattern=PERIOD_PATTERN, description="For example 2026-11; last month when left out.")
]
FileFormat = Annotated[Format, Query(description="json or csv")]

BLOCK_BYTES = 64 * 1024
# What is larger goes to the disk: memory does not grow with the file, nor a transaction with a slow reader's line.
KEPT_IN_MEMORY_BYTES = 1024 * 1024

MEDIA_TYPES: Mapping[Format, str] = {"json": "application/json", "csv": "text/csv; charset=utf-8"}


def open_file() -> IO[bytes]:
    """A file without a name, gone when it is closed."""
    return SpooledTemporaryFile(KEPT_IN_MEMORY_BYTES)


async def send_export(call: Call, export: Export, format_: Format, *, name: str) -> StreamingResponse:
    """The answer with a table; `name` is that of the file without its ending."""
    with ExitStack() as opened:
        file = opened.enter_context(open_file())
        async for block in write_export(call.session, export, format_):
            file.write(block)
        opened.pop_all()  # the answer closes it
    return send_file(file, f"{name}.{format_}", MEDIA_TYPES[format_])


def send_file(
    file: IO[bytes], filename: str, media_type: str, *, headers: Mapping[str, str] | None = None
) -> StreamingResponse:
    """The answer with a file that has been written to its end, and closes it."""
    length = file.tell()
    file.seek(0)
    return StreamingResponse(
        _blocks(file),
        media_type=media_type,
        headers={
            "Content-Disposition": f'attachment; filename="{filename}"',
            "Content-Length": str(length),
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            **(headers or {}),
        },
    )


def export_responses(shape: type[Any]) -> dict[int | str, dict[str, Any]]:
    """For `responses=`: the same table as JSON and as CSV."""
    return {
        200: {"model": shape, "description": "The file.", "content": {"text/csv": {"schema": {"type": "string"}}}},
    }


def month_of(now: datetime, period: str | None) -> BillingMonth:
    """The month that is named, or the last one."""
    return BillingMonth.parse(period) if period else BillingMonth.containing(berlin_day(now)).previous()


def send_bytes(content: bytes, filename: str, media_type: str) -> StreamingResponse:
    """The answer with a file that is whole in memory."""
    with ExitStack() as opened:
        file = opened.enter_context(open_file())
        file.write(content)
        opened.pop_all()  # the answer closes it
    return send_file(file, filename, media_type)


def send_page(page: str, language: str) -> HTMLResponse:
    """The answer with a page of `billing.documents.html`, which may load, run and send nothing."""
    headers = {
        "Content-Language": language,
        "Content-Security-Policy": _policy(page),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return HTMLResponse(page, headers=headers)


def _policy(page: str) -> str:
    """Of styles only the page's own, which comes before any text from outside; of pictures those that are in it."""
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while block := file.read(BLOCK_BYTES):
            yield block
