"""From settings to an open context: what `serve`, `work`, `invoice` and the demo all begin with."""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from api.collecting import mailer_of, open_gateway, policy_of
from api.context import Context
from api.issuing import books_of, issuer_of, open_vies
from provisioning.core import embedded, migrations
from provisioning.core.clock import Clock, SystemClock, TestClock
from provisioning.core.database import Database
from provisioning.core.settings import ConfigurationError, Settings
from provisioning.resolver import SandboxZone, SystemResolver


@asynccontextmanager
async def open_context(settings: Settings, *, test_clock: TestClock | None = None) -> AsyncIterator[Context]:
    """Everything opened, closed again at the end.

    Without a database URL the embedded PostgreSQL is started and migrated; with one, migrating is left to
    `postfachwerk migrate`. A test clock comes with a zone for DNS that lives in this process.
    Raises ConfigurationError, EmbeddedPostgresError.
    """
    with _database_url(settings) as url:
        database = Database(url, pool_size=settings.database_pool_size)
        zone = SandboxZone() if test_clock else None
        clock: Clock = test_clock or SystemClock()
        issuer = issuer_of(settings)
        vies = open_vies(settings, issuer)
        try:
            mailer = mailer_of(settings)
        except ValueError as error:
            raise ConfigurationError(f"POSTFACHWERK_SMTP_URL: {error}.") from None
        try:
            # On a test clock nobody's money is real.
            gateway = open_gateway(settings, live=test_clock is None)
        except ValueError as error:
            raise ConfigurationError(f"POSTFACHWERK_STRIPE_API_KEY: {error}.") from None
        try:
            yield Context(
                database=database,
                clock=clock,
                pepper=pepper_of(settings),
                resolver=zone or SystemResolver([settings.resolver] if settings.resolver else []),
                issuer=issuer,
                books=books_of(settings),
                vies=vies,
                vat_check_days=settings.vat_check_days,
                public_url=settings.public_url.rstrip("/"),
                service_domain=settings.service_domain,
                restore_days=settings.restore_days,
                gateway=gateway,
                policy=policy_of(settings),
                price_notice_days=settings.price_notice_days,
                mailer=mailer,
                test_clock=test_clock,
                sandbox_zone=zone,
            )
        finally:
            if vies is not None:
                await vies.close()
            if gateway is not None:
                await gateway.close()
            await database.close()


@contextmanager
def _database_url(settings: Settings) -> Iterator[str]:
    if settings.database_url is not None:
        yield settings.database_url
        return
    server = embedded.EmbeddedPostgres(settings.state_directory)
    url = server.start()
    try:
        migrations.migrate(url)
        yield url
    finally:
        server.stop()


def pepper_of(settings: Settings) -> bytes:
    """The key of the API keys' hashes. Raises ConfigurationError when it would have to be guessed in production."""
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    if settings.database_url is not None:
        raise ConfigurationError(
            "Set POSTFACHWERK_SECRET_KEY to 32 or more random characters, the same for every process, for example "
            "with `python3 -c 'import secrets; print(secrets.token_urlsafe(32))'`. Keep it: API keys die with it."
        )
    return _kept_pepper(settings.state_directory.parent / "secret-key")


def _kept_pepper(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Created with its final permissions, and by one process only.
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
    except FileExistsError:
        pass
    return path.read_bytes().strip()
