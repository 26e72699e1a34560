"""Tables to download, as JSON or CSV: PostgreSQL writes the whole file and nobody holds it in memory."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncSession

from provisioning.core.database import copy_out

Format = Literal["json", "csv"]

# What Excel, LibreOffice or Google Sheets would run as a formula, in the full-width forms that they take for the same,
# and the characters that end a cell early (OWASP, CSV Injection). A quotation mark before it makes it text.
_FORMULA = r"^[[:space:]]*[=+@|%%＝＋－＠-]|^[\t\r\n]"


@dataclass(frozen=True, slots=True)
class Export:
    """`query` selects `columns`, in their order; `order` puts the rows into one that is always the same.

    `texts` are the columns that hold what people have typed. `head` has what JSON says before the rows: names and SQL
    expressions, which may ask the rows under the name `item`. Parameters stand in SQL as %(name)s, a percent sign is
    written twice.
    """

    query: str
    columns: tuple[str, ...]
    order: str
    parameters: Mapping[str, Any]
    texts: frozenset[str] = frozenset()
    head: Mapping[str, str] = field(default_factory=dict)


async def write_export(session: AsyncSession, export: Export, format_: Format) -> AsyncIterator[bytes]:
    """Yield the file in small blocks of UTF-8, all of it of one moment.

    JSON is an object of the head and `items`, a row each; CSV has a line of names. What a spreadsheet would take for a
    formula begins with a quotation mark there.
    """
    statement = _csv(export) if format_ == "csv" else _json(export)
    async for block in copy_out(session, statement, export.parameters):
        yield block
    if format_ == "json":
        yield b"]}\n"


def _csv(export: Export) -> str:
    cells = ", ".join(
        f"case when {name} ~ E'{_escaped(_FORMULA)}' then '''' || {name} else {name} end as {name}"
        if name in export.texts
        else name
        for name in export.columns
    )
    return (
        f"copy (select {cells} from ({export.query}) item order by {export.order}) "  # noqa: S608 - constants only
        "to stdout (format csv, header true, encoding 'UTF8')"
    )


def _json(export: Export) -> str:
    """One statement for head and rows, so that both are of one moment.

    COPY's CSV leaves a value as it is that holds neither quotation mark, delimiter nor line break. JSON holds no
    control character, so with two of those for marks its text comes out unchanged.
    """
    head = ", ".join(f"'{name}', {expression}" for name, expression in export.head.items())
    return f"""
        copy (
            with item as ({export.query})
            select line from (
                select 0 as place,
                    rtrim(left(cast(json_build_object({head}) as text), -1)) || '{"," if head else ""}"items":[' as line
                union all
                select place, case when place > 1 then ',' else '' end || document
                from (
                    select row_number() over (order by {export.order}) as place, row_to_json(item) as document
                    from item
                ) numbered
            ) lines order by place
        ) to stdout (format csv, quote E'\\x01', delimiter E'\\x02', encoding 'UTF8')
    """  # noqa: S608 - made of constants only


def _escaped(pattern: str) -> str:
    return pattern.replace("\\", "\\\\")
