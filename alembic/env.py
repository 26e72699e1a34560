"""Alembic's environment: which tables there are, and how to reach the database.

The caller may hand in a connection (`config.attributes["connection"]`); the command line takes
POSTFACHWERK_DATABASE_URL or the embedded PostgreSQL, as the service itself does.
"""

from contextlib import ExitStack

from alembic import context
from sqlalchemy import Connection, create_engine, make_url

import billing.discount_models
import billing.document_models
import billing.dunning_models
import billing.export_models
import billing.models
import billing.payment_models
import provisioning.data_centres
import provisioning.drivers.sandbox.tables
import provisioning.ledger
import provisioning.models
from provisioning.core.embedded import EmbeddedPostgres
from provisioning.core.settings import Settings
from provisioning.core.tables import Table

TABLES_FROM = (
    billing.discount_models,
    billing.document_models,
    billing.export_models,
    billing.dunning_models,
    billing.models,
    billing.payment_models,
    provisioning.data_centres,
    provisioning.drivers.sandbox.tables,
    provisioning.ledger,
    provisioning.models,
)

LOCK_TIMEOUT = "4s"


def include_object(_object: object, name: str | None, type_: str, _reflected: bool, _compare_to: object) -> bool:
    """Procrastinate's tables are its own: they come from its schema file, not from our models."""
    return not (type_ == "table" and name is not None and name.startswith("procrastinate_"))


def migrate(connection: Connection) -> None:
    """Run the migrations on this connection, each in a transaction of its own."""
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        include_object=include_object,
        compare_server_default=False,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        # A migration that cannot get its lock gives up instead of queueing all traffic behind itself.
        connection.exec_driver_sql(f"set lock_timeout = '{LOCK_TIMEOUT}'")
        context.run_migrations()


def run() -> None:
    if (connection := context.config.attributes.get("connection")) is not None:
        migrate(connection)
        return
    settings = Settings()
    with ExitStack() as opened:
        url = settings.database_url
        if url is None:
            url = opened.enter_context(EmbeddedPostgres(settings.state_directory)).url("postfachwerk")
        engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
        with engine.connect() as own:
            migrate(own)
        engine.dispose()


run()
