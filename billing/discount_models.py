"""Coupons, the discounts they give resellers, and credit: the tables of what is taken off invoices."""

from datetime import date, datetime

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlmodel import Field

from billing.terms import CouponDuration
from provisioning.core.tables import Id, Table, key, moment, reference, word


class Coupon(Table, table=True):
    """Off a reseller's invoices: a share in basis points or an amount, for so many months. It never changes."""

    __tablename__ = "coupon"
    __table_args__ = (
        CheckConstraint("num_nonnulls(percent_basis_points, amount_cents) = 1", name="share_or_amount"),
        CheckConstraint("(duration = 'repeating') = (duration_in_months is not null)", name="repeats_for_months"),
    )

    id: str = key()
    name: str
    percent_basis_points: int | None = None
    amount_cents: int | None = None
    currency: str = "EUR"
    duration: CouponDuration = word(CouponDuration)
    duration_in_months: int | None = None
    created_at: datetime = moment()


class Discount(Table, table=True):
    """A reseller's coupon: it counts for billing periods that begin on days `[starts_on, ends_on)`.

    `name` and amounts are the coupon's. A reseller has one at a time.
    """

    __tablename__ = "discount"
    __table_args__ = (
        ExcludeConstraint(
            ("reseller_id", "="),
            (text("daterange(starts_on, ends_on)"), "&&"),
            name="ex_discount_overlap",
            using="gist",
        ),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    coupon_id: str = reference("coupon.id", index=True)
    name: str
    percent_basis_points: int | None = None
    amount_cents: int | None = None
    starts_on: date
    ends_on: date | None = None
    created_at: datetime = moment()


class Credit(Table, table=True):
    """One entry of a reseller's credit, append-only: an amount granted, or one that an invoice has used (below 0)."""

    __tablename__ = "credit"
    __table_args__ = (
        CheckConstraint(
            "case when invoice_id is null then amount_cents > 0 else amount_cents < 0 end", name="granted_or_used"
        ),
        Index("ix_credit_reseller_id_id", "reseller_id", "id"),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    amount_cents: int = Field(sa_type=BigInteger)
    reason: str
    invoice_id: str | None = Field(default=None, sa_type=Id, foreign_key="invoice.id", unique=True)
    actor: str
    created_at: datetime = moment()
