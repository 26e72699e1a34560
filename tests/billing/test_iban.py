"""Check digits of IBANs, creditor identifiers and structured references, on published examples."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.iban import creditor_reference, is_creditor_id, is_creditor_reference, is_iban

# Examples of the IBAN registry (SWIFT) and of the Bundesbank.
VALID = ["DE89370400440532013000", "AT611904300234573201", "CH9300762011623852957", "FR1420041010050500013M02606"]


@pytest.mark.parametrize("iban", [*VALID, "de89 3704 0044 0532 0130 00"])
def test_an_iban_of_the_registry_is_valid(iban: str) -> None:
    assert is_iban(iban)


@pytest.mark.parametrize(
    "iban",
    ["", "DE", "DE88370400440532013000", "DE8937040044053201300", "US64SVBKUS6S3300958879", "DE8937040044053201300Ö"],
)
def test_what_is_no_iban_of_a_sepa_country_is_refused(iban: str) -> None:
    assert not is_iban(iban)


@pytest.mark.parametrize("iban", VALID)
@given(data=st.data())
@settings(deadline=None)
def test_no_single_wrong_digit_passes(iban: str, data: st.DataObject) -> None:
    at = data.draw(st.sampled_from([place for place, character in enumerate(iban) if character.isdigit()]))
    other = data.draw(st.sampled_from("0123456789").filter(lambda digit: digit != iban[at]))
    assert not is_iban(f"{iban[:at]}{other}{iban[at + 1 :]}")


@pytest.mark.parametrize("creditor_id", ["DE98ZZZ09999999999", "DE98ABC09999999999", "AT61ZZZ01234567890"])
def test_a_creditor_identifier_is_checked_without_its_business_code(creditor_id: str) -> None:
    assert is_creditor_id(creditor_id)


@pytest.mark.parametrize(
    "creditor_id", ["DE97ZZZ09999999999", "DE98ZZZ0999999999", "", "DE98 ZZZ", "XX98ZZZ09999999999"]
)
def test_a_wrong_creditor_identifier_is_refused(creditor_id: str) -> None:
    assert not is_creditor_id(creditor_id)


def test_the_example_of_the_reference_standard_is_valid() -> None:
    assert is_creditor_reference("RF18 5390 0754 7034")
    assert not is_creditor_reference("RF18 5390 0754 7035")


@given(st.from_regex(r"[A-Z]{1,3}-20[0-9]{2}-[0-9]{6}", fullmatch=True))
@settings(deadline=None)
def test_the_reference_of_a_number_is_valid_and_ends_with_it(number: str) -> None:
    reference = creditor_reference(number)
    assert is_creditor_reference(reference)
    assert reference.endswith(number.replace("-", ""))


@pytest.mark.parametrize(
    ("number", "reference"),
    # The second is the example of ISO 11649.
    [("PF-2026-000042", "RF48PF2026000042"), ("5390 0754 7034", "RF18539007547034"), ("1", "RF741")],
)
def test_a_reference_has_the_check_digits_of_the_standard(number: str, reference: str) -> None:
    assert creditor_reference(number) == reference


@given(st.from_regex(r"[A-Z0-9]{0,20}[0-9]", fullmatch=True))
def test_every_reference_passes_its_own_check_and_no_neighbour_does(number: str) -> None:
    reference = creditor_reference(number)
    assert is_creditor_reference(reference)
    for digit in set("0123456789") - {reference[-1]}:
        assert not is_creditor_reference(reference[:-1] + digit)


@pytest.mark.parametrize("number", ["", "---", "Ä1", "A" * 22, "1+1"])
def test_a_number_that_gives_no_reference_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="gives no creditor reference"):
        creditor_reference(number)
