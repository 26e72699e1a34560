"""Drafts before they are numbered: each is built as a document and has to pass the gate, or its reseller is parked.

A verdict is pinned to a hash of all that the draft was made of, so that nothing is numbered but what was valid.
"""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing import drafts
from billing.composing import CreditNoteFacts, compose_credit_note, compose_invoice
from billing.document_models import CreditNote, CreditNoteLine
from billing.document_sources import Draft, final_invoices
from billing.documents.cii import Profile, build_xml
from billing.documents.document import Document
from billing.documents.gate import Finding, check
from billing.models import InvoiceRun, Issuer
from billing.snapshots import seller_json, validated_hash_sql
from provisioning.core.errors import Conflict

BLOCK = 50
"""How many drafts are validated between two transactions."""

FINDINGS_NAMED = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """`report` is None for a valid draft; else what the gate found, `reason` in one sentence."""

    reseller_id: str
    validated_hash: str
    report: dict[str, Any] | None = None
    reason: str | None = None


_LEFT = text(
    "select count(*) from invoice_run_item where run_id = :run_id and state = 'drafted' and validated_hash is null"
)

_PIN = text(
    """
    update invoice_run_item item set validated_hash = valid.hash
    from unnest(cast(:reseller_ids as text[]), cast(:hashes as text[])) as valid (reseller_id, hash)
    where item.run_id = :run_id and item.reseller_id = valid.reseller_id and item.state = 'drafted'
    """
)

# Only as long as the draft is what was judged; one that has been mended meanwhile is judged again.
_PARK = text(
    f"""
    update invoice_run_item item set state = 'parked', code = 'document_invalid', reason = refused.reason,
        report = cast(refused.report as jsonb)
    from unnest(cast(:reseller_ids as text[]), cast(:hashes as text[]), cast(:reasons as text[]),
        cast(:reports as text[])) as refused (reseller_id, hash, reason, report)
    join reseller on reseller.id = refused.reseller_id
    join invoice on invoice.run_id = :run_id and invoice.status = 'draft'
        and invoice.reseller_id = refused.reseller_id
    where item.run_id = :run_id and item.reseller_id = refused.reseller_id and item.state = 'drafted'
        and refused.hash = {validated_hash_sql()}
    """  # noqa: S608 - made of constants only
)


async def count_unvalidated(session: AsyncSession, run_id: str) -> int:
    return await session.scalar(_LEFT, {"run_id": run_id}) or 0


def judge(found: Iterable[Draft]) -> list[Verdict]:
    """Return the verdict on each draft: work for the processor, without database and outside any transaction."""
    return [_judge(draft) for draft in found]


def _judge(draft: Draft) -> Verdict:
    try:
        document = compose_invoice(draft.facts)
        found = errors_of(document)
    except ValueError as error:
        report = {"valid": False, "findings": [], "error": str(error)}
        return Verdict(draft.reseller_id, draft.validated_hash, report, f"No invoice can be made of it: {error}.")
    if found is None:
        return Verdict(draft.reseller_id, draft.validated_hash)
    report, reason = found
    return Verdict(draft.reseller_id, draft.validated_hash, report, reason)


def errors_of(document: Document) -> tuple[dict[str, Any], str] | None:
    """Return the gate's report and a sentence when a document may not be issued, None when it may.

    The two profiles differ in BT-24 only, and XRechnung's rules contain the other's, so one check answers for both.
    Raises ValueError for what cannot be written down at all.
    """
    report = check(build_xml(document, Profile.XRECHNUNG), Profile.XRECHNUNG)
    return None if report.valid else (report.as_json(), _sentence(report.errors))


def _sentence(errors: Sequence[Finding]) -> str:
    named = "; ".join(f"{each.rule}: {each.message_en}" for each in errors[:FINDINGS_NAMED])
    more = f" and {len(errors) - FINDINGS_NAMED} more" if len(errors) > FINDINGS_NAMED else ""
    return f"The document would not be valid. {named}{more}"


async def record(session: AsyncSession, run: InvoiceRun, verdicts: Sequence[Verdict], *, issuer: Issuer) -> None:
    """Pin what is valid, park what is not. The caller holds the lock on the run."""
    valid = [each for each in verdicts if each.report is None]
    refused = [each for each in verdicts if each.report is not None]
    await session.execute(
        _PIN,
        {
            "run_id": run.id,
            "reseller_ids": [each.reseller_id for each in valid],
            "hashes": [each.validated_hash for each in valid],
        },
    )
    if refused:
        await session.execute(
            _PARK,
            {
                "run_id": run.id,
                "seller": seller_json(issuer),
                "reseller_ids": [each.reseller_id for each in refused],
                "hashes": [each.validated_hash for each in refused],
                "reasons": [each.reason for each in refused],
                "reports": [json.dumps(each.report) for each in refused],
            },
        )
        await drafts.drop_parked(session, run)


async def refuse_invalid(session: AsyncSession, note: CreditNote, rows: Sequence[CreditNoteLine]) -> None:
    """Raise Conflict `document_invalid` with the report when a credit note may not be issued."""
    (corrected,) = await final_invoices(session, [note.invoice_id], with_annex=False)
    document = compose_credit_note(CreditNoteFacts(note, rows, corrected))
    found = await asyncio.to_thread(errors_of, document)
    if found is not None:
        report, sentence = found
        raise Conflict(sentence, code="document_invalid", report=report)
