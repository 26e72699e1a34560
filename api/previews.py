"""What `?dry_run=true` answers: the object as it would be, and what that would cost."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class CostView(BaseModel):
    """Net cents of this reseller's current month, if nothing else changes until its end, and of a whole month."""

    currency: str = "EUR"
    month: str = Field(description="The running billing month, for example 2026-11.")
    net_cents_before: int
    net_cents_after: int
    difference_cents: int = Field(description="This month, by the day.")
    whole_month_difference_cents: int = Field(description="Every whole month from then on.")


class Preview(BaseModel):
    """Nothing was changed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "dry_run": True,
                    "would_be": {"address": "anna@kanzlei-lindenhof.example", "service_class": "exchange"},
                    "cost": {
                        "currency": "EUR",
                        "month": "2026-11",
                        "net_cents_before": 0,
                        "net_cents_after": 369,
                        "difference_cents": 369,
                        "whole_month_difference_cents": 790,
                    },
                }
            ]
        }
    )

    dry_run: Literal[True] = True
    would_be: dict[str, Any] | None = Field(description="The object as it would be; null where it would be gone.")
    cost: CostView | None = Field(
        None, description="null where the change costs nothing either way, or no price is known yet."
    )
