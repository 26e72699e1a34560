"""Names are compared in one form, whatever people type."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from provisioning.names import (
    domain_to_ascii,
    domain_to_unicode,
    normalise_address,
    parse_address,
    readable_address,
)

LABEL = st.text("abcdefghijklmnopqrstuvwxyzäöüßéñçøåđłžабвгд漢字0123456789-", min_size=1, max_size=20)
DOMAIN = st.lists(LABEL, min_size=2, max_size=4).map(".".join)
LOCAL = st.from_regex(r"[A-Za-z0-9_+-]{1,20}(\.[A-Za-z0-9_+-]{1,20}){0,2}", fullmatch=True)
ANYTHING = st.text(max_size=80)


def accepted(name: str) -> str:
    """The A-label form, or no example at all."""
    try:
        return domain_to_ascii(name)
    except ValueError:
        assume(False)
        raise


@given(DOMAIN)
def test_normalising_a_domain_twice_changes_nothing_more(name: str) -> None:
    once = accepted(name)
    assert domain_to_ascii(once) == once
    assert once.isascii()
    assert once == once.lower()


@given(DOMAIN)
def test_what_a_person_reads_leads_back_to_the_same_name(name: str) -> None:
    once = accepted(name)
    assert domain_to_ascii(domain_to_unicode(once)) == once


@given(DOMAIN)
def test_case_and_final_dot_make_no_difference(name: str) -> None:
    once = accepted(name)
    assert domain_to_ascii(once.upper()) == once
    assert domain_to_ascii(f" {once}. ") == once


@given(LOCAL, DOMAIN)
def test_normalising_an_address_twice_changes_nothing_more(local: str, domain: str) -> None:
    name = accepted(domain)
    once = normalise_address(f"{local}@{domain}")
    assert once == f"{local.lower()}@{name}"
    assert normalise_address(once) == once
    assert normalise_address(readable_address(once)) == once


@given(ANYTHING)
def test_whatever_is_sent_is_a_name_or_a_value_error(text: str) -> None:
    for read in (domain_to_ascii, normalise_address):
        try:
            normal = read(text)
        except ValueError:
            continue
        assert normal.isascii()
        assert read(normal) == normal


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("Kanzlei-Lindenhof.example", "kanzlei-lindenhof.example"),
        ("straße.de", "xn--strae-oqa.de"),
        ("STRASSE.de", "strasse.de"),
        ("müller.example.", "xn--mller-kva.example"),
        ("mu\N{COMBINING DIAERESIS}ller.example", "xn--mller-kva.example"),
        ("ＭＡＩＬ.example", "mail.example"),
        ("xn--mller-kva.example", "xn--mller-kva.example"),
        ("中文。example", "xn--fiq228c.example"),
    ],
)
def test_a_domain_is_stored_as_its_a_label(written: str, stored: str) -> None:
    assert domain_to_ascii(written) == stored


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        ".",
        "localhost",
        "a..example",
        "-a.example",
        "a-.example",
        "a b.example",
        "under_score.example",
        "192.0.2.1",
        "xn--a.example",
        "ab--cd.example",
        "🎉.example",
        f"{'a' * 64}.example",
        ".".join(["a" * 60] * 5),
        "a\0.example",
    ],
)
def test_what_is_no_mail_domain_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"is not a domain name|has no dot|is longer than|is an IP address"):
        domain_to_ascii(wrong)


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        (" Anna.Krueger@Kanzlei.example ", "anna.krueger@kanzlei.example"),
        ("anna+jobs@straße.example", "anna+jobs@xn--strae-oqa.example"),
        ("o'brien@kanzlei.example", "o'brien@kanzlei.example"),
        ("a/b@kanzlei.example", "a/b@kanzlei.example"),
    ],
)
def test_an_address_is_stored_in_lower_case_with_an_a_label(written: str, stored: str) -> None:
    assert normalise_address(written) == stored


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "anna",
        "@kanzlei.example",
        "anna@",
        "anna@kanzlei",
        "an na@kanzlei.example",
        ".anna@kanzlei.example",
        "anna.@kanzlei.example",
        "an..na@kanzlei.example",
        "krüger@kanzlei.example",
        '"an na"@kanzlei.example',
        f"{'a' * 65}@kanzlei.example",
        "anna@kanzlei@example.example",
    ],
)
def test_what_is_no_address_is_refused_with_a_reason(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"is not a mail address|before the @|is not a domain name|has no dot"):
        parse_address(wrong)


def test_umlauts_stay_apart_from_their_transcription() -> None:
    names = ["müller.example", "mueller.example", "muller.example", "straße.example", "strasse.example"]
    assert len({domain_to_ascii(name) for name in names}) == len(names)


def test_an_a_label_that_does_not_decode_is_shown_as_it_is() -> None:
    assert domain_to_unicode("xn--zzzzzz-.example") == "xn--zzzzzz-.example"
    assert domain_to_unicode("xn--strae-oqa.de") == "straße.de"
