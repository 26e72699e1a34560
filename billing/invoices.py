"""Invoices as they are read: line by line, by customer, and by mailbox.

`reseller_id` None is the operator, who reads everybody's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Protocol

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import Select
from sqlmodel import col

from billing.models import Invoice, InvoiceAllowance, InvoiceLine, InvoiceStatus
from billing.periods import BillingMonth
from provisioning.core.errors import NotFound
from provisioning.core.queries import owned

CARRIED_OVER = "carried_over"
"""Start reason in an annex: the mailbox was there before the month began."""
CONTINUES = "continues"
"""End reason in an annex: the mailbox is still there after the month."""


@dataclass(frozen=True, slots=True)
class CustomerSum:
    """What one customer's lines come to: days over all classes, net in cents."""

    customer_id: str
    customer_name: str
    mailbox_days: int
    net_cents: int


@dataclass(frozen=True, slots=True)
class Stay:
    """Days `[starts_on, ends_on)` of one mailbox in one class, clipped to the invoice's period, and why they
    begin and end there: the ledger's reasons, or `carried_over` and `continues` at the period's edges. An add-on
    stands in place of the class, with its units; `mailbox_days` are days times units.
    """

    customer_id: str
    address: str
    service_class: str
    location: str
    starts_on: date
    ends_on: date
    mailbox_days: int
    start_reason: str
    end_reason: str
    quantity: int = 1


@dataclass(frozen=True, slots=True)
class AnnexEntry:
    """One mailbox of an invoice with its stays, oldest first, and after them those of its add-ons."""

    mailbox_id: str
    stays: tuple[Stay, ...]


class CustomerLine(Protocol):
    """A line as far as the breakdown needs it: of an invoice or of a preview."""

    @property
    def customer_id(self) -> str: ...
    @property
    def customer_name(self) -> str: ...
    @property
    def mailbox_days(self) -> int: ...
    @property
    def net_cents(self) -> int: ...


async def get_invoice(session: AsyncSession, reseller_id: str | None, invoice_id: str) -> Invoice:
    """Return one invoice; an unknown one, another reseller's, or a reseller's own draft raises NotFound."""
    query = _of(reseller_id).where(col(Invoice.id) == invoice_id)
    invoice = (await session.scalars(query)).one_or_none()
    if invoice is None:
        raise NotFound(f"There is no invoice {invoice_id}.")
    return invoice


async def find_invoice_by_number(session: AsyncSession, reseller_id: str | None, number: str) -> Invoice | None:
    """Return the invoice with this number, if there is one."""
    return (await session.scalars(_of(reseller_id).where(col(Invoice.number) == number))).one_or_none()


async def list_invoices(
    session: AsyncSession,
    reseller_id: str | None,
    *,
    run_id: str | None = None,
    month: BillingMonth | None = None,
    year: int | None = None,
    number: str | None = None,
    limit: int = 50,
    before: str | None = None,
) -> Sequence[Invoice]:
    """Return invoices, newest first; `before` is the id of the last one of the page before.

    `month` is the one in which the period begins, `year` that of the issue, which stands in the number.
    """
    query = _of(reseller_id).order_by(col(Invoice.id).desc()).limit(limit)
    if run_id is not None:
        query = query.where(col(Invoice.run_id) == run_id)
    if month is not None:
        begins = col(Invoice.period_starts_on)
        query = query.where(begins >= month.starts_on, begins < month.ends_on)
    if year is not None:
        query = query.where(col(Invoice.year) == year)
    if number is not None:
        query = query.where(col(Invoice.number) == number)
    if before is not None:
        query = query.where(col(Invoice.id) < before)
    return (await session.scalars(query)).all()


async def lines_of(session: AsyncSession, invoice: Invoice) -> Sequence[InvoiceLine]:
    """Return the lines in their order: by customer's name, then class."""
    query = select(InvoiceLine).where(
        col(InvoiceLine.invoice_id) == invoice.id, col(InvoiceLine.reseller_id) == invoice.reseller_id
    )
    return (await session.scalars(query.order_by(col(InvoiceLine.position)))).all()


async def allowances_of(session: AsyncSession, invoice: Invoice) -> Sequence[InvoiceAllowance]:
    """Return what lowers an invoice as a whole, in the order in which it was taken off."""
    query = owned(InvoiceAllowance, invoice.reseller_id).where(col(InvoiceAllowance.invoice_id) == invoice.id)
    return (await session.scalars(query.order_by(col(InvoiceAllowance.position)))).all()


def per_customer(lines: Iterable[CustomerLine]) -> list[CustomerSum]:
    """Return the sum of each customer, in the order of the lines; lines of one customer stand together."""
    sums = []
    for customer_id, group in groupby(lines, key=lambda line: line.customer_id):
        of_customer = list(group)
        sums.append(
            CustomerSum(
                customer_id,
                of_customer[0].customer_name,
                mailbox_days=sum(line.mailbox_days for line in of_customer),
                net_cents=sum(line.net_cents for line in of_customer),
            )
        )
    return sums


async def annex(
    session: AsyncSession, invoice: Invoice, *, limit: int = 50, after: str | None = None
) -> list[AnnexEntry]:
    """Return the mailboxes whose days make up an invoice, by mailbox id.

    `after` is the id of the last one of the page before. Over all pages, the days of a customer and class are
    the quantity of their lines for days in service and on trial, where the class is charged by the day.
    """
    parameters = {
        "reseller_id": invoice.reseller_id,
        "starts_on": invoice.period_starts_on,
        "ends_on": invoice.period_ends_on,
        "after": after or "",
        "limit": limit,
    }
    rows = (await session.execute(_ANNEX, parameters)).all()
    return [
        AnnexEntry(
            mailbox_id,
            tuple(
                Stay(
                    row.customer_id,
                    row.address,
                    row.service_class,
                    row.location,
                    starts_on=row.first_day,
                    ends_on=row.end_day,
                    mailbox_days=(row.end_day - row.first_day).days * row.quantity,
                    start_reason=row.start_reason,
                    end_reason=row.end_reason,
                    quantity=row.quantity,
                )
                for row in stays
            ),
        )
        for mailbox_id, stays in groupby(rows, key=lambda row: row.mailbox_id)
    ]


_ANNEX = text(
    f"""
    with stay as (
        select mailbox_id, customer_id, address, service_class, 1 as quantity, location, starts_on, ends_on,
            start_reason, end_reason, false as is_add_on
        from service_period
        where reseller_id = :reseller_id and starts_on < :ends_on
            and (ends_on is null or (ends_on > :starts_on and ends_on > starts_on))
        union all
        select mailbox_id, customer_id, address, add_on, quantity, location, starts_on, ends_on,
            start_reason, end_reason, true
        from add_on_period
        where reseller_id = :reseller_id and starts_on < :ends_on
            and (ends_on is null or (ends_on > :starts_on and ends_on > starts_on))
    )
    select mailbox_id, customer_id, address, service_class, quantity, location,
        greatest(starts_on, :starts_on) as first_day, least(ends_on, :ends_on) as end_day,
        case when starts_on < :starts_on then '{CARRIED_OVER}' else start_reason end as start_reason,
        case when ends_on <= :ends_on then coalesce(end_reason, '') else '{CONTINUES}' end as end_reason
    from stay
    where mailbox_id in (
        select distinct mailbox_id from stay where mailbox_id > :after order by mailbox_id limit :limit
    )
    order by mailbox_id, is_add_on, starts_on, service_class
    """  # noqa: S608 - made of constants only
)


def _of(reseller_id: str | None) -> Select[Invoice]:
    """Drafts are the operator's: they may change or vanish until they are final."""
    query = select(Invoice)
    if reseller_id is None:
        return query
    return query.where(col(Invoice.reseller_id) == reseller_id, col(Invoice.status) == InvoiceStatus.FINAL)
