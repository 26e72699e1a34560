"""Bank statements: what they say is read in every version, and what does not add up or attacks is refused."""

from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.documents import camt
from billing.documents.camt import StatementEntry, read_statements
from provisioning.core.errors import Invalid
from tests.billing.camt_samples import IBAN, PAYER_IBAN, VERSIONS, Entry, Tx, balance, document, statement

PAID = Entry("119.00", (Tx(text="Rechnung PF-2026-000001|für Müller & Söhne"),))


def entries_of(*entries: Entry, closing: str, version: str = "08") -> list[StatementEntry]:
    content = document(statement(*entries, closing=closing, version=version), version=version)
    [found] = read_statements(content)
    return list(found.entries)


class TestReading:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_payment_is_read_with_all_that_names_it(self, version: str) -> None:
        transaction = Tx(
            text="Rechnung PF-2026-000001|für Müller & Söhne",
            end_to_end_id="E2E-17",
            mandate="PFW-1",
            reference="RF18 5390 0754 7034",
        )
        [entry] = entries_of(Entry("119.00", (transaction,)), closing="219.00", version=version)
        assert replace(entry, key="") == StatementEntry(
            account_iban=IBAN,
            statement_id="2026-226",
            key="",
            amount_cents=11_900,
            currency="EUR",
            booked_on=date(2026, 11, 24),
            value_on=date(2026, 11, 25),
            counterparty="Bäckerei Groß",
            counterparty_iban=PAYER_IBAN,
            remittance="Rechnung PF-2026-000001 für Müller & Söhne",
            references=("RF18539007547034",),
            end_to_end_id="E2E-17",
            mandate_reference="PFW-1",
            return_reason="",
            is_reversal=False,
            transactions=1,
            transaction_code="PMNT-RCDT-ESCT",
        )

    def test_the_balances_of_a_statement_are_read_with_their_sign(self) -> None:
        balances = balance("PRCD", "50.00", "DBIT") + balance("CLBD", "69.00") + balance("CLAV", "9999.00")
        [found] = read_statements(document(statement(PAID, balances=balances)))
        assert (found.opening_cents, found.closing_cents, found.currency) == (-5_000, 6_900, "EUR")

    def test_a_reference_with_a_wrong_check_digit_is_none(self) -> None:
        [entry] = entries_of(Entry("1.00", (Tx(reference="RF19539007547034"),)), closing="101.00")
        assert entry.references == ()

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_batch_is_read_as_its_payments(self, version: str) -> None:
        batch = Entry("300.50", (Tx("100.25", "eins"), Tx("200.25", "zwei")), batch=2)
        found = entries_of(batch, closing="400.50", version=version)
        assert [(entry.amount_cents, entry.remittance, entry.transactions) for entry in found] == [
            (10_025, "eins", 1),
            (20_025, "zwei", 1),
        ]
        assert len({entry.key for entry in found}) == 2

    @pytest.mark.parametrize(
        "batch",
        [
            Entry("300.50", (Tx(text="eins"), Tx(text="zwei")), batch=2),
            Entry("300.50", (Tx("100.25"), Tx("200.00")), batch=2),
            Entry("300.50", (), batch=2),
            Entry("300.50", (Tx(),), batch=2),
        ],
        ids=["no amounts", "amounts that do not add up", "no transactions", "one transaction for two"],
    )
    def test_a_batch_that_the_bank_did_not_itemise_stays_whole(self, batch: Entry) -> None:
        [entry] = entries_of(batch, closing="400.50")
        assert (entry.amount_cents, entry.transactions) == (30_050, 2)

    def test_a_batch_may_hold_a_return(self) -> None:
        batch = Entry("75.00", (Tx("100.00"), Tx("25.00", direction="DBIT", reason="MD01")))
        assert [entry.amount_cents for entry in entries_of(batch, closing="175.00")] == [10_000, -2_500]

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_returned_debit_names_reason_debtor_and_what_was_collected(self, version: str) -> None:
        returned = Tx(end_to_end_id="PF-2026-000001", mandate="PFW-1", reason="MD06", text="Widerspruch")
        [entry] = entries_of(
            Entry("20.00", (returned,), direction="DBIT", is_reversal=True), closing="80.00", version=version
        )
        assert (entry.amount_cents, entry.return_reason, entry.is_reversal) == (-2_000, "MD06", True)
        assert (entry.counterparty, entry.counterparty_iban) == ("Bäckerei Groß", PAYER_IBAN)
        assert (entry.end_to_end_id, entry.mandate_reference) == ("PF-2026-000001", "PFW-1")

    def test_what_is_not_booked_yet_is_left_for_the_statement_in_which_it_is(self) -> None:
        assert entries_of(replace(PAID, status="PDNG"), replace(PAID, status="INFO"), closing="100.00") == []

    def test_several_pages_lead_from_one_interim_balance_to_the_next(self) -> None:
        first = statement(PAID, statement_id="1", balances=balance("OPBD", "0.00") + balance("ITBD", "119.00"))
        second = statement(PAID, statement_id="2", balances=balance("ITBD", "119.00") + balance("CLBD", "238.00"))
        found = read_statements(document(first, second))
        assert [(one.opening_cents, one.closing_cents) for one in found] == [(0, 11_900), (11_900, 23_800)]


class TestKeys:
    def test_the_same_payment_has_the_same_key_in_another_export(self) -> None:
        other = Entry("5.00", (Tx(text="anderes"),))
        [daily] = read_statements(document(statement(PAID, closing="219.00", statement_id="A")))
        [weekly] = read_statements(document(statement(other, PAID, closing="224.00", statement_id="B")))
        assert daily.entries[0].key == weekly.entries[1].key
        assert weekly.entries[0].key != weekly.entries[1].key

    @pytest.mark.parametrize(
        "other",
        [
            replace(PAID, booked_on="2026-11-23"),
            replace(PAID, servicer_reference="2026112400001"),
            replace(PAID, transactions=()),
            replace(PAID, transactions=(Tx(text="Rechnung PF-2026-000002"),)),
            replace(PAID, transactions=(replace(PAID.transactions[0], payer="Bäckerei Klein"),)),
            replace(PAID, transactions=(replace(PAID.transactions[0], end_to_end_id="E2E-2"),)),
        ],
    )
    def test_another_payment_has_another_key(self, other: Entry) -> None:
        assert entries_of(PAID, closing="219.00")[0].key != entries_of(other, closing="219.00")[0].key

    def test_another_amount_is_another_payment(self) -> None:
        first, second = entries_of(PAID, replace(PAID, amount="119.01"), closing="338.01")
        assert first.key != second.key

    def test_two_payments_that_agree_in_everything_are_two(self) -> None:
        first, second = entries_of(PAID, PAID, closing="338.00")
        assert first.key != second.key
        assert [entry.key for entry in entries_of(PAID, PAID, closing="338.00")] == [first.key, second.key]
        assert entries_of(PAID, closing="219.00")[0].key == first.key

    def test_a_statement_that_a_file_holds_twice_is_read_once(self) -> None:
        page = statement(PAID, closing="219.00")
        assert len(read_statements(document(page, page))) == 1


class TestRefusals:
    def test_a_wrong_balance_names_the_difference(self) -> None:
        with pytest.raises(Invalid, match=r"The difference is -1\.00 EUR") as refused:
            entries_of(PAID, closing="218.00")
        assert refused.value.code == "statement_balance"

    @pytest.mark.parametrize("balances", ["", balance("OPBD", "0.00"), balance("CLBD", "119.00")])
    def test_a_statement_that_cannot_be_checked_is_refused(self, balances: str) -> None:
        with pytest.raises(Invalid, match=r"no (opening|closing) balance"):
            read_statements(document(statement(PAID, balances=balances)))

    def test_an_amount_in_another_currency_is_refused(self) -> None:
        with pytest.raises(Invalid, match="not in EUR"):
            entries_of(replace(PAID, currency="CHF"), closing="219.00")
        balances = balance("OPBD", "0.00") + balance("CLBD", "119.00", currency="CHF")
        with pytest.raises(Invalid, match="two currencies"):
            read_statements(document(statement(PAID, balances=balances)))

    @pytest.mark.parametrize("amount", ["1,00", "1.001", "-1.00", "1e3", "", "NaN", "١.00"])
    def test_what_is_no_amount_is_refused_and_not_rounded(self, amount: str) -> None:
        with pytest.raises(Invalid, match="no amount"):
            entries_of(replace(PAID, amount=amount), closing="101.00")

    @pytest.mark.parametrize("amount", ["119", "119.", "119.0", "119.00", "119.00000", "+119.00"])
    def test_an_amount_is_read_in_every_notation_of_the_schema(self, amount: str) -> None:
        assert entries_of(replace(PAID, amount=amount), closing="219.00")[0].amount_cents == 11_900

    @pytest.mark.parametrize("content", [b"", b"<Document", b"{}", b"\xff\xfe\x00", b"<a>\xe4</a>", b"\x00" * 100])
    def test_what_is_no_xml_is_refused(self, content: bytes) -> None:
        with pytest.raises(Invalid, match="no XML"):
            read_statements(content)

    @pytest.mark.parametrize("version", ["01", "14"])
    def test_a_version_that_is_not_known_is_refused_and_not_guessed(self, version: str) -> None:
        with pytest.raises(Invalid, match=r"camt\.053\.001\.08, but camt\.053\.001"):
            read_statements(document(statement(PAID, closing="219.00"), version=version))

    def test_another_message_is_refused(self) -> None:
        with pytest.raises(Invalid, match="no statement in"):
            read_statements(document().replace(b"camt.053", b"camt.052"))

    def test_a_file_without_a_statement_is_refused(self) -> None:
        with pytest.raises(Invalid, match="holds no statement"):
            read_statements(document())

    def test_an_account_without_an_iban_and_an_entry_without_a_day_are_refused(self) -> None:
        page = statement(PAID, closing="219.00")
        with pytest.raises(Invalid, match="names no IBAN"):
            read_statements(document(page.replace(f"<IBAN>{IBAN}</IBAN></Id><Ccy>", "</Id><Ccy>")))
        with pytest.raises(Invalid, match="is no date"):
            entries_of(replace(PAID, booked_on="24.11.2026"), closing="219.00")

    def test_a_file_that_is_too_large_is_refused_before_it_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(camt, "MAX_BYTES", 1000)
        with pytest.raises(Invalid, match="at most"):
            entries_of(PAID, closing="219.00")


class TestAttacks:
    def test_a_file_of_this_machine_is_not_read(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret.txt"
        secret.write_text("PF-SECRET")
        prolog = f'<!DOCTYPE Document [<!ENTITY secret SYSTEM "{secret.as_uri()}">]>'
        page = statement(replace(PAID, transactions=(Tx(text="TEXT"),)), closing="219.00").replace("TEXT", "&secret;")
        with pytest.raises(Invalid, match="document type") as refused:
            read_statements(document(page, prolog=prolog))
        assert "SECRET" not in refused.value.detail

    def test_an_external_document_type_is_not_fetched(self, tmp_path: Path) -> None:
        prolog = f'<!DOCTYPE Document SYSTEM "{(tmp_path / "there-is-none.dtd").as_uri()}">'
        with pytest.raises(Invalid, match="document type"):
            read_statements(document(statement(PAID, closing="219.00"), prolog=prolog))

    @pytest.mark.parametrize("place", ["text", "attribute"])
    def test_entities_do_not_grow(self, place: str) -> None:
        names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]
        growth = "".join(f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in pairwise(names))
        prolog = f'<!DOCTYPE Document [<!ENTITY a "ha">{growth}]>'
        page = statement(PAID, closing="219.00")
        laughing = page.replace("Rechnung", "&j;") if place == "text" else page.replace('Ccy="EUR"', 'Ccy="&j;"')
        with pytest.raises(Invalid, match=r"document type|no XML"):
            read_statements(document(laughing, prolog=prolog))

    def test_depth_without_end_is_refused(self) -> None:
        deep = f"{'<X>' * 100_000}{'</X>' * 100_000}"
        with pytest.raises(Invalid, match="no XML"):
            read_statements(document(deep))


@given(st.lists(st.tuples(st.integers(0, 10**12), st.booleans()), max_size=12), st.integers(-(10**9), 10**9))
@settings(deadline=None, max_examples=60)
def test_any_entries_that_add_up_are_all_read_and_any_other_close_is_refused(
    payments: list[tuple[int, bool]], wrong_by: int
) -> None:
    entries = [
        Entry(f"{cents // 100}.{cents % 100:02d}", direction="CRDT" if is_credit else "DBIT")
        for cents, is_credit in payments
    ]
    closing = sum(cents if is_credit else -cents for cents, is_credit in payments)

    def content(close: int) -> bytes:
        written = f"{abs(close) // 100}.{abs(close) % 100:02d}"
        close_balance = balance("CLBD", written, "DBIT" if close < 0 else "CRDT")
        return document(statement(*entries, balances=balance("OPBD", "0.00") + close_balance))

    [found] = read_statements(content(closing))
    assert sum(entry.amount_cents for entry in found.entries) == closing
    assert len({entry.key for entry in found.entries}) == len(payments)
    if wrong_by:
        with pytest.raises(Invalid, match="does not add up"):
            read_statements(content(closing + wrong_by))
