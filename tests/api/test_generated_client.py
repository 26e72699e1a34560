"""A client generated from the document does a dashboard's whole job, against a real server with its worker."""

import asyncio
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest

from api.backends import open_drivers
from api.worker import Schedules, create_jobs, worker_beside
from provisioning.core.database import Database
from provisioning.keys import OPERATOR_SCOPES, RESELLER_SCOPES, create_key
from tests.api.conftest import PEPPER
from tests.api.loopback import serving
from tests.api.stage import Facts, empty_stage, on_stage
from tests.conftest import NOW

PACKAGE = "postfachwerk_client"
GENERATE = (
    *("generate", "--path", "openapi.json", "--config", "config.json"),
    *("--output-path", PACKAGE, "--meta", "none", "--fail-on-warning"),
)
# The generator knows files by this type only.
FILES = ("application/pdf", "application/xml", "application/x-apple-aspen-config", "text/xml")
CONFIG = {"content_type_overrides": dict.fromkeys(FILES, "application/octet-stream")}
PATIENCE_SECONDS = 60
WAIT = "wait=20"
IN_DECEMBER = datetime(2026, 12, 1, 6, 0, tzinfo=UTC)
EVERY_SECOND = Schedules(sweep="* * * * * *", billing="* * * * * *")


class Generated:
    """The generated package: its operations and shapes by the names they have in the document."""

    def __init__(self, package: str) -> None:
        self.models = import_module(f"{package}.models")
        self.connect: Callable[..., Any] = import_module(f"{package}.client").AuthenticatedClient
        api = import_module(f"{package}.api")
        modules = pkgutil.walk_packages(api.__path__, f"{api.__name__}.")
        self._operations = {each.name.rpartition(".")[2]: each.name for each in modules if not each.ispkg}

    def client(self, url: str, secret: str) -> Any:
        return self.connect(base_url=url, token=secret, timeout=30, raise_on_unexpected_status=True)

    def call(self, operation: str, client: Any, *path: str, **given: Any) -> Any:
        """The parsed answer, which must be none of the refusals."""
        answer = import_module(self._operations[operation]).sync(*path, client=client, **given)
        assert not isinstance(answer, self.models.Problem), answer
        return answer


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(json.dumps(empty_stage().document))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    tools = Path(sys.executable).parent
    # The generator formats what it writes, with the ruff it finds first.
    subprocess.run(
        [tools / "openapi-python-client", *GENERATE],
        cwd=folder,
        env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        check=True,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )
    sys.path.insert(0, str(folder))
    yield Generated(PACKAGE)
    sys.path.remove(str(folder))


async def _operator_key(url: str) -> str:
    database = Database(url, pool_size=1)
    async with database.as_system() as session:
        new = await create_key(
            session, None, name="test", scopes=OPERATOR_SCOPES, expires_at=None, pepper=PEPPER, now=NOW
        )
    await database.close()
    return new.secret


@pytest.fixture
def operator_key(fresh_url: str) -> str:
    return asyncio.run(_operator_key(fresh_url))


@pytest.fixture
def url(fresh_url: str) -> Iterator[str]:
    """A server with a worker beside it."""
    database = Database(fresh_url, pool_size=10)
    context = on_stage(database, Facts()).context

    @asynccontextmanager
    async def beside() -> AsyncIterator[None]:
        async with open_drivers(database) as drivers:
            jobs = create_jobs(context, drivers, schedules=EVERY_SECOND)
            async with worker_beside(jobs, concurrency=4):
                yield

    with serving(context, beside=beside) as served:
        yield served


def test_a_generated_client_takes_a_reseller_from_its_key_to_its_invoice(
    generated: Generated, operator_key: str, url: str
) -> None:
    with generated.client(url, operator_key) as operator:
        secret = _admit(generated, operator)
    with generated.client(url, secret) as client:
        domain = _verified_domain(generated, client)
        boss, secretary = _mailboxes(generated, client, domain.name)
        _let_in(generated, client, boss, secretary)
        _check_invoice(generated, client)


def _admit(generated: Generated, operator: Any) -> str:
    models = generated.models
    reseller = generated.call(
        "create_reseller",
        operator,
        body=models.ResellerOrder(
            name="IT-Haus Goslar GmbH",
            street="Marktstraße 5",
            postcode="38640",
            city="Goslar",
            billing_email="buchhaltung@it-haus.example",
        ),
    )
    prices = [
        models.ClassPrices(service_class=each, tiers=[models.PriceTier(min_quantity=1, price_cents=cents)])
        for each, cents in ((models.ServiceClass.EXCHANGE, 790), (models.ServiceClass.IMAP, 290))
    ]
    new_list = models.NewPriceList(name="Preise 2026", valid_from=date(2026, 1, 1), prices=prices)
    assert generated.call("create_price_list", operator, body=new_list).currency == "EUR"
    order = models.ApiKeyOrder(
        name="dashboard", scopes=list(map(models.ApiKeyOrderScopesItem, sorted(RESELLER_SCOPES)))
    )
    secret = generated.call("create_reseller_api_key", operator, reseller.id, body=order).secret
    assert isinstance(secret, str)
    return secret


def _verified_domain(generated: Generated, client: Any) -> Any:
    models = generated.models
    assert generated.call("get_me", client).operator is False
    customer = generated.call("create_customer", client, body=models.CustomerOrder(name="Kanzlei Lindenhof"))
    new = models.NewDomain(name="straße.example", customer_id=customer.id)
    domain = generated.call("add_domain", client, body=new, idempotency_key="domain-1")
    assert domain.name == "xn--strae-oqa.example"
    proof = domain.verification
    records = models.ZoneValues(values=[proof.expected])
    generated.call("set_sandbox_records", client, proof.name, proof.kind, body=records)
    verified = generated.call("verify_domain", client, domain.id)
    assert verified.state == models.DomainState.VERIFIED
    again = generated.call("add_domain", client, body=new, idempotency_key="domain-1")
    assert again.id == domain.id
    return verified


def _mailboxes(generated: Generated, client: Any, domain: str) -> list[Any]:
    """A batch of two, tried out before, and followed until the data centre has confirmed both."""
    models = generated.models
    batch = models.BatchOrder(
        orders=[
            models.MailboxOrder(
                address=f"{name}@{domain}", display_name=name.title(), service_class=models.ServiceClass.EXCHANGE
            )
            for name in ("chef", "sekretariat")
        ]
    )
    preview = generated.call("order_mailboxes", client, body=batch, dry_run=True)
    assert preview.cost.whole_month_difference_cents == 2 * 790
    placed = generated.call("order_mailboxes", client, body=batch, idempotency_key="batch-1")
    for verdict in placed.verdicts:
        ask = partial(generated.call, "get_operation", client, verdict.operation_id)
        operation = _until(ask, lambda found: found.finished_at is not None)
        assert operation.state == models.OperationState.SUCCEEDED, operation
    page = generated.call("list_mailboxes", client, state=models.MailboxState.ACTIVE)
    assert {each.id for each in page.items} == {verdict.mailbox.id for verdict in placed.verdicts}
    return [verdict.mailbox for verdict in placed.verdicts]


def _let_in(generated: Generated, client: Any, boss: Any, secretary: Any) -> None:
    """The answer is held until the backend has the share, and read back from both sides."""
    models = generated.models
    wish = models.ShareWish(access=models.Access.READ_WRITE)
    share = generated.call("put_share", client, boss.id, models.Scope.CALENDAR, secretary.id, body=wish, prefer=WAIT)
    assert (share.state, share.role) == (models.ShareState.ACTIVE, models.Role.EDITOR)
    for mailbox, direction, other in ((boss, "inbound", secretary), (secretary, "outbound", boss)):
        way = models.ListAccessDirection(direction)
        [line] = generated.call("list_access", client, mailbox.id, direction=way).items
        assert (line.mailbox_id, line.scope) == (other.id, models.Scope.CALENDAR)


def _check_invoice(generated: Generated, client: Any) -> None:
    """The month passes, and the scheduled run bills it by itself."""
    models = generated.models
    preview = generated.call("preview_invoice", client)
    generated.call("advance_test_clock", client, body=models.Advance(to=IN_DECEMBER))
    [summary] = _until(lambda: generated.call("list_invoices", client).items, bool)
    invoice = generated.call("get_invoice", client, summary.id)
    assert (invoice.number, invoice.period) == ("PF-2026-000001", "2026-11")
    assert [(line.mailbox_days, line.price_cents) for line in invoice.lines] == [(2 * 14, 790)]
    assert (invoice.net_cents, invoice.gross_cents) == (preview.net_cents, preview.gross_cents)
    assert invoice.due_on - invoice.issued_on > timedelta(days=0)


def _until(ask: Callable[[], Any], enough: Callable[[Any], bool]) -> Any:
    """What is asked for as soon as it is enough; fails when that takes too long."""
    deadline, pause = monotonic() + PATIENCE_SECONDS, Event()
    while not enough(found := ask()):
        assert monotonic() < deadline, found
        pause.wait(0.05)
    return found
