"""The daemons of a cell, each with its configuration written from a template."""

import grp
import hashlib
import os
import re
import signal
import sys
from functools import partial
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from provisioning.cell.database import binaries as postgresql_binaries
from provisioning.cell.database import data_directory
from provisioning.cell.database import serves as postgresql_serves
from provisioning.cell.errors import CellError
from provisioning.cell.layout import Cell, write
from provisioning.cell.packages import hole_in_groupware, program
from provisioning.cell.processes import Daemon, answers_http, greets

STANDARD_FOLDERS = (("Drafts", "Drafts"), ("Sent", "Sent"), ("Trash", "Trash"), ("Junk", "Junk"))
_TABLES = {
    "SOGoProfileURL": "sogo_user_profile",
    "OCSFolderInfoURL": "sogo_folder_info",
    "OCSSessionsFolderURL": "sogo_sessions_folder",
    "OCSEMailAlarmsFolderURL": "sogo_alarms_folder",
    "OCSStoreURL": "sogo_store",
    "OCSAclURL": "sogo_acl",
    "OCSCacheFolderURL": "sogo_cache_folder",
}
_GNUSTEP = Path("/etc/GNUstep/GNUstep.conf")
_WORKERS = 4


def postgresql(cell: Cell, *, durable: bool) -> Daemon:
    data = data_directory(cell)
    settings = render("postgresql.conf.j2", cell=cell, durable=durable)
    write(data / "postgresql.conf", settings, cell.account)
    write(data / "pg_hba.conf", "host all all samehost scram-sha-256\n", cell.account)
    return Daemon(
        name="postgresql",
        command=(str(postgresql_binaries(cell) / "postgres"), "-D", str(data)),
        ready=partial(postgresql_serves, cell),
        digest=digest(settings),
        stop_signal=signal.SIGINT,
        grace_seconds=30,
        directory=data,
    )


def memcached(cell: Cell) -> Daemon:
    """On a socket in a directory of the account's own: it keeps sessions and asks for no password."""
    socket = cell.run / "memcached.sock"
    return Daemon(
        name="memcached",
        command=(_program("memcached"), "-s", str(socket), "-a", "0700", "-m", "32"),
        ready=socket.exists,
        digest=digest(str(socket)),
    )


def dovecot(cell: Cell, *, postfix: bool) -> Daemon:
    texts = {
        name: render(
            f"{name}.j2",
            cell=cell,
            group=grp.getgrgid(cell.account.gid).gr_name,
            peer=cell.peer_file.read_text().strip(),
            postfix=postfix,
            standard_folders=STANDARD_FOLDERS,
        )
        for name in ("dovecot.conf", "dovecot-sql.conf", "dovecot-dict.conf")
    }
    for name, text in texts.items():
        write(cell.etc / name, text, cell.account)
    return Daemon(
        name="dovecot",
        command=(_program("dovecot"), "-F", "-c", str(cell.etc / "dovecot.conf")),
        ready=partial(greets, cell.address, cell.ports.imaps, cell.trust()),
        digest=digest(*texts.values(), cell.certificate_file.read_text()),
    )


def groupware(cell: Cell) -> Daemon:
    """sogod. Refused while somebody who may read a folder could grant himself more by it."""
    if fault := hole_in_groupware():
        raise CellError(f"{fault}: postfachwerk cell install")
    database = cell.database("groupware", cell.secrets.groupware)
    settings = render("sogod.plist.j2", cell=cell, workers=_WORKERS, tables=_TABLES.items(), database=database)
    write(cell.etc / "sogod.plist", settings, cell.account)
    # GNUstep asks neither HOME nor an option: a copy of its own settings is the only way in.
    line = f"GNUSTEP_USER_DEFAULTS_DIR={cell.etc}"
    gnustep = re.sub(r"^GNUSTEP_USER_DEFAULTS_DIR=.*$", line, _GNUSTEP.read_text(), flags=re.MULTILINE)
    write(cell.etc / "GNUstep.conf", gnustep, cell.account)
    return Daemon(
        name="groupware",
        command=(_program("sogod"),),
        ready=partial(answers_http, f"http://{cell.address}:{cell.ports.groupware}/SOGo/dav/"),
        digest=digest(settings, gnustep),
        environment=(("GNUSTEP_CONFIG_FILE", str(cell.etc / "GNUstep.conf")),),
        # It keeps nothing, and takes up to half a minute to end by itself.
        grace_seconds=1,
    )


def gateway(cell: Cell) -> Daemon:
    settings = render("nginx.conf.j2", cell=cell)
    write(cell.etc / "nginx.conf", settings, cell.account)
    log = cell.log / "nginx.log"
    return Daemon(
        name="gateway",
        command=(_program("nginx"), "-c", str(cell.etc / "nginx.conf"), "-e", str(log)),
        ready=partial(answers_http, f"https://{cell.address}:{cell.ports.https}/.well-known/caldav", cell.trust()),
        digest=digest(settings, cell.certificate_file.read_text()),
        grace_seconds=3,
    )


def agent(cell: Cell) -> Daemon:
    """As root it is started as root, since the interpreter may lie in /root, and gives root up before it listens."""
    source = Path(__file__).parents[2]
    return Daemon(
        name="agent",
        command=(sys.executable, "-m", "provisioning.cell.agent", str(cell.root)),
        ready=partial(answers_http, f"https://{cell.address}:{cell.ports.agent}/v1/status", cell.trust()),
        # A new version of the service is a new agent.
        digest=digest(cell.certificate_file.read_text(), cell.token_file.read_text(), *_code()),
        environment=(("PYTHONPATH", str(source)), ("PYTHONDONTWRITEBYTECODE", "1")),
        as_root=os.geteuid() == 0,
    )


def _code() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]


def render(template: str, **values: object) -> str:
    """A file of templates/, filled in."""
    environment = Environment(
        loader=PackageLoader("provisioning.cell"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (none of them is a page, and no value comes from outside)
    )
    return environment.get_template(template).render(**values)


def _program(name: str) -> str:
    found = program(name)
    if found is None:
        raise CellError(f"{name} is not installed: postfachwerk cell install")
    return found


def digest(*texts: str) -> str:
    """Tells one configuration from another."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
