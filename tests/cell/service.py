"""The service over real cells: API and worker in a thread, with keys of an operator and a reseller."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from api import backends, worker
from api.context import Context
from provisioning.core import clock, database
from provisioning.keys import OPERATOR_SCOPES, RESELLER_SCOPES, create_key
from provisioning.resolver import SandboxZone
from tests.api.conftest import ISSUER, PEPPER
from tests.api.loopback import serving
from tests.cell.office import Api
from tests.cells import CODES, Cells
from tests.conftest import NOW

CENTRES = {"de-fra-1": ("Frankfurt am Main", "DE"), "fi-hel-1": ("Helsinki", "FI")}
EVERY_SECOND = worker.Schedules(sweep="* * * * * *")


@dataclass(frozen=True, slots=True)
class Service:
    """`api` carries the key of a reseller, `operator` the operator's."""

    url: str
    api: Api
    operator: Api


@contextmanager
def running_service(cells: Cells, database_url: str) -> Iterator[Service]:
    secret = asyncio.run(_operator_key(database_url))
    opened, time, zone = database.Database(database_url, pool_size=10), clock.TestClock(NOW), SandboxZone()
    context = Context(opened, time, PEPPER, zone, ISSUER, test_clock=time, sandbox_zone=zone)

    @asynccontextmanager
    async def beside() -> AsyncIterator[None]:
        async with backends.open_drivers(opened, cells_file=cells.file) as drivers:
            jobs = worker.create_jobs(context, drivers, schedules=EVERY_SECOND)
            async with worker.worker_beside(jobs, concurrency=4):
                yield

    with serving(context, beside=beside) as url:
        operator = Api(url, secret)
        api = Api(url, _open_for_business(operator))
        yield Service(url, api, operator)
        api.close()
        operator.close()


async def _operator_key(url: str) -> str:
    opened = database.Database(url, pool_size=1)
    async with opened.as_system() as session:
        new = await create_key(
            session, None, name="test", scopes=OPERATOR_SCOPES, expires_at=None, pepper=PEPPER, now=NOW
        )
    await opened.close()
    return new.secret


def _open_for_business(operator: Api) -> str:
    """Two data centres, a reseller, and the secret of its key."""
    for code in CODES:
        city, country = CENTRES[code]
        details = {"name": code, "city": city, "country": country, "jurisdiction": country, "parent_country": country}
        operator.call("PUT", f"/data-centres/{code}", {**details, "operator": "Zelle GmbH", "driver": "open_cell"})
    address = {"street": "Marktstraße 5", "postcode": "38640", "city": "Goslar"}
    contact = {"billing_email": "buchhaltung@it-haus.example"}
    reseller = operator.call("POST", "/resellers", {"name": "IT-Haus Goslar GmbH", **address, **contact})
    key = {"name": "dashboard", "scopes": sorted(RESELLER_SCOPES)}
    secret: str = operator.call("POST", f"/resellers/{reseller['id']}/api-keys", key)["secret"]
    return secret
