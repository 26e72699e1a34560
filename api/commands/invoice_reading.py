"""What `postfachwerk invoice` reads: whom a run could not bill and what mends it, and an invoice with its files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

import typer
from rich.markup import escape
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncSession

from api.composition import open_context
from billing import invoices, runs
from billing.document_models import DocumentKind
from billing.models import Invoice, InvoiceLine, InvoiceRun, ItemState
from billing.pages import invoice_page
from billing.stored_documents import get_document
from provisioning.core.clock import berlin_day
from provisioning.core.settings import Settings

SHOWN_MAX = 50

FIXES = {
    "credit_changed": "Nothing to mend: the retry takes what is left of the credit",
    "address_incomplete": "Complete it: PATCH /v1/resellers/{reseller_id}",
    "document_invalid": "Correct what the rule names: PATCH /v1/resellers/{reseller_id}, or the seller in the settings",
    "no_price": "Price the class: POST /v1/price-lists, valid_from on or before the month's first day",
    "tax_regime_unsupported": "Correct the address: PATCH /v1/resellers/{reseller_id}, or bill it by hand",
    "vat_check_pending": "Nothing: it is billed once VIES has answered; GET /v1/resellers/{reseller_id}/vat-checks",
    "vat_id_foreign": "Correct country or VAT id: PATCH /v1/resellers/{reseller_id}",
    "vat_id_invalid": "Correct the VAT id: PATCH /v1/resellers/{reseller_id}, or ask anew: "
    "POST /v1/resellers/{reseller_id}/vat-checks",
    "vat_id_missing": "Add the VAT id: PATCH /v1/resellers/{reseller_id}",
    "vat_treatment_changed": "Nothing: it is drafted anew by itself",
}


async def parked_table(session: AsyncSession, of_run: InvoiceRun, option: str) -> Table:
    """`option` names the run on the command line."""
    more = f"The first {SHOWN_MAX}; all: GET /v1/invoice-runs/{of_run.id}/items?state=parked. "
    table = Table(
        "Reseller",
        "Why",
        "What mends it",
        title=f"Parked in {runs.run_name(of_run)}",
        caption=f"{more if of_run.parked > SHOWN_MAX else ''}Then: postfachwerk invoice retry {option}",
        title_justify="left",
        caption_justify="left",
    )
    for item in await runs.list_items(session, of_run.id, state=ItemState.PARKED, limit=SHOWN_MAX):
        fix = FIXES.get(item.code or "", "Mend the data.").format(reseller_id=item.reseller_id)
        table.add_row(item.reseller_id, escape(item.reason or ""), fix)
    return table


async def read_invoice(
    name: str, kinds: Iterable[str], *, with_page: bool
) -> tuple[Invoice, Sequence[InvoiceLine], Mapping[str, bytes], str]:
    """An invoice by number or id with its lines, the stored files that are asked for, and its page or "".

    Raises Exit with a sentence.
    """
    async with open_context(Settings()) as context, context.database.as_system() as session:
        if name.startswith("inv_"):
            found = await invoices.get_invoice(session, None, name)
        else:
            by_number = await invoices.find_invoice_by_number(session, None, name)
            if by_number is None:
                stop(f"There is no invoice {name}. `postfachwerk invoice show` lists the newest.")
            found = by_number
        files = {kind: (await get_document(session, found, DocumentKind(kind))).content for kind in kinds}
        page = ""
        if with_page:
            today = berlin_day(context.clock.now())
            try:
                page, _ = await invoice_page(session, found, language=None, issuer=context.issuer, today=today)
            except ValueError as error:
                stop(f"{found.number or found.id} cannot be shown as a page: {error}.")
        return found, await invoices.lines_of(session, found), files, page


def stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
