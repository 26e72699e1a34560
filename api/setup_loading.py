"""Looking up how a mailbox is set up, and laying it out as a sheet."""

from dataclasses import dataclass
from datetime import date
from urllib.parse import urlencode

from sqlalchemy.ext.asyncio import AsyncSession

from api.context import Context
from api.setup_sheets import Setup, guide_of
from billing import resale_billing
from billing.documents import html, pdf
from billing.money import Language
from provisioning import data_centres, endpoints, mailboxes, names, passwords, tenants
from provisioning.core.clock import berlin_day
from provisioning.data_centres import DataCentre
from provisioning.models import Mailbox


@dataclass(frozen=True, slots=True)
class Loaded:
    """A mailbox with all that its sheet needs; `language` is the reseller's own."""

    mailbox: Mailbox
    centre: DataCentre
    setup: Setup
    logo: bytes | None
    language: Language
    on: date


async def load_setup(session: AsyncSession, context: Context, reseller_id: str, mailbox_id: str) -> Loaded:
    """Raises NotFound; Conflict for a deleted mailbox and for rooms and equipment, which nobody logs in to."""
    mailbox = await mailboxes.get_mailbox(session, reseller_id, mailbox_id)
    passwords.check_can_log_in(mailbox)
    centre, _ = await data_centres.get_data_centre(session, mailbox.placed_in or mailbox.location)
    reseller = await tenants.get_reseller(session, reseller_id)
    logo = await resale_billing.find_logo(session, reseller_id)
    setup = Setup(
        address=names.readable_address(mailbox.address),
        user_name=mailbox.address,
        display_name=mailbox.display_name,
        service_class=mailbox.service_class,
        offer=endpoints.offer_of(mailbox.protocols, endpoints.Endpoints.of(centre.endpoints)),
        sender=reseller.name,
        profile_url=f"{context.public_url}/mobileconfig?{urlencode({'email': mailbox.address})}",
    )
    language: Language = "en" if reseller.language == "en" else "de"
    on = berlin_day(context.clock.now())
    return Loaded(mailbox, centre, setup, logo.content if logo else None, language, on)


def setup_pdf(loaded: Loaded, language: Language) -> bytes:
    """Takes about 30 ms: call it through `render_aside`."""
    return pdf.render_guide(guide_of(loaded.setup, language), logo=loaded.logo, on=loaded.on)


def setup_page(loaded: Loaded, language: Language) -> str:
    return html.render_guide(guide_of(loaded.setup, language), loaded.logo)
