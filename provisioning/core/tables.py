"""The base of all tables: constraint names by convention, enums by value, whole cents, aware times, opaque ids."""

from enum import StrEnum
from typing import Any

from sqlalchemy import DateTime, Enum, MetaData, String, event, inspect
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapper
from sqlmodel import Field, SQLModel

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# Ids and names compare by bytes whatever the database's own collation is: cursors and prefix searches rely on it.
Id = String(collation="C")
Timestamp = DateTime(timezone=True)
TextArray = ARRAY(String)
Json = JSONB
# None is NULL here, not the JSON value of that name.
JsonOrNull: Any = JSONB(none_as_null=True)


class Table(SQLModel):
    """Every table inherits from here, so that Alembic, the naming convention and the checks see it."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Versioned(Table):
    """A table whose rows carry the number that becomes their ETag; every change by the ORM counts it up."""

    version: int = Field(default=1, nullable=False)


@event.listens_for(Versioned, "before_update", propagate=True)
def _count_version(_mapper: Mapper[Any], _connection: Any, row: Any) -> None:
    if any(attribute.history.has_changes() for attribute in inspect(row).attrs):
        row.version += 1


def key(**options: Any) -> Any:
    """A primary key of the opaque id type."""
    return Field(sa_type=Id, primary_key=True, **options)


def reference(target: str, *, nullable: bool = False, index: bool = False) -> Any:
    """A foreign key of the opaque id type to `table.column`."""
    default = None if nullable else ...
    return Field(default=default, sa_type=Id, foreign_key=target, nullable=nullable, index=index)


def word(enum: type[StrEnum], default: Any = ..., *, nullable: bool = False, index: bool = False) -> Any:
    """A column that stores an enum by its value, as plain text without a database type of its own."""
    kind = Enum(enum, native_enum=False, length=32, values_callable=lambda members: [m.value for m in members])
    return Field(default=default, sa_type=kind, nullable=nullable, index=index)


def moment(default: Any = ..., *, nullable: bool = False, index: bool = False) -> Any:
    """An aware point in time."""
    return Field(default=default, sa_type=Timestamp, nullable=nullable, index=index)
