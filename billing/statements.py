"""What a reseller's customers owe the reseller: the month's mailbox-days at its own prices, and the margin."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.exports import Export
from billing.money import Language
from billing.periods import BillingMonth, BillingPeriod, period_beginning
from billing.preview import preview
from provisioning.core.database import fetch
from provisioning.core.errors import Conflict
from provisioning.tenants import get_customer, get_reseller

MARGIN_COLUMNS = (
    *("period", "customer_id", "customer_external_id", "customer_name", "mailbox_days", "unpriced_days"),
    *("wholesale_net_cents", "resale_net_cents", "margin_cents", "margin_basis_points"),
)
STATEMENT_COLUMNS = (
    *("period", "customer_id", "customer_external_id", "customer_name", "service_class"),
    *("mailbox_days", "base_days", "price_cents", "net_cents"),
)
TEXTS = frozenset({"customer_external_id", "customer_name"})

# The days are those of the final invoice that was not cancelled; of a month that has none, those of its preview, which
# come as a parameter. The arithmetic is that of `billing.rating`: rounded once for each customer and class.
_PRICED = """
    select counted.*, base_days, resale.price_cents,
        (2 * mailbox_days * resale.price_cents + base_days) / (2 * base_days) as net_cents
    from (
        select customer_id, max(customer_name) as customer_name, service_class,
            cast(sum(mailbox_days) as bigint) as mailbox_days, cast(sum(wholesale) as bigint) as wholesale_net_cents
        from (
            select line.customer_id, line.customer_name, line.service_class, line.mailbox_days,
                line.net_cents as wholesale
            from invoice
            join invoice_line line on line.invoice_id = invoice.id
            where invoice.reseller_id = %(reseller_id)s and invoice.status = 'final'
                and invoice.period_starts_on >= %(starts_on)s and invoice.period_starts_on < %(ends_on)s
                and not exists (
                    select from credit_note where credit_note.invoice_id = invoice.id
                        and credit_note.reseller_id = %(reseller_id)s and credit_note.kind = 'cancellation'
                )
            union all
            select customer_id, customer_name, service_class, mailbox_days, net_cents
            from jsonb_to_recordset(%(lines)s::jsonb) as line (
                customer_id text, customer_name text, service_class text, mailbox_days integer, net_cents bigint
            )
        ) line
        where %(customer_id)s::text is null or customer_id = %(customer_id)s
        group by customer_id, service_class
    ) counted
    cross join (select %(base_days)s::integer as base_days) as month
    left join lateral (
        select price_cents from resale_price
        where resale_price.reseller_id = %(reseller_id)s and resale_price.service_class = counted.service_class
            and resale_price.valid_from <= %(starts_on)s
            and (resale_price.customer_id is null or resale_price.customer_id = counted.customer_id)
        order by resale_price.customer_id is null, resale_price.valid_from desc limit 1
    ) resale on true
"""

# A customer with a class that has no price has no sum: to leave the class out would be a sum that is wrong.
_MARGINS = f"""
    select to_char(%(starts_on)s::date, 'YYYY-MM') as period, summed.customer_id, customer.external_id
        as customer_external_id, customer_name, mailbox_days, unpriced_days, wholesale_net_cents, resale_net_cents,
        resale_net_cents - wholesale_net_cents as margin_cents,
        cast(round(10000 * cast(resale_net_cents - wholesale_net_cents as numeric) / nullif(resale_net_cents, 0))
            as bigint) as margin_basis_points
    from (
        select customer_id, max(customer_name) as customer_name, cast(sum(mailbox_days) as bigint) as mailbox_days,
            cast(coalesce(sum(mailbox_days) filter (where price_cents is null), 0) as bigint) as unpriced_days,
            cast(sum(wholesale_net_cents) as bigint) as wholesale_net_cents,
            case when bool_and(price_cents is not null) then cast(sum(net_cents) as bigint) end as resale_net_cents
        from ({_PRICED}) priced group by customer_id
    ) summed
    left join customer on customer.id = summed.customer_id and customer.reseller_id = %(reseller_id)s
"""  # noqa: S608 - made of constants only

_STATEMENT = f"""
    select to_char(%(starts_on)s::date, 'YYYY-MM') as period, priced.customer_id,
        customer.external_id as customer_external_id, customer_name, service_class, mailbox_days, base_days,
        price_cents, net_cents
    from ({_PRICED}) priced
    left join customer on customer.id = priced.customer_id and customer.reseller_id = %(reseller_id)s
"""  # noqa: S608 - made of constants only


_IS_INVOICED = text(
    """
    select exists (
        select from invoice where reseller_id = :reseller_id and status = 'final'
            and period_starts_on >= :starts_on and period_starts_on < :ends_on
            and not exists (
                select from credit_note where credit_note.invoice_id = invoice.id
                    and credit_note.reseller_id = :reseller_id and credit_note.kind = 'cancellation'
            )
    )
    """
)


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One customer's mailboxes of one class at the reseller's price; the units are those of `billing.rating.Line`."""

    service_class: str
    mailbox_days: int
    base_days: int
    price_cents: int
    net_cents: int


@dataclass(frozen=True, slots=True)
class Party:
    """A name and, of the reseller, the address under which it bills; customers have no address here."""

    id: str
    name: str
    external_id: str | None = None
    street: str = ""
    postcode: str = ""
    city: str = ""
    country: str = ""
    vat_id: str | None = None
    email: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one customer owes for a month, all that a document about it is made of: from the reseller, to the customer.

    It holds nothing of what the reseller pays itself. `is_estimate` says that the month is not invoiced yet, or no
    longer. `period` are the days it is about: those of the reseller's billing period that begins in the month.
    """

    month: BillingMonth
    period: BillingPeriod
    language: Language
    is_estimate: bool
    seller: Party
    buyer: Party
    lines: tuple[StatementLine, ...]

    @property
    def net_cents(self) -> int:
        return sum(line.net_cents for line in self.lines)


@dataclass(frozen=True, slots=True)
class _Month:
    """A reseller's month, as parameters of the statements above."""

    period: BillingPeriod
    is_estimate: bool
    parameters: Mapping[str, Any]


async def margins(session: AsyncSession, reseller_id: str, month: BillingMonth, *, now: datetime) -> Export:
    """One row for each customer of a month: what it cost the reseller, what it brings at resale prices, the margin.

    The wholesale net of all is that of the invoice. `margin_basis_points` is the margin's part of the resale price,
    2500 for 25 %. Where a class has no resale price, `unpriced_days` counts its days and the sums are null. Raises as
    `preview` does for a month that is not invoiced yet.
    """
    read = await _read_month(session, reseller_id, month, None, now=now)
    summed = ("wholesale_net_cents", "resale_net_cents", "margin_cents", "unpriced_days")
    sums = ", ".join(f"'{name}', coalesce(sum({name}), 0)" for name in summed)
    return Export(
        _MARGINS,
        MARGIN_COLUMNS,
        order="customer_name, customer_id",
        parameters=read.parameters,
        texts=TEXTS,
        head={
            "period": "to_char(%(starts_on)s::date, 'YYYY-MM')",
            "is_estimate": "%(is_estimate)s::boolean",
            "totals": f"(select json_build_object({sums}) from item)",  # noqa: S608 - made of constants only
        },
    )


async def get_statement(
    session: AsyncSession, reseller_id: str, customer_id: str, month: BillingMonth, *, now: datetime
) -> Statement:
    """Return what a customer owes for a month; one that was not served has a statement without lines.

    Raises NotFound for an unknown customer, Conflict `no_resale_price` for a class without price, and as `preview`
    does for a month that is not invoiced yet.
    """
    customer = await get_customer(session, reseller_id, customer_id)
    reseller = await get_reseller(session, reseller_id)
    read = await _read_month(session, reseller_id, month, customer_id, now=now)
    rows = await _priced_lines(session, read)
    return Statement(
        month,
        read.period,
        "en" if reseller.language == "en" else "de",
        read.is_estimate,
        seller=Party(
            reseller.id,
            reseller.name,
            reseller.external_id,
            street=reseller.street,
            postcode=reseller.postcode,
            city=reseller.city,
            country=reseller.country,
            vat_id=reseller.vat_id,
            email=reseller.billing_email,
        ),
        buyer=Party(customer.id, customer.name, customer.external_id),
        lines=tuple(
            StatementLine(row.service_class, row.mailbox_days, row.base_days, row.price_cents, row.net_cents)
            for row in rows
        ),
    )


async def statement_lines(
    session: AsyncSession, reseller_id: str, customer_id: str, month: BillingMonth, *, now: datetime
) -> Export:
    """The lines of a statement as a table. Raises as `get_statement` does."""
    await get_customer(session, reseller_id, customer_id)
    read = await _read_month(session, reseller_id, month, customer_id, now=now)
    await _priced_lines(session, read)
    return Export(_STATEMENT, STATEMENT_COLUMNS, order="service_class", parameters=read.parameters, texts=TEXTS)


async def _read_month(
    session: AsyncSession, reseller_id: str, month: BillingMonth, customer_id: str | None, *, now: datetime
) -> _Month:
    anchor_day = (await get_reseller(session, reseller_id)).billing_anchor_day
    period = period_beginning(month, anchor_day)
    of_month = {"reseller_id": reseller_id, "starts_on": month.starts_on, "ends_on": month.ends_on}
    is_invoiced = await session.scalar(_IS_INVOICED, of_month)
    lines: list[dict[str, Any]] = []
    if not is_invoiced:
        lines += [asdict(line) for line in (await preview(session, reseller_id, month, now=now)).lines]
    parameters = {
        **of_month,
        "customer_id": customer_id,
        "base_days": period.days,
        "lines": json.dumps(lines),
        "is_estimate": not is_invoiced,
    }
    return _Month(period, not is_invoiced, parameters)


async def _priced_lines(session: AsyncSession, read: _Month) -> list[Any]:
    """The rows of one customer's statement. Raises Conflict `no_resale_price`."""
    rows = await fetch(session, f"{_STATEMENT} order by service_class", read.parameters)
    if unpriced := [row.service_class for row in rows if row.price_cents is None]:
        raise Conflict(
            f"No resale price of {', '.join(unpriced)} holds on {read.parameters['starts_on']}: add one that begins "
            "by then.",
            code="no_resale_price",
            service_classes=unpriced,
        )
    return rows
