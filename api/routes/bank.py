"""The bank's side, for the operator: statements come in, lines without an invoice are assigned, debits go out."""

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Route
from billing import bank, debits, payments
from billing.documents import camt, sepa
from billing.payment_models import BankEntry, BankEntryState
from billing.settlement import lock_payment
from provisioning.core.errors import Conflict
from provisioning.core.ids import ID_PATTERN

router = APIRouter(prefix="/v1", tags=["operator"], route_class=Route)

Settle = Annotated[Call, Depends(Requires("payments:settle", operator=True), scope="function")]
BankEntryId = Annotated[str, Path(pattern=f"^bke_{ID_PATTERN}$", description="bke_…")]
FileId = Annotated[str, Path(pattern=f"^ddf_{ID_PATTERN}$", description="ddf_…")]

# Why a bank's file is not read, and why a debit is not written; the latter's are also those of what is left out.
STATEMENT_CODES = tuple(
    f"statement_{what}" for what in ("account", "balance", "currency", "empty", "entry", "size", "version", "xml")
)
SEPA_CODES = tuple(
    f"sepa_{what}"
    for what in (
        *("amount", "collection_day", "creditor_id", "empty", "end_to_end_id", "iban", "mandate"),
        *("mandate_reference", "notice", "schema"),
    )
)
DOCUMENT_MAX = 20 * 1024 * 1024

_ENTRY: dict[str, Any] = {
    "id": "bke_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "state": "unmatched",
    "payment_id": None,
    "amount_cents": 1786,
    "booked_on": "2026-12-07",
    "counterparty_name": "IT-Haus Goslar GmbH",
    "counterparty_iban": "DE02120300000000202051",
    "end_to_end_id": None,
    "remittance": "Rechnung November",
    "return_reason": None,
    "created_at": "2026-12-08T06:00:00Z",
}
_FILE: dict[str, Any] = {
    "id": "ddf_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "collect_on": "2026-12-15",
    "count": 1,
    "total_cents": 1786,
    "sha256": "5f" * 32,
    "actor": "key_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "created_at": "2026-12-01T06:00:00Z",
    "left_out": None,
}
_EXAMPLE_STATEMENT = (
    '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><Stmt><Id>2026-321</Id>'
    "<Acct><Id><IBAN>DE02120300000000202051</IBAN></Id></Acct>"
    '<Bal><Tp><CdOrPrtry><Cd>OPBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">0.00</Amt><CdtDbtInd>CRDT</CdtDbtInd></Bal>'
    '<Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">17.86</Amt><CdtDbtInd>CRDT</CdtDbtInd></Bal>'
    '<Ntry><Amt Ccy="EUR">17.86</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>'
    "<BookgDt><Dt>2026-11-16</Dt></BookgDt><NtryDtls><TxDtls><RltdPties><Dbtr><Pty><Nm>IT-Haus Goslar GmbH</Nm></Pty>"
    "</Dbtr></RltdPties><RmtInf><Ustrd>Rechnung Oktober</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"
    "</Stmt></BkToCstmrStmt></Document>"
)


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(from_attributes=True, json_schema_extra={"examples": [example]})


class NewStatement(BaseModel):
    """A file of the bank as it came, as text."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"document": _EXAMPLE_STATEMENT}]})

    document: str = Field(min_length=1, max_length=DOCUMENT_MAX, description="camt.053.001.02, .04 or .08")


class BankStatementView(BaseModel):
    """What became of the lines of a file."""

    model_config = _example({"matched": 40, "unmatched": 2, "known": 0})

    matched: int = Field(description="Booked for the payments they name.")
    unmatched: int = Field(description="Waiting to be assigned.")
    known: int = Field(description="Imported before, and left as they are.")


class BankEntryView(BaseModel):
    """One line of a statement; negative left the account."""

    model_config = _example(_ENTRY)

    id: str
    state: BankEntryState
    payment_id: str | None
    amount_cents: int
    booked_on: date
    counterparty_name: str | None
    counterparty_iban: str | None
    end_to_end_id: str | None
    remittance: str | None
    return_reason: str | None
    created_at: datetime


class Assignment(BaseModel):
    """The payment a line belongs to."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"payment_id": "pay_01k9z3f6m2w5t8y1c4e7h0j3n6"}]}
    )

    payment_id: str = Field(pattern=f"^pay_{ID_PATTERN}$")


class LeftOutView(BaseModel):
    """A payment that is not in the file, and why."""

    model_config = ConfigDict(from_attributes=True)

    payment_id: str
    code: str
    reason: str


class DebitFileView(BaseModel):
    """A pain.008 file. The first of its debits is collected on `collect_on`."""

    model_config = _example(_FILE)

    id: str
    collect_on: date
    count: int
    total_cents: int
    sha256: str
    actor: str
    created_at: datetime
    left_out: list[LeftOutView] | None = Field(None, description="null but when it is made.")


@router.post(
    "/bank-statements",
    operation_id="importBankStatement",
    summary="Import a bank statement (camt.053)",
    status_code=201,
    response_model=BankStatementView,
    responses=refusals(*STATEMENT_CODES, status=422),
)
async def import_statement(new: NewStatement, call: Settle) -> Response:
    """Books what names an invoice, each line once however often it is imported."""
    statements = camt.read_statements(new.document.encode())
    entries = [entry for statement in statements for entry in statement.entries]
    imported = await bank.settle_statement(call.session, entries, now=call.now, policy=call.context.policy)
    view = BankStatementView(matched=imported.matched, unmatched=imported.unmatched, known=imported.known)
    await call.record("bank_statement.import", ["bank"], **view.model_dump())
    return await call.answer(view, status=201)


@router.get(
    "/bank-entries",
    operation_id="listBankEntries",
    summary="List lines of bank statements",
    response_model=Page[BankEntryView],
)
async def list_entries(
    call: Settle,
    page: PageDep,
    state: Annotated[BankEntryState | None, Query(description="unmatched are yours to assign")] = None,
) -> Response:
    """Newest first."""
    rows = await bank.list_bank_entries(call.session, state=state, limit=page.fetch, before=page.after)
    return await call.answer(page.page(rows, BankEntryView.model_validate, lambda row: row.id))


@router.post(
    "/bank-entries/{bank_entry_id}/assign",
    operation_id="assignBankEntry",
    summary="Say which payment a line belongs to",
    response_model=BankEntryView,
    responses=refusals("entry_assigned"),
)
async def assign(bank_entry_id: BankEntryId, wanted: Assignment, call: Settle) -> Response:
    """Books it. What is more than owed becomes the reseller's credit."""
    entry: BankEntry = await bank.get_bank_entry(call.session, bank_entry_id)
    await payments.get_payment(call.session, None, wanted.payment_id)
    payment = await lock_payment(call.session, wanted.payment_id)
    await bank.assign(call.session, entry, payment, now=call.now)
    await call.record("bank_entry.assign", [bank_entry_id], payment_id=payment.id)
    await call.session.flush()
    return await call.answer(BankEntryView.model_validate(entry))


@router.post(
    "/direct-debits",
    operation_id="createDirectDebits",
    summary="Write a file of all debits that are due (pain.008)",
    status_code=201,
    response_model=DebitFileView,
    responses={**refusals("creditor_id_missing", "nothing_to_debit"), **refusals(*SEPA_CODES, status=422)},
)
async def create_debits(call: Settle) -> Response:
    """Of every open payment whose reseller pays by direct debit. Take the file to the bank; its statement settles."""
    issuer = call.context.issuer
    if issuer.creditor_id is None:
        raise Conflict(
            "Set POSTFACHWERK_CREDITOR_ID to the creditor identifier of the Bundesbank.", code="creditor_id_missing"
        )
    creditor = sepa.Creditor(issuer.name, issuer.iban, issuer.creditor_id, issuer.bic)
    actor = call.principal.key_id
    made = await debits.make_debits(call.session, creditor, actor=actor, notice_days=sepa.NOTICE_DAYS, now=call.now)
    await call.record("direct_debit.create", [made.file.id], count=made.file.count, total_cents=made.file.total_cents)
    await call.session.flush()
    view = DebitFileView.model_validate(made.file)
    view.left_out = [LeftOutView.model_validate(each) for each in made.left_out]
    return await call.answer(view, status=201, location=f"/v1/direct-debits/{made.file.id}")


@router.get(
    "/direct-debits",
    operation_id="listDirectDebits",
    summary="List direct debit files",
    response_model=Page[DebitFileView],
)
async def list_debits(call: Settle, page: PageDep) -> Response:
    """Newest first."""
    rows = await debits.list_files(call.session, limit=page.fetch, before=page.after)
    return await call.answer(page.page(rows, DebitFileView.model_validate, lambda row: row.id))


@router.get(
    "/direct-debits/{direct_debit_id}",
    operation_id="getDirectDebits",
    summary="Read a direct debit file",
    response_model=DebitFileView,
)
async def read_debits(direct_debit_id: FileId, call: Settle) -> Response:
    """Its sums; the file itself is at `/file`."""
    file = await debits.get_file(call.session, direct_debit_id)
    return await call.answer(DebitFileView.model_validate(file), version=1)


@router.get(
    "/direct-debits/{direct_debit_id}/file",
    operation_id="downloadDirectDebits",
    summary="Download a direct debit file for the bank",
    response_class=Response,
    responses={
        200: {
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            "description": "pain.008.001.08",
        }
    },
)
async def download_debits(direct_debit_id: FileId, call: Settle) -> Response:
    """The bytes as they were made; their SHA-256 is in the file's view."""
    file = await debits.get_file(call.session, direct_debit_id)
    headers = {"Content-Disposition": f'attachment; filename="{file.id}.xml"'}
    return Response(file.content, media_type="application/octet-stream", headers=headers)
