"""Cursor pages: newest first, stable while rows come and go, the same speed on every page."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from provisioning.core.errors import FieldError, Invalid

LIMIT_DEFAULT, LIMIT_MAX = 50, 200

Item = TypeVar("Item")
View = TypeVar("View")


class Page(BaseModel, Generic[View]):
    """One page; pass `next_cursor` as `cursor` for the next one. It is null on the last page."""

    items: list[View]
    next_cursor: str | None = Field(description="null on the last page")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """`after` is the key of the last row of the page before; one row more than `limit` tells if there is a next."""

    limit: int
    after: str | None

    @property
    def fetch(self) -> int:
        return self.limit + 1

    def after_number(self) -> int | None:
        """`after` where rows are numbered. Raises Invalid for a cursor of some other list."""
        if self.after is None:
            return None
        if not self.after.isdigit() or len(self.after) > 9:
            raise _not_a_cursor()
        return int(self.after)

    def split(self, rows: Sequence[Item], key: Callable[[Item], str | int]) -> tuple[Sequence[Item], str | None]:
        """The rows of this page, and the cursor of the next."""
        if len(rows) <= self.limit:
            return rows, None
        return rows[: self.limit], encode_cursor(str(key(rows[self.limit - 1])))

    def page(
        self, rows: Sequence[Item], view: Callable[[Item], View], key: Callable[[Item], str | int]
    ) -> "Page[View]":
        shown, cursor = self.split(rows, key)
        return Page(items=[view(row) for row in shown], next_cursor=cursor)


def encode_cursor(key: str) -> str:
    return urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """Raises Invalid for anything that no answer of ours could have held."""
    try:
        key = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError as error:
        raise _not_a_cursor() from error
    if not key.isprintable() or encode_cursor(key) != cursor:
        raise _not_a_cursor()
    return key


def _not_a_cursor() -> Invalid:
    message = "pass next_cursor of the page before, unchanged"
    return Invalid("This cursor is none of ours.", errors=[FieldError("?cursor", "invalid_cursor", message)])


def _page(
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Items a page.")] = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
) -> PageRequest:
    return PageRequest(limit, None if cursor is None else decode_cursor(cursor))


PageDep = Annotated[PageRequest, Depends(_page)]
