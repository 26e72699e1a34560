"""Bring a database to the newest schema, from a checkout or from the installed wheel."""

from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url


def scripts() -> Path:
    """The folder of the migration scripts: beside the packages in a checkout, inside this one in a wheel."""
    with as_file(files("provisioning")) as package:
        installed = package / "migrations"
        return installed if installed.is_dir() else package.parent / "alembic"


def configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    return config


def migrate(url: str, *, revision: str = "head") -> None:
    """Upgrade the database at `url`. Two at once are safe: the second waits and then finds nothing to do."""
    config = configuration()
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    try:
        with engine.connect() as lock, engine.connect() as connection:
            lock.exec_driver_sql("select pg_advisory_lock(4210)")
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        engine.dispose()


@cache
def newest_revision() -> str | None:
    """The revision the code needs."""
    return ScriptDirectory.from_config(configuration()).get_current_head()
