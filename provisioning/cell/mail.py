"""Postfix in a cell: where root starts it, since its master runs as nobody else.

Its configuration lies beside the cell and belongs to root: whoever could write to it would be root. What it
shares with the daemons of the cell are sockets in a directory that only its own group enters.
"""

import grp
import os
import pwd
import shutil
import stat
import subprocess
from functools import partial
from pathlib import Path

from provisioning.cell.daemons import digest, render
from provisioning.cell.errors import CellError
from provisioning.cell.layout import Account, Cell, make_folder, write
from provisioning.cell.packages import program
from provisioning.cell.processes import Daemon, greets

_MASTER = Path("/usr/lib/postfix/sbin/master")
_ROOT = Account("root", 0, 0)
_DYNAMIC_MAPS = Path("/etc/postfix")
# Each asks a function of schema.sql, so that Postfix reads no table.
_MAPS = {
    "domains": "SELECT directory.mail_domain('%s')",
    "recipients": "SELECT directory.mail_recipient('%s')",
    "transport": "SELECT directory.mail_transport('%s')",
    "senders": "SELECT * FROM directory.mail_senders('%s')",
}


def why_not(cell: Cell) -> str | None:
    """Why this cell can have no Postfix; None when it can. Without it mail is kept and read, but not sent."""
    if os.geteuid() != 0:
        return "Postfix runs only where root starts it"
    if program("postfix") is None or not _MASTER.exists():
        return "Postfix is not installed"
    above = cell.root.parent.stat()
    if above.st_uid != 0 or above.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{cell.root.parent} must be root's own, or Postfix's configuration could be exchanged there"
    return None


def prepare_sockets(cell: Cell) -> None:
    """The directory where Dovecot and the agent listen for Postfix, entered by its group only."""
    make_folder(cell.sockets, cell.account, group=grp.getgrnam("postfix").gr_gid, mode=0o710)


def postfix(cell: Cell, *, relay: str) -> Daemon:
    """`relay` is where mail to other domains goes, as [host]:port; to whom their DNS names when empty."""
    place = cell.root.parent / "postfix" / cell.name
    etc = place / "etc"
    group = Account("postfix", 0, grp.getgrnam("postfix").gr_gid)
    etc.mkdir(parents=True, exist_ok=True)
    for name, owner in (("queue", "root"), ("data", "postfix")):
        (place / name).mkdir(exist_ok=True)
        os.chown(place / name, pwd.getpwnam(owner).pw_uid, 0)
    for path in (place.parent, place, etc, place / "queue", place / "data"):
        path.chmod(0o755)
    # A copy of its own: Postfix looks askance at a key that is not root's.
    write(place / "key.pem", cell.key_file.read_text(), _ROOT)
    values = {"cell": cell, "place": place, "sockets": cell.sockets, "relay": relay, "key": place / "key.pem"}
    texts = {
        "main.cf": render("postfix/main.cf.j2", **values),
        "master.cf": render("postfix/master.cf.j2", **values, fingerprint=_fingerprint(cell)),
        **{f"{name}.cf": render("postfix/map.cf.j2", cell=cell, query=query) for name, query in _MAPS.items()},
    }
    for name, text in texts.items():
        if name in {"main.cf", "master.cf"}:
            write(etc / name, text, _ROOT, mode=0o644)
        else:
            write(etc / name, text, group, mode=0o640)
    shutil.copy(_DYNAMIC_MAPS / "dynamicmaps.cf", etc)
    shutil.copytree(_DYNAMIC_MAPS / "dynamicmaps.cf.d", etc / "dynamicmaps.cf.d", dirs_exist_ok=True)
    _check(etc)
    return Daemon(
        name="postfix",
        command=(str(_MASTER), "-c", str(etc), "-s"),
        ready=partial(_receives, cell),
        digest=digest(*texts.values(), cell.certificate_file.read_text()),
        environment=(("MAIL_CONFIG", str(etc)),),
        as_root=True,
    )


def _receives(cell: Cell) -> bool:
    return greets(cell.address, cell.ports.smtp) and greets(cell.address, cell.ports.submissions, cell.trust())


def _check(etc: Path) -> None:
    """Make what is missing of the queue's directories, and say what is wrong."""
    done = subprocess.run(("postfix", "-c", etc, "check"), check=False, capture_output=True, text=True, cwd="/")
    if done.returncode:
        raise CellError(f"postfix check: {(done.stderr or done.stdout).strip()}")


def _fingerprint(cell: Cell) -> str:
    command = ("openssl", "x509", "-in", cell.certificate_file, "-noout", "-fingerprint", "-sha256")
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip().partition("=")[2]
