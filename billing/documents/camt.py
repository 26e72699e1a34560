"""Bank statements in camt.053 (001.02, 001.04 and 001.08), read from a file that nobody has to trust.

Elements by the ISO 20022 message definitions, as German banks fill them (DFÜ-Abkommen, appendix 3). What is not
booked yet (PDNG, INFO) is left out: it comes again when it is.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from lxml import etree

from billing.iban import compact, is_creditor_reference
from provisioning.core.errors import Invalid

MAX_BYTES: Final = 20 * 1024 * 1024
VERSIONS: Final = ("camt.053.001.02", "camt.053.001.04", "camt.053.001.08")

# By preference; ITBD stands between the pages of one statement.
_OPENING: Final = ("OPBD", "PRCD", "ITBD")
_CLOSING: Final = ("CLBD", "ITBD")
_UNKNOWN: Final = {"NOTPROVIDED", "NOTAVAILABLE", "NONREF"}


@dataclass(frozen=True, slots=True)
class StatementEntry:
    """One payment on the account: in (positive) or out (negative), in cents of `currency`.

    `key` is the same whenever this payment is read again, also from another file, and never that of another one,
    so that importing twice settles once. `counterparty` is who paid or was paid; for a returned debit the debtor.
    `remittance` is the free text, `references` are structured ones (RF...). `return_reason` is the ISO code of a
    return, such as MD06, and `is_reversal` what the bank took back itself. `transactions` above 1 is a batch
    that the bank did not itemise. `transaction_code` is the bank's, such as PMNT-RCDT-ESCT.
    """

    account_iban: str
    statement_id: str
    key: str
    amount_cents: int
    currency: str
    booked_on: date
    value_on: date
    counterparty: str
    counterparty_iban: str
    remittance: str
    references: tuple[str, ...]
    end_to_end_id: str
    mandate_reference: str
    return_reason: str
    is_reversal: bool
    transactions: int
    transaction_code: str


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of one account; its entries lead from the opening to the closing balance, checked."""

    account_iban: str
    statement_id: str
    currency: str
    opening_cents: int
    closing_cents: int
    entries: tuple[StatementEntry, ...]


def read_statements(content: bytes) -> list[Statement]:
    """Return the statements of a file in their order.

    Raises Invalid for what is larger than MAX_BYTES, no XML, has a document type, is no camt.053 of a version
    known here, lacks what a booking needs, or whose entries do not lead from the opening to the closing balance.
    """
    document = _parse(content)
    # A statement that a file holds twice is one; its entries would look like twins.
    statements = list(dict.fromkeys(_read_statement(element) for element in document.iterfind("BkToCstmrStmt/Stmt")))
    if not statements:
        raise Invalid("The file holds no statement.", code="statement_empty")
    seen: Counter[str] = Counter()
    return [_with_unique_keys(statement, seen) for statement in statements]


def _parse(content: bytes) -> etree._Element:
    if len(content) > MAX_BYTES:
        raise Invalid(f"A statement has at most {MAX_BYTES // 1024**2} MiB: export fewer days.", code="statement_size")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise Invalid(f"The file is no XML: {error.msg}.", code="statement_xml") from None
    # No bank sends one; it is where entities that grow or read files are declared.
    if root.getroottree().docinfo.doctype:
        raise Invalid("The file declares a document type, which no camt.053 has.", code="statement_xml")
    name = etree.QName(root)
    version = (name.namespace or "").rpartition(":")[2]
    if name.localname != "Document" or version not in VERSIONS:
        raise Invalid(
            f"The file is no statement in {', '.join(VERSIONS)}, but {version or name.localname}.",
            code="statement_version",
        )
    for element in root.iter():
        element.tag = etree.QName(element).localname
    return root


def _read_statement(element: etree._Element) -> Statement:
    statement_id = _text(element, "Id")
    iban = compact(_text(element, "Acct/Id/IBAN"))
    if not iban:
        raise Invalid(f"Statement {statement_id} names no IBAN of its account.", code="statement_account")
    opening_cents, currency = _balance(element, _OPENING, statement_id)
    closing_cents, closing_currency = _balance(element, _CLOSING, statement_id, is_last=True)
    booked = [entry for entry in element.iterfind("Ntry") if _status(entry) == "BOOK"]
    amounts = [_signed_amount(entry, currency) for entry in booked]
    difference = closing_cents - opening_cents - sum(amounts)
    if closing_currency != currency:
        raise Invalid(f"The balances of statement {statement_id} are in two currencies.", code="statement_currency")
    if difference:
        raise Invalid(
            f"Statement {statement_id} of {iban} does not add up: {_euros(opening_cents)} at the opening and "
            f"entries of {_euros(sum(amounts))} do not make {_euros(closing_cents)} at the close. "
            f"The difference is {_euros(difference)} {currency}: ask the bank for the complete file.",
            code="statement_balance",
        )
    blank = _blank(iban, statement_id, currency)
    entries = [found for entry, cents in zip(booked, amounts, strict=True) for found in _entries(entry, cents, blank)]
    return Statement(iban, statement_id, currency, opening_cents, closing_cents, tuple(entries))


def _blank(iban: str, statement_id: str, currency: str) -> StatementEntry:
    never = date.min
    return StatementEntry(iban, statement_id, "", 0, currency, never, never, "", "", "", (), "", "", "", False, 1, "")


def _entries(entry: etree._Element, amount_cents: int, blank: StatementEntry) -> Iterator[StatementEntry]:
    """Yield what one line of the statement consists of: a batch that is itemised to the cent as its parts."""
    booked_on = _day(entry, "BookgDt") or _day(entry, "ValDt")
    if booked_on is None:
        raise Invalid(f"An entry of statement {blank.statement_id} has no day.", code="statement_entry")
    codes = [_text(entry, f"BkTxCd/Domn/{path}") for path in ("Cd", "Fmly/Cd", "Fmly/SubFmlyCd")]
    whole = replace(
        blank,
        amount_cents=amount_cents,
        booked_on=booked_on,
        value_on=_day(entry, "ValDt") or booked_on,
        is_reversal=_text(entry, "RvslInd") in {"true", "1"},
        transaction_code="-".join(code for code in codes if code) or _text(entry, "BkTxCd/Prtry/Cd"),
    )
    details = entry.findall("NtryDtls/TxDtls")
    if len(details) == 1:
        yield _detailed(whole, entry, details[0], _transactions(entry))
        return
    amounts = [_detail_amount(detail, whole) for detail in details]
    known = [cents for cents in amounts if cents is not None]
    if details and len(known) == len(details) and sum(known) == amount_cents:
        for detail, cents in zip(details, known, strict=True):
            yield _detailed(replace(whole, amount_cents=cents), entry, detail, 1)
    else:
        count = max(len(details), _transactions(entry))
        yield replace(
            whole,
            remittance=_text(entry, "AddtlNtryInf"),
            transactions=count,
            key=_fingerprint(whole, _known(_text(entry, "AcctSvcrRef")), _text(entry, "AddtlNtryInf")),
        )


def _detailed(
    whole: StatementEntry, entry: etree._Element, detail: etree._Element, transactions: int
) -> StatementEntry:
    reason = _text(detail, "RtrInf/Rsn/Cd") or _text(detail, "RtrInf/Rsn/Prtry")
    name, iban = _counterparty(detail, whole, is_return=bool(reason))
    free_text = " ".join(part.text.strip() for part in detail.iterfind("RmtInf/Ustrd") if part.text)
    found = replace(
        whole,
        counterparty=name,
        counterparty_iban=iban,
        remittance=free_text or _text(entry, "AddtlNtryInf"),
        references=tuple(_references(detail)),
        end_to_end_id=_known(_text(detail, "Refs/EndToEndId")),
        mandate_reference=_known(_text(detail, "Refs/MndtId")),
        return_reason=reason,
        transactions=transactions,
    )
    servicer = _text(detail, "Refs/AcctSvcrRef") or _text(entry, "AcctSvcrRef")
    return replace(found, key=_fingerprint(found, _known(servicer), _text(detail, "Refs/TxId")))


def _counterparty(detail: etree._Element, whole: StatementEntry, *, is_return: bool) -> tuple[str, str]:
    # A return repeats the parties of the payment it returns, so they stand the other way round.
    sides = ("Dbtr", "Cdtr") if (whole.amount_cents > 0) != is_return else ("Cdtr", "Dbtr")
    for side in sides:
        iban = compact(_text(detail, f"RltdPties/{side}Acct/Id/IBAN"))
        party = f"RltdPties/{side}"
        name = _text(detail, f"{party}/Nm") or _text(detail, f"{party}/Pty/Nm")
        if iban != whole.account_iban and (name or iban):
            return name or _text(detail, f"RltdPties/Ultmt{side}/Nm"), iban
    return "", ""


def _references(detail: etree._Element) -> Iterator[str]:
    for element in detail.iterfind("RmtInf/Strd/CdtrRefInf/Ref"):
        reference = compact(element.text or "")
        if is_creditor_reference(reference):
            yield reference


def _fingerprint(entry: StatementEntry, *references: str) -> str:
    # NtryRef and the statement's id are not in it: banks number the same payment anew in another export.
    facts = (
        *(entry.account_iban, str(entry.booked_on), str(entry.value_on), str(entry.amount_cents), entry.currency),
        *(entry.counterparty, entry.counterparty_iban, entry.remittance, *entry.references, entry.end_to_end_id),
        *(entry.mandate_reference, entry.return_reason, str(entry.is_reversal), *references),
    )
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:40]


def _with_unique_keys(statement: Statement, seen: Counter[str]) -> Statement:
    """Number payments that agree in everything; the first keeps its key, whichever file it is in."""
    entries = []
    for entry in statement.entries:
        seen[entry.key] += 1
        count = seen[entry.key]
        entries.append(entry if count == 1 else replace(entry, key=f"{entry.key}-{count}"))
    return replace(statement, entries=tuple(entries))


def _balance(
    element: etree._Element, codes: tuple[str, ...], statement_id: str, *, is_last: bool = False
) -> tuple[int, str]:
    balances = element.findall("Bal")
    for code in codes:
        found = [balance for balance in balances if _text(balance, "Tp/CdOrPrtry/Cd") == code]
        if found:
            balance = found[-1 if is_last else 0]
            amount = balance.find("Amt")
            currency = "" if amount is None else str(amount.get("Ccy"))
            return _signed_amount(balance, currency), currency
    raise Invalid(
        f"Statement {statement_id} has no {'closing' if is_last else 'opening'} balance, so it cannot be checked.",
        code="statement_balance",
    )


def _signed_amount(element: etree._Element, currency: str) -> int:
    amount = element.find("Amt")
    if amount is None or amount.get("Ccy") != currency:
        raise Invalid(f"An amount of the statement is not in {currency or 'any currency'}.", code="statement_currency")
    return _signed(_cents(amount), _text(element, "CdtDbtInd"))


def _detail_amount(detail: etree._Element, whole: StatementEntry) -> int | None:
    direction = _text(detail, "CdtDbtInd") or ("CRDT" if whole.amount_cents > 0 else "DBIT")
    for path in ("Amt", "AmtDtls/TxAmt/Amt", "AmtDtls/InstdAmt/Amt"):
        amount = detail.find(path)
        if amount is not None and amount.get("Ccy") == whole.currency:
            return _signed(_cents(amount), direction)
    return None


def _signed(cents: int, direction: str) -> int:
    if direction not in {"CRDT", "DBIT"}:
        raise Invalid(
            f"An amount of the statement is neither CRDT nor DBIT, but {direction!r}.", code="statement_entry"
        )
    return cents if direction == "CRDT" else -cents


def _cents(amount: etree._Element) -> int:
    text = (amount.text or "").strip()
    found = re.fullmatch(r"\+?([0-9]{1,16})(?:\.([0-9]{0,2})0*)?", text)
    if found is None:
        raise Invalid(f"{text!r} is no amount in whole cents.", code="statement_entry")
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))


def _status(entry: etree._Element) -> str:
    return _text(entry, "Sts/Cd") or _text(entry, "Sts")


def _transactions(entry: etree._Element) -> int:
    counts = [_text(batch, "NbOfTxs") for batch in entry.iterfind("NtryDtls/Btch")]
    return max(1, sum(int(count) for count in counts if re.fullmatch("[0-9]{1,9}", count)))


def _day(entry: etree._Element, name: str) -> date | None:
    text = _text(entry, f"{name}/Dt") or _text(entry, f"{name}/DtTm")
    if not text:
        return None
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise Invalid(f"{text!r} is no date.", code="statement_entry") from None


def _text(element: etree._Element, path: str) -> str:
    found = element.findtext(path)
    return " ".join(found.split()) if found else ""


def _known(reference: str) -> str:
    return "" if reference.upper() in _UNKNOWN else reference


def _euros(cents: int) -> str:
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02d}"
