"""The cell's PostgreSQL: made by initdb, filled by schema.sql and groupware.sql."""

import os
import subprocess
from contextlib import suppress
from importlib import resources
from pathlib import Path

import psycopg
from psycopg import sql

from provisioning.cell.errors import CellError
from provisioning.cell.layout import Cell, held, write

_OLDEST_MAJOR = 15


def data_directory(cell: Cell) -> Path:
    return cell.root / "postgresql"


def binaries(cell: Cell) -> Path:
    """Where the programs are that can read the data, else the newest."""
    version = data_directory(cell) / "PG_VERSION"
    wanted = int(version.read_text()) if version.exists() else 0
    found = {
        int(path.parent.parent.name): path.parent for path in Path("/usr/lib/postgresql").glob("[0-9]*/bin/initdb")
    }
    fitting = [major for major in found if major >= _OLDEST_MAJOR and wanted in {0, major}]
    if not fitting:
        raise CellError(
            f"PostgreSQL {wanted or _OLDEST_MAJOR} is missing: apt install postgresql-{wanted or _OLDEST_MAJOR}"
        )
    return found[max(fitting)]


def initialise(cell: Cell) -> None:
    """Make the data directory. Only a finished initdb gets its name: one that was killed is done again."""
    data = data_directory(cell)
    unfinished = data.with_name("postgresql.unfinished")
    if not data.exists():
        _call(cell, "rm", "-rf", str(unfinished))
        password = cell.run / "initdb.password"
        write(password, cell.secrets.owner, cell.account)
        _call(
            cell, str(binaries(cell) / "initdb"), f"--pgdata={unfinished}", "--username=cell", f"--pwfile={password}",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions", "--no-sync",
        )  # fmt: skip
        with held(cell.root) as folder:
            os.rename(unfinished.name, data.name, src_dir_fd=folder, dst_dir_fd=folder)
        with held(cell.run) as folder:
            os.unlink(password.name, dir_fd=folder)


def prepare(cell: Cell) -> None:
    """Roles, database and schema; may be done again."""
    where = _owner(cell)
    with psycopg.connect(where, dbname="postgres", autocommit=True) as connection:
        passwords = {each: getattr(cell.secrets, each) for each in ("groupware", "dovecot", "postfix")}
        for role, password in passwords.items():
            name = sql.Identifier(role)
            if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).rowcount:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
            # The server gets to see, and may log, only what the password becomes.
            hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(hashed)))
        if not connection.execute("SELECT FROM pg_database WHERE datname = 'cell'").rowcount:
            connection.execute("CREATE DATABASE cell")
    with psycopg.connect(where, dbname="cell") as connection:
        connection.execute("SET client_min_messages = warning")
        for file in ("schema.sql", "groupware.sql"):
            script = resources.files("provisioning.cell").joinpath(file).read_text(encoding="utf-8")
            connection.execute(script.replace("@groupware_mail@", str(cell.ports.groupware_mail)).encode())


def serves(cell: Cell) -> bool:
    """Whether it takes connections. A wrong password or the like comes through as psycopg.OperationalError."""
    try:
        psycopg.connect(_owner(cell), dbname="postgres", connect_timeout=5).close()
    except psycopg.OperationalError as error:
        if "FATAL" in str(error) and "the database system is" not in str(error):
            raise
        return False
    return True


def clear_traces(cell: Cell) -> None:
    """What a killed server left behind: its process id may be another's now, which it would believe."""
    with held(data_directory(cell)) as folder, suppress(FileNotFoundError):
        os.unlink("postmaster.pid", dir_fd=folder)


def _owner(cell: Cell) -> str:
    address, port = cell.address, cell.ports.postgresql
    return psycopg.conninfo.make_conninfo(host=address, port=port, user="cell", password=cell.secrets.owner)


def _call(cell: Cell, *command: str) -> None:
    uid, gid = (cell.account.uid, cell.account.gid) if os.geteuid() == 0 else (None, None)
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd="/", user=uid, group=gid,
        extra_groups=None if uid is None else [], env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
    )  # fmt: skip
    if done.returncode:
        raise CellError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")
