"""camt.053 statements as German banks write them, built to the order of elements of their schemas."""

from dataclasses import dataclass
from xml.sax.saxutils import escape

IBAN = "DE89370400440532013000"
PAYER_IBAN = "AT611904300234573201"
VERSIONS = ("02", "04", "08")


@dataclass(frozen=True)
class Tx:
    """One TxDtls. `amount` is left out where the bank does not itemise."""

    amount: str = ""
    text: str = ""
    payer: str = "Bäckerei Groß"
    payer_iban: str = PAYER_IBAN
    end_to_end_id: str = "NOTPROVIDED"
    mandate: str = ""
    reference: str = ""
    reason: str = ""
    direction: str = ""
    servicer_reference: str = ""

    def xml(self, version: str, currency: str) -> str:
        party = f"<Nm>{escape(self.payer)}</Nm>" if self.payer else ""
        party = f"<Pty>{party}</Pty>" if version == "08" and party else party
        amount = f'<Amt Ccy="{currency}">{self.amount}</Amt>' if self.amount else ""
        direction = f"<CdtDbtInd>{self.direction}</CdtDbtInd>" if self.direction else ""
        # In 001.02 a transaction has neither amount nor direction of its own, only AmtDtls.
        own = f"<AmtDtls><TxAmt>{amount}</TxAmt></AmtDtls>" if version == "02" and amount else amount + direction
        return "".join(
            [
                "<TxDtls><Refs>",
                f"<AcctSvcrRef>{self.servicer_reference}</AcctSvcrRef>" if self.servicer_reference else "",
                f"<EndToEndId>{self.end_to_end_id}</EndToEndId>" if self.end_to_end_id else "",
                f"<MndtId>{self.mandate}</MndtId>" if self.mandate else "",
                f"</Refs>{own}<RltdPties>",
                f"<Dbtr>{party}</Dbtr>" if party else "",
                f"<DbtrAcct><Id><IBAN>{self.payer_iban}</IBAN></Id></DbtrAcct>" if self.payer_iban else "",
                f"<CdtrAcct><Id><IBAN>{IBAN}</IBAN></Id></CdtrAcct></RltdPties><RmtInf>",
                "".join(f"<Ustrd>{escape(part)}</Ustrd>" for part in self.text.split("|") if part),
                f"<Strd><CdtrRefInf><Ref>{self.reference}</Ref></CdtrRefInf></Strd>" if self.reference else "",
                "</RmtInf>",
                f"<RtrInf><Rsn><Cd>{self.reason}</Cd></Rsn></RtrInf>" if self.reason else "",
                "</TxDtls>",
            ]
        )


@dataclass(frozen=True)
class Entry:
    """One Ntry with its transactions; `batch` is the number of transactions the bank says there are."""

    amount: str
    transactions: tuple[Tx, ...] = (Tx(),)
    direction: str = "CRDT"
    status: str = "BOOK"
    booked_on: str = "2026-11-24"
    currency: str = "EUR"
    is_reversal: bool = False
    servicer_reference: str = ""
    batch: int = 0
    info: str = ""

    def xml(self, version: str) -> str:
        status = f"<Cd>{self.status}</Cd>" if version == "08" else self.status
        return "".join(
            [
                f'<Ntry><Amt Ccy="{self.currency}">{self.amount}</Amt><CdtDbtInd>{self.direction}</CdtDbtInd>',
                "<RvslInd>true</RvslInd>" if self.is_reversal else "",
                f"<Sts>{status}</Sts><BookgDt><Dt>{self.booked_on}</Dt></BookgDt>",
                "<ValDt><DtTm>2026-11-25T00:00:00+01:00</DtTm></ValDt>",
                f"<AcctSvcrRef>{self.servicer_reference}</AcctSvcrRef>" if self.servicer_reference else "",
                "<BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>RCDT</Cd><SubFmlyCd>ESCT</SubFmlyCd></Fmly></Domn></BkTxCd>",
                "<NtryDtls>",
                f"<Btch><NbOfTxs>{self.batch}</NbOfTxs></Btch>" if self.batch else "",
                "".join(transaction.xml(version, self.currency) for transaction in self.transactions),
                f"</NtryDtls>{f'<AddtlNtryInf>{escape(self.info)}</AddtlNtryInf>' if self.info else ''}</Ntry>",
            ]
        )


def balance(code: str, amount: str, direction: str = "CRDT", currency: str = "EUR") -> str:
    return (
        f'<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy="{currency}">{amount}</Amt>'
        f"<CdtDbtInd>{direction}</CdtDbtInd><Dt><Dt>2026-11-24</Dt></Dt></Bal>"
    )


def statement(
    *entries: Entry,
    opening: str = "100.00",
    closing: str = "100.00",
    version: str = "08",
    statement_id: str = "2026-226",
    balances: str | None = None,
) -> str:
    """Return one Stmt; opening and closing balance are credit balances."""
    if balances is None:
        balances = balance("OPBD", opening) + balance("CLBD", closing)
    return (
        f"<Stmt><Id>{statement_id}</Id><CreDtTm>2026-11-24T20:00:00</CreDtTm><Acct><Id><IBAN>{IBAN}</IBAN></Id>"
        f"<Ccy>EUR</Ccy></Acct>{balances}{''.join(entry.xml(version) for entry in entries)}</Stmt>"
    )


def document(*statements: str, version: str = "08", prolog: str = "") -> bytes:
    """Return the bytes of a file of statements."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{prolog}\n'
        f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version}"><BkToCstmrStmt>'
        "<GrpHdr><MsgId>M-1</MsgId><CreDtTm>2026-11-24T20:00:00</CreDtTm></GrpHdr>"
        f"{''.join(statements)}</BkToCstmrStmt></Document>"
    ).encode()
