"""What lowers invoices as a whole, as SQL: `billing.rating.allowances_of` for many resellers at once.

Preview and invoice run execute the same text, as they do for the lines.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.rating import CREDIT_REASON

_IN_USE = text("select exists (select from discount) or exists (select from credit)")


async def allowances_in_use(session: AsyncSession) -> bool:
    """Whether this transaction sees any discount or credit at all."""
    return bool(await session.scalar(_IN_USE))


def allowances_sql(totals: str) -> str:
    """SQL for what is taken off `totals`: a table or subquery of (reseller_id, period_starts_on, net_cents).

    The columns are those of InvoiceAllowance. Credit counts what is left of it, and what the invoice of this very
    period has used, so that a period shows the same before it is billed and afterwards.
    """
    return f"""
        with total as ({totals}), discounted as (
            select total.reseller_id, discount.id, discount.name, discount.percent_basis_points, net_cents,
                least(net_cents, coalesce(amount_cents, (2 * net_cents * percent_basis_points + 10000) / 20000))
                    as amount_cents
            from total join discount on discount.reseller_id = total.reseller_id
                and starts_on <= period_starts_on and (ends_on is null or ends_on > period_starts_on)
        ), credited as (
            select total.reseller_id, total.net_cents, cast(sum(credit.amount_cents) as bigint) as balance_cents
            from total join credit on credit.reseller_id = total.reseller_id
            left join invoice used on used.id = credit.invoice_id
            where used.id is null or used.period_starts_on <> total.period_starts_on
                or exists (select from credit_note where invoice_id = used.id and credit_note.kind = 'cancellation')
            group by total.reseller_id, total.net_cents
        ), spent as (
            select credited.reseller_id, credited.net_cents - coalesce(discounted.amount_cents, 0) as left_cents,
                balance_cents
            from credited left join discounted on discounted.reseller_id = credited.reseller_id
        )
        select reseller_id, 'discount' as kind, id as discount_id, name as reason, percent_basis_points,
            net_cents as base_cents, amount_cents
        from discounted where amount_cents > 0
        union all
        select reseller_id, 'credit', null, '{CREDIT_REASON}', null, left_cents, least(balance_cents, left_cents)
        from spent where least(balance_cents, left_cents) > 0
    """  # noqa: S608 - made of constants only


CREDIT_HOLDS = """
    not exists (
        select from invoice_allowance used
        where used.invoice_id = invoice.id and used.kind = 'credit' and used.amount_cents > (
            select coalesce(sum(credit.amount_cents), 0) from credit where credit.reseller_id = invoice.reseller_id
        )
    )
"""
"""The condition that a draft's credit is still there; another invoice may have used it since."""
