"""What the composition root hands to every request: opened once, read by the dependencies."""

from dataclasses import dataclass, field

from billing.attempts import CollectionPolicy
from billing.gateways.base import Gateway
from billing.gateways.smtp import Mailer
from billing.gateways.vies import Vies
from billing.models import Books, Issuer
from provisioning.core.clock import Clock, TestClock
from provisioning.core.database import Database
from provisioning.resolver import Resolver, SandboxZone


@dataclass(slots=True)
class Context:
    """`pepper` keys the hashes of API keys. Without a `gateway` everybody pays by transfer, without `vies`
    no VAT id is checked (invoices that need one to be wait), and without a `mailer` notices are listed only.

    `test_clock` and `sandbox_zone` are there in demo and tests only.
    """

    database: Database
    clock: Clock
    pepper: bytes
    resolver: Resolver
    issuer: Issuer
    books: Books = field(default_factory=Books)
    public_url: str = "http://127.0.0.1:8000"
    service_domain: str = "postfachwerk.example"
    restore_days: int = 30
    gateway: Gateway | None = None
    policy: CollectionPolicy = field(default_factory=CollectionPolicy)
    vies: Vies | None = None
    vat_check_days: int = 90
    price_notice_days: int = 30
    mailer: Mailer | None = None
    test_clock: TestClock | None = None
    sandbox_zone: SandboxZone | None = None
