"""How the issuer itself is taxed, by date: a small business (§ 19 UStG) today need not be one next month."""

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.models import TaxRegime
from billing.vat import Regime
from provisioning.core.errors import Conflict

# The last day of a month decides for all of it, so a month is touched that ends after the day.
_BILLED = text(
    "select period_starts_on from invoice where status = 'final' and period_ends_on > :valid_from "
    "order by period_starts_on desc limit 1"
)

# A run that is numbering goes by the regime it has read: wait for its block, and let the next one read anew.
_BETWEEN_BLOCKS = text("lock table invoice_run in exclusive mode")


async def set_tax_regime(session: AsyncSession, valid_from: date, regime: Regime, *, now: datetime) -> TaxRegime:
    """Let a regime hold from a day on, in place of another one of the same day.

    A month goes by the regime of its last day. Raises Conflict `tax_regime_in_use` when an invoice of a month that it
    would change is final.
    """
    await session.execute(_BETWEEN_BLOCKS)
    billed: date | None = await session.scalar(_BILLED, {"valid_from": valid_from})
    if billed is not None:
        raise Conflict(
            f"Invoices of {billed:%Y-%m} are final. Let the regime begin after the end of that month.",
            code="tax_regime_in_use",
        )
    row = TaxRegime(valid_from=valid_from, regime=regime, created_at=now)
    stored = await session.scalars(
        insert(TaxRegime)
        .values(row.model_dump())
        .on_conflict_do_update(index_elements=["valid_from"], set_={"regime": regime, "created_at": now})
        .returning(TaxRegime)
        .execution_options(populate_existing=True)
    )
    return stored.one()


async def list_tax_regimes(session: AsyncSession) -> Sequence[TaxRegime]:
    """Return all regimes, the latest first."""
    return (await session.scalars(select(TaxRegime).order_by(col(TaxRegime.valid_from).desc()))).all()
