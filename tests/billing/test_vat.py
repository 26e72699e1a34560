"""The German VAT rate on a day, and the refusal of everything the table does not know."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.periods import BillingMonth
from billing.vat import (
    TREATMENT_CODES,
    CheckedId,
    Regime,
    UnsupportedTaxRegime,
    Untreatable,
    VatRate,
    treatment_of,
    vat_rate,
)
from billing.vat_territory import AREAS, ISO_COUNTRIES, VAT_IDS, Place, can_be_checked, is_vat_id_of, place_of
from tests.conftest import NOW


@pytest.mark.parametrize(
    ("on", "rate_basis_points"),
    [
        (date(2007, 1, 1), 1900),
        (date(2020, 6, 30), 1900),
        (date(2020, 7, 1), 1600),
        (date(2020, 12, 31), 1600),
        (date(2021, 1, 1), 1900),
        (date(2026, 11, 23), 1900),
    ],
)
def test_germany_charges_what_the_law_said_on_that_day(on: date, rate_basis_points: int) -> None:
    assert vat_rate("DE", on) == VatRate("S", rate_basis_points)


@pytest.mark.parametrize(
    ("month", "rate_basis_points"),
    [("2020-06", 1900), ("2020-07", 1600), ("2020-12", 1600), ("2021-01", 1900)],
)
def test_the_last_day_of_a_month_of_service_decides_its_rate(month: str, rate_basis_points: int) -> None:
    assert vat_rate("DE", BillingMonth.parse(month).last_on).rate_basis_points == rate_basis_points


@given(st.dates(min_value=date(2007, 1, 1)))
@settings(deadline=None)
def test_the_rate_is_16_percent_in_the_second_half_of_2020_and_19_percent_else(on: date) -> None:
    half_year = date(2020, 7, 1) <= on < date(2020, 7, 1) + timedelta(days=184)
    assert vat_rate("DE", on).rate_basis_points == (1600 if half_year else 1900)


@pytest.mark.parametrize("country", ["AT", "CH", "de", "", "DEU"])
def test_another_country_is_refused_by_name(country: str) -> None:
    with pytest.raises(UnsupportedTaxRegime) as refused:
        vat_rate(country, date(2026, 11, 30))
    assert (refused.value.country, refused.value.on) == (country, date(2026, 11, 30))
    assert str(refused.value) == f"no VAT rate is known for country {country!r} on 2026-11-30"


def test_a_day_before_the_table_begins_is_refused() -> None:
    with pytest.raises(UnsupportedTaxRegime):
        vat_rate("DE", date(2006, 12, 31))


class TestPlace:
    @pytest.mark.parametrize(
        ("country", "postcode", "place"),
        [
            ("DE", "10623", Place.DOMESTIC),
            ("DE", "78266", Place.THIRD_COUNTRY),
            ("DE", "D-78266", Place.THIRD_COUNTRY),
            ("DE", " 27498 ", Place.THIRD_COUNTRY),
            ("DE", "78267", Place.DOMESTIC),
            ("AT", "6991", Place.EU),
            ("GR", "106 71", Place.EU),
            ("GR", "630 86", Place.SPECIAL),
            ("ES", "28013", Place.EU),
            ("ES", "35001", Place.SPECIAL),
            ("ES", "51001", Place.SPECIAL),
            ("FI", "22100", Place.SPECIAL),
            ("FR", "75001", Place.EU),
            ("FR", "97400", Place.SPECIAL),
            ("FR", "98000", Place.SPECIAL),
            ("IT", "23041", Place.SPECIAL),
            ("PT", "9000-001", Place.EU),
            ("CH", "8001", Place.THIRD_COUNTRY),
            ("GB", "SW1A 1AA", Place.THIRD_COUNTRY),
            ("GB", "bt1 5gs", Place.SPECIAL),
            ("GB", "IM1 1AA", Place.SPECIAL),
            ("NO", "0150", Place.THIRD_COUNTRY),
            *((country, "1", Place.SPECIAL) for country in ("MC", "IM", "AX", "XI", "IC", "RE")),
            *((country, "1", Place.UNKNOWN) for country in ("EL", "UK", "ZZ", "at", "", "AUT")),
        ],
    )
    def test_an_address_is_in_one_kind_of_territory(self, country: str, postcode: str, place: Place) -> None:
        assert place_of(country, postcode) is place

    def test_the_table_of_countries_is_whole(self) -> None:
        assert len(ISO_COUNTRIES) == 249
        assert len(VAT_IDS) == 27
        assert VAT_IDS.keys() <= ISO_COUNTRIES
        assert len({country for country, _, _ in AREAS}) == len(AREAS), "a reseller may be found in one area only"


class TestVatId:
    @pytest.mark.parametrize(
        ("country", "vat_id"),
        [
            *(("AT", "ATU12345675"), ("BE", "BE0123456749"), ("BG", "BG1234567892"), ("CY", "CY12345678X")),
            *(("CZ", "CZ12345679"), ("DE", "DE136695976"), ("DK", "DK12345674"), ("EE", "EE123456780")),
            *(("ES", "ESX1234567X"), ("FI", "FI12345671"), ("FR", "FRK7399859412"), ("GR", "EL123456783")),
            *(("HR", "HR12345678903"), ("HU", "HU12345676"), ("IE", "IE1234567WA"), ("IE", "IE1X34567W")),
            *(("IT", "IT12345670785"), ("LT", "LT123456715"), ("LU", "LU12345613"), ("LV", "LV41234567891")),
            *(("MT", "MT12345634"), ("NL", "NL123456782B90"), ("PL", "PL1234567883"), ("PT", "PT123456789")),
            *(("RO", "RO24736200"), ("SE", "SE123456789701"), ("SI", "SI12345679"), ("SK", "SK4030000007")),
        ],
    )
    def test_an_id_of_each_country_is_known_and_a_maimed_one_is_not(self, country: str, vat_id: str) -> None:
        assert is_vat_id_of(country, vat_id)
        for maimed in (vat_id[:-1] + "!", vat_id[2:], vat_id + "1234567", vat_id.lower(), vat_id + "\n", f" {vat_id}"):
            assert not is_vat_id_of(country, maimed)

    @pytest.mark.parametrize(
        ("country", "vat_id"), [("GB", "GB980780684"), ("CH", "CHE107787577"), ("GR", "GR123456783"), ("AT", "")]
    )
    def test_what_is_no_id_of_the_eu_is_not_taken_for_one(self, country: str, vat_id: str) -> None:
        assert not is_vat_id_of(country, vat_id)

    @pytest.mark.parametrize(
        ("country", "postcode", "vat_id", "can_be"),
        [
            ("AT", "5020", "ATU12345675", True),
            ("AT", "5020", "DE136695976", False),
            ("AT", "5020", None, False),
            ("ES", "35001", "ESX1234567X", False),
            ("DE", "10623", "DE136695976", False),
            ("CH", "8001", "ATU12345675", False),
        ],
    )
    def test_only_what_a_reverse_charge_needs_is_checked(
        self, country: str, postcode: str, vat_id: str | None, can_be: bool
    ) -> None:
        assert can_be_checked(country, postcode, vat_id) is can_be


YES, NO = CheckedId(is_valid=True, expires_at=NOW + timedelta(days=1)), CheckedId(is_valid=False, expires_at=None)
EXPIRED = CheckedId(is_valid=True, expires_at=NOW)
ATU = "ATU12345675"


def carries(
    country: str,
    postcode: str = "1",
    vat_id: str | None = None,
    checked: CheckedId | None = None,
    *,
    regime: Regime = Regime.STANDARD,
    on: date = date(2026, 11, 30),
) -> str:
    """Category and rate, or the code of what stands against an invoice."""
    try:
        rate = treatment_of(country, postcode, vat_id, checked, regime=regime, on=on, now=NOW)
    except Untreatable as error:
        return error.code
    return f"{rate.category} {rate.rate_basis_points}"


class TestTreatment:
    @pytest.mark.parametrize(
        ("buyer", "standard", "small_business"),
        [
            (("DE", "10623"), "S 1900", "E 0"),
            (("DE", "10623", "DE136695976"), "S 1900", "E 0"),
            (("DE", "10623", "nonsense"), "S 1900", "E 0"),
            (("DE", "10623", ATU, YES), "vat_id_foreign", "vat_id_foreign"),
            (("DE", "78266"), "O 0", "O 0"),
            (("AT", "5020", ATU, YES), "AE 0", "AE 0"),
            (("AT", "5020", ATU, EXPIRED), "vat_check_pending", "vat_check_pending"),
            (("AT", "5020", ATU, None), "vat_check_pending", "vat_check_pending"),
            (("AT", "5020", ATU, NO), "vat_id_invalid", "vat_id_invalid"),
            (("AT", "5020", "ATU1", YES), "vat_id_invalid", "vat_id_invalid"),
            (("AT", "5020", "CHE107787577", YES), "vat_id_invalid", "vat_id_invalid"),
            (("AT", "5020", "DE136695976", YES), "vat_id_foreign", "vat_id_foreign"),
            (("AT", "5020"), "vat_id_missing", "vat_id_missing"),
            (("AT", "5020", ""), "vat_id_missing", "vat_id_missing"),
            (("GR", "10671", "EL123456783", YES), "AE 0", "AE 0"),
            (("CH", "8001"), "O 0", "O 0"),
            (("CH", "8001", "CHE107787577"), "O 0", "O 0"),
            (("CH", "8001", "DE136695976"), "vat_id_foreign", "vat_id_foreign"),
            (("GB", "SW1A 1AA", "XI980780684"), "vat_id_foreign", "vat_id_foreign"),
            (("ES", "35001", "ESX1234567X", YES), "tax_regime_unsupported", "tax_regime_unsupported"),
            (("MC", "98000"), "tax_regime_unsupported", "tax_regime_unsupported"),
            (("UK", "SW1A 1AA"), "tax_regime_unsupported", "tax_regime_unsupported"),
        ],
    )
    def test_each_buyer_has_one(self, buyer: tuple[Any, ...], standard: str, small_business: str) -> None:
        assert carries(*buyer) == standard
        assert carries(*buyer, regime=Regime.SMALL_BUSINESS) == small_business

    def test_the_rate_is_that_of_the_day(self) -> None:
        assert carries("DE", on=date(2020, 7, 31)) == "S 1600"
        assert carries("DE", on=date(2006, 12, 31)) == "tax_regime_unsupported"

    def test_the_reason_names_the_buyer_and_the_fix(self) -> None:
        with pytest.raises(Untreatable) as refused:
            treatment_of("AT", "5020", ATU, NO, regime=Regime.STANDARD, on=date(2026, 11, 30), now=NOW)
        assert refused.value.reason == (
            "VIES says that the VAT id ATU12345675 is not valid. Correct it, or once it is registered ask anew."
        )
        assert refused.value.code in TREATMENT_CODES

    @pytest.mark.parametrize("category", ["AE", "E", "O"])
    def test_what_is_free_of_tax_says_why_in_both_languages(self, category: str) -> None:
        exemption = VatRate(category, 0).exemption
        assert exemption is not None
        assert exemption.code == {"AE": "VATEX-EU-AE", "O": "VATEX-EU-O", "E": None}[category]
        assert all((exemption.de, exemption.en))
        assert exemption.de != exemption.en

    def test_a_reverse_charge_says_what_the_law_wants_it_to(self) -> None:
        # § 14a (1) UStG names the very words.
        exemption = VatRate("AE", 0).exemption
        assert exemption is not None
        assert "Steuerschuldnerschaft des Leistungsempfängers" in exemption.de

    def test_what_is_taxed_says_nothing(self) -> None:
        assert VatRate("S", 1900).exemption is None
