"""Direct debit files: valid by the bank's schema, the same bytes every time, mandates and days by the rulebook."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from billing.documents.sepa import Creditor, DirectDebit, Mandate, collection_day, write_direct_debits
from billing.target_days import is_target_day
from provisioning.core.errors import Invalid

NOW = datetime(2026, 11, 24, 7, 30, tzinfo=UTC)
COLLECTED_ON = date(2026, 12, 8)
NAMESPACE = {"p": "urn:iso:std:iso:20022:tech:xsd:pain.008.001.08"}
CREDITOR = Creditor("Postfach & Söhne GmbH", "DE89 3704 0044 0532 0130 00", "DE98ZZZ09999999999")
MANDATE = Mandate("PFW-K-17-1", date(2026, 1, 5), "Bäckerei Groß", "AT611904300234573201")


def debit(count: int = 1, **changes: Any) -> DirectDebit:
    base = DirectDebit(MANDATE, 11_900, COLLECTED_ON, f"PF-2026-{count:06d}", f"Rechnung PF-2026-{count:06d}")
    return replace(base, **changes)


def written(*debits: DirectDebit) -> etree._Element:
    return etree.fromstring(write_direct_debits(CREDITOR, debits, now=NOW).content)


def texts(document: etree._Element, path: str) -> list[str | None]:
    return [element.text for element in document.iterfind(path, NAMESPACE)]


class TestFile:
    def test_it_is_valid_by_the_schema_of_the_message(self) -> None:
        schema = etree.XMLSchema(
            etree.fromstring(files("sepaxml").joinpath("schemas/pain.008.001.08.xsd").read_bytes())
        )
        schema.assertValid(written(debit(1), debit(2, mandate=replace(MANDATE, bic="GIBAATWWXXX"))))

    def test_the_same_debits_give_the_same_bytes_in_any_order(self) -> None:
        forth = write_direct_debits(CREDITOR, [debit(1), debit(2)], now=NOW)
        back = write_direct_debits(CREDITOR, [debit(2), debit(1)], now=NOW)
        assert forth == back
        assert len(forth.message_id) <= 35

    def test_another_amount_is_another_message(self) -> None:
        ids = {write_direct_debits(CREDITOR, [debit(amount_cents=cents)], now=NOW).message_id for cents in (1, 2, 3)}
        assert len(ids) == 3

    def test_names_are_spelled_as_germans_do_without_umlauts(self) -> None:
        document = written(debit(description="Rechnung für Müller & Söhne"))
        assert texts(document, ".//p:Cdtr/p:Nm") == ["Postfach + Soehne GmbH"]
        assert texts(document, ".//p:Dbtr/p:Nm") == ["Baeckerei Gross"]
        assert texts(document, ".//p:Ustrd") == ["Rechnung fuer Mueller + Soehne"]

    def test_sums_of_each_batch_and_of_the_file_are_those_of_the_debits(self) -> None:
        used = replace(MANDATE, reference="PFW-Z", last_used_on=date(2026, 11, 2))
        result = write_direct_debits(CREDITOR, [debit(1), debit(2, mandate=used), debit(3, mandate=used)], now=NOW)
        document = etree.fromstring(result.content)
        assert (result.debits, result.amount_cents) == (3, 35_700)
        assert texts(document, ".//p:GrpHdr/p:CtrlSum") == ["357.00"]
        assert texts(document, ".//p:GrpHdr/p:NbOfTxs") == ["3"]
        assert texts(document, ".//p:PmtInf/p:CtrlSum") == ["119.00", "238.00"]
        assert texts(document, ".//p:SeqTp") == ["FRST", "RCUR"]

    def test_the_second_debit_of_a_new_mandate_is_recurrent(self) -> None:
        document = written(debit(1), debit(2, collection_on=date(2026, 12, 9)))
        assert texts(document, ".//p:SeqTp") == ["FRST", "RCUR"]
        assert texts(document, ".//p:ReqdColltnDt") == ["2026-12-08", "2026-12-09"]

    def test_mandate_and_creditor_stand_where_the_debtor_finds_them(self) -> None:
        document = written(debit())
        assert texts(document, ".//p:MndtRltdInf/*") == ["PFW-K-17-1", "2026-01-05"]
        assert texts(document, ".//p:CdtrSchmeId//p:Othr/p:Id") == ["DE98ZZZ09999999999"]
        assert texts(document, ".//p:EndToEndId") == ["PF-2026-000001"]
        assert texts(document, ".//p:CreDtTm") == ["2026-11-24T08:30:00"]

    @given(st.text(), st.text(), st.integers(1, 99_999_999_999))
    @settings(deadline=None, max_examples=50)
    def test_no_name_or_text_makes_it_fail(self, name: str, text: str, cents: int) -> None:
        mandate = replace(MANDATE, debtor=name)
        document = written(debit(mandate=mandate, description=text, amount_cents=cents))
        assert texts(document, ".//p:GrpHdr/p:CtrlSum") == [f"{cents // 100}.{cents % 100:02d}"]

    def test_no_debit_or_one_twice_is_refused(self) -> None:
        with pytest.raises(Invalid, match="no debit"):
            write_direct_debits(CREDITOR, [], now=NOW)
        with pytest.raises(Invalid, match="occurs twice"):
            write_direct_debits(CREDITOR, [debit(), debit()], now=NOW)


class TestMandates:
    @pytest.mark.parametrize("reference", ["", "A" * 36, "Müller", "/A", "A/", "A//B", "A#1", "A "])
    def test_a_reference_that_banks_refuse_is_refused(self, reference: str) -> None:
        with pytest.raises(Invalid, match="refused by banks"):
            replace(MANDATE, reference=reference)

    def test_a_reference_of_all_allowed_characters_is_taken(self) -> None:
        mandate = replace(MANDATE, reference="A1+?/-:().,' b")
        assert texts(written(debit(mandate=mandate)), ".//p:MndtId") == ["A1+?/-:().,' b"]

    def test_wrong_account_numbers_are_refused(self) -> None:
        with pytest.raises(Invalid, match="IBAN of mandate"):
            replace(MANDATE, iban="DE88370400440532013000")
        with pytest.raises(Invalid, match="creditor's IBAN"):
            replace(CREDITOR, iban="DE88370400440532013000")
        with pytest.raises(Invalid, match="creditor identifier"):
            replace(CREDITOR, creditor_id="DE97ZZZ09999999999")

    @pytest.mark.parametrize(
        ("used_on", "lapses_on"),
        [
            (None, date(2029, 1, 5)),
            (date(2026, 12, 8), date(2029, 12, 8)),
            (date(2028, 2, 29), date(2031, 2, 28)),
        ],
    )
    def test_it_lapses_36_months_after_its_last_use(self, used_on: date | None, lapses_on: date) -> None:
        mandate = replace(MANDATE, last_used_on=used_on)
        assert not mandate.has_lapsed(lapses_on - timedelta(days=1))
        assert mandate.has_lapsed(lapses_on)

    @pytest.mark.parametrize("collection_on", [date(2026, 1, 2), date(2029, 1, 5)])
    def test_no_debit_is_made_without_its_cover(self, collection_on: date) -> None:
        with pytest.raises(Invalid, match="does not cover"):
            debit(collection_on=collection_on)


class TestCollectionDay:
    @pytest.mark.parametrize(
        ("due_on", "notified_on", "submitted_on", "expected"),
        [
            # The notice of 14 days is the last to pass, then the due date, then the submission.
            (date(2026, 12, 1), date(2026, 11, 24), date(2026, 11, 24), date(2026, 12, 8)),
            (date(2026, 12, 15), date(2026, 11, 24), date(2026, 11, 24), date(2026, 12, 15)),
            (date(2026, 12, 1), date(2026, 11, 1), date(2026, 12, 4), date(2026, 12, 7)),
            # Christmas 2026: Friday and Saturday are closed, the weekend follows.
            (date(2026, 12, 25), date(2026, 11, 24), date(2026, 11, 24), date(2026, 12, 28)),
        ],
    )
    def test_it_waits_for_due_date_notice_and_banks(
        self, due_on: date, notified_on: date, submitted_on: date, expected: date
    ) -> None:
        assert collection_day(due_on, notified_on=notified_on, submitted_on=submitted_on) == expected

    @given(st.dates(date(2026, 1, 1), date(2040, 1, 1)), st.integers(-60, 60), st.integers(-60, 60), st.integers(1, 30))
    @settings(deadline=None)
    def test_it_is_a_settlement_day_that_leaves_everybody_their_time(
        self, due_on: date, notice: int, submission: int, notice_days: int
    ) -> None:
        notified_on, submitted_on = due_on + timedelta(days=notice), due_on + timedelta(days=submission)
        day = collection_day(due_on, notified_on=notified_on, submitted_on=submitted_on, notice_days=notice_days)
        assert is_target_day(day)
        assert day >= due_on
        assert (day - notified_on).days >= notice_days
        assert day > submitted_on

    def test_a_debit_without_notice_is_refused(self) -> None:
        with pytest.raises(Invalid, match="one day ahead"):
            collection_day(COLLECTED_ON, notified_on=COLLECTED_ON, submitted_on=COLLECTED_ON, notice_days=0)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"collection_on": date(2026, 12, 25)}, "no bank settles"),
            ({"collection_on": date(2026, 12, 6)}, "no bank settles"),
            ({"amount_cents": 0}, "at least 0.01"),
            ({"end_to_end_id": "PF 2026#1"}, "refused by banks"),
        ],
    )
    def test_a_debit_that_the_bank_would_refuse_is_refused_here(self, changes: dict[str, Any], reason: str) -> None:
        with pytest.raises(Invalid, match=reason):
            debit(**changes)
