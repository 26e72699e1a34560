"""SQL treats every buyer as the pure module does, whatever its address, its VAT id and what VIES said of it."""

import random
from datetime import date, timedelta

import pytest

from billing.models import VatAnswer, VatCheck
from billing.periods import BillingMonth
from billing.tax_regimes import set_tax_regime
from billing.vat import CheckedId, Regime, Untreatable, treatment_of
from billing.vat_territory import AREAS, ISO_COUNTRIES, VAT_IDS
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from tests.billing.ledger_factory import IN_DECEMBER, NOVEMBER, add_reseller
from tests.billing.vat_world import treated

pytestmark = pytest.mark.anyio

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
MONTHS = (BillingMonth(2006, 12), BillingMonth(2020, 8), NOVEMBER)
COUNTRIES = sorted(ISO_COUNTRIES | {"XI", "EL", "UK", "ZZ"})
POSTCODES = ("10623", "D-78266", "27498", "35001", "51 001", "22100", "97400", "BT1 5GS", "630 86", "23041", "5020")
VAT_IDS_GIVEN = (
    *(None, "", "ATU12345675", "ATU1", "DE136695976", "EL123456783", "XI980780684", "CHE107787577", "esx1234567x"),
    *("ESX1234567X", "FRK7399859412", "FI12345671", "IT12345670785", "NL123456782B90", "ATU12345675\n", "%s"),
)


@pytest.mark.parametrize("seed", range(4))
async def test_sql_treats_every_buyer_as_the_pure_module_does(fresh_database: Database, seed: int) -> None:
    chance = random.Random(seed)
    regime = chance.choice(list(Regime))
    buyers: dict[str, tuple[str, str, str | None, CheckedId | None]] = {}
    async with fresh_database.as_system() as session:
        await set_tax_regime(session, date(2000, 1, 1), regime, now=IN_DECEMBER)
        for _ in range(300):
            vat_id = chance.choice(VAT_IDS_GIVEN)
            likely = [country for country, (prefix, _) in VAT_IDS.items() if vat_id and vat_id.startswith(prefix)]
            country = chance.choice(chance.choice((COUNTRIES, [area[0] for area in AREAS], likely or ["DE"])))
            postcode = chance.choice(POSTCODES)
            reseller_id = await add_reseller(session, country=country, postcode=postcode, vat_id=vat_id)
            checked = None
            for age in range(chance.randint(0, 3), 0, -1):
                answer = chance.choice(list(VatAnswer))
                until = None if answer != VatAnswer.VALID else IN_DECEMBER + chance.choice((-1, 0, 1)) * MINUTE
                of_id = chance.choice((vat_id, vat_id, "ATU00000000"))
                session.add(
                    VatCheck(
                        id=new_id("vck"),
                        reseller_id=reseller_id,
                        vat_id=of_id or "-",
                        asked_at=IN_DECEMBER - age * DAY,
                        answer=answer,
                        raw={},
                        expires_at=until,
                    )
                )
                if answer != VatAnswer.UNAVAILABLE and of_id == vat_id:
                    checked = CheckedId(answer == VatAnswer.VALID, until)
            buyers[reseller_id] = (country, postcode, vat_id, checked)
    for month in MONTHS:
        expected: dict[str, tuple[object, ...]] = {}
        for reseller_id, buyer in buyers.items():
            try:
                rate = treatment_of(*buyer, regime=regime, on=month.last_on, now=IN_DECEMBER)
            except Untreatable as error:
                expected[reseller_id] = (None, None, error.code, error.reason)
            else:
                expected[reseller_id] = (rate.category, rate.rate_basis_points, None, None)
        assert await treated(fresh_database, now=IN_DECEMBER, month=month) == expected
