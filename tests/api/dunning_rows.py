"""A notice for the documented examples."""

from sqlalchemy.ext.asyncio import AsyncSession

from billing.dunning_models import Notice
from billing.notice_texts import NoticeKind
from provisioning.core.ids import new_id
from tests.conftest import NOW


async def add_notice(session: AsyncSession, reseller_id: str) -> dict[str, str]:
    notice = Notice(
        id=new_id("ntc"),
        reseller_id=reseller_id,
        kind=NoticeKind.RESUMPTION,
        source=f"{reseller_id}:resumed",
        recipient="buchhaltung@it-haus.example",
        language="de",
        subject_de="Wieder frei",
        body_de="Guten Tag",
        subject_en="Works again",
        body_en="Good day",
        created_at=NOW,
    )
    session.add(notice)
    await session.flush()
    return {"notice_id": notice.id}
