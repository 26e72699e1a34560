"""Where everything of one cell lies: directory, account, address, ports and secrets."""

import fcntl
import hashlib
import json
import os
import pwd
import re
import secrets as randomness
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from provisioning.cell.errors import CellError

ACCOUNT = "postfachwerk-cell"
SYSTEM_DIRECTORY = Path("/var/lib/postfachwerk/cells")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Ports:
    """The same in every cell, since every cell has an address of its own; above 1023, which takes no root."""

    imaps: int = 10993
    pop3s: int = 10995
    submission: int = 10587
    submissions: int = 10465
    sieve: int = 14190
    https: int = 10443
    smtp: int = 10025
    agent: int = 18443
    dsync: int = 10081
    doveadm: int = 10080
    groupware_mail: int = 10994
    relay: int = 10026
    groupware: int = 20000
    postgresql: int = 15432


@dataclass(frozen=True, slots=True)
class Secrets:
    """Made once per cell, kept in a file of mode 0600 and never on a command line."""

    owner: str = field(repr=False)
    groupware: str = field(repr=False)
    dovecot: str = field(repr=False)
    postfix: str = field(repr=False)
    doveadm: str = field(repr=False)
    cookies: str = field(repr=False)
    agent: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate from outside for the name `host`; `ca` is what clients know it by."""

    certificate: Path
    private_key: Path
    ca: Path
    host: str


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the daemons run as: never root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Cell:
    """One data centre on this machine. `host` is the name it announces itself by and has a certificate for."""

    name: str
    root: Path
    address: str
    account: Account
    secrets: Secrets
    host: str
    ports: Ports = field(default_factory=Ports)
    certificate: Path | None = None
    private_key: Path | None = None
    ca: Path | None = None

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def mail(self) -> Path:
        return self.root / "mail"

    @property
    def sockets(self) -> Path:
        """Where Dovecot and the agent listen for Postfix."""
        return self.root / "sockets"

    @property
    def authority(self) -> Path:
        """Of the development CA, which all cells of one directory share."""
        return self.root.parent / "ca"

    @property
    def certificate_file(self) -> Path:
        return self.certificate or self.etc / "cell.crt"

    @property
    def key_file(self) -> Path:
        return self.private_key or self.etc / "cell.key"

    @property
    def ca_file(self) -> Path:
        """What clients check the cell's certificate against."""
        return self.ca or self.authority / "ca.crt"

    @property
    def token_file(self) -> Path:
        """The bearer token of the agent, for the control plane."""
        return self.root / "agent.token"

    @property
    def peer_file(self) -> Path:
        """The password with which cells send each other mailboxes; the same in all cells of one operator."""
        return self.root.parent / "peer.key"

    @property
    def agent_url(self) -> str:
        return f"https://{self.host if self.certificate else self.address}:{self.ports.agent}"

    def trust(self) -> ssl.SSLContext:
        """For talking to its own daemons by address, which a certificate from outside does not name."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        context.check_hostname = self.certificate is None
        return context

    def database(self, role: str, password: str) -> str:
        return f"postgresql://{role}:{password}@{self.address}:{self.ports.postgresql}/cell"


@dataclass(frozen=True, slots=True)
class Peer:
    """Another cell as this one reaches it: copies of mailboxes and mail, each at host:port."""

    dsync: str
    smtp: str


def find_peer(cell: Cell, name: str) -> Peer | None:
    """A cell of the same directory, or one that peers.json there names: {"fi-hel-1": {"dsync": ..., "smtp": ...}}."""
    directory = cell.root.parent
    with suppress(FileNotFoundError):
        if entry := json.loads((directory / "peers.json").read_text()).get(name):
            return Peer(dsync=entry["dsync"], smtp=entry["smtp"])
    if not _NAME.fullmatch(name):
        return None
    try:
        facts = json.loads((directory / name / "cell.json").read_text())
    except FileNotFoundError:
        return None
    ports = Ports(**facts["ports"])
    return Peer(dsync=f"{facts['address']}:{ports.dsync}", smtp=f"{facts['address']}:{ports.smtp}")


def write_registry(cell: Cell) -> Path:
    """Enter the cell in cells.json of its directory, which POSTFACHWERK_CELLS names to the control plane."""
    path = cell.root.parent / "cells.json"
    cells = json.loads(path.read_text()).get("cells", {}) if path.exists() else {}
    cells[cell.name] = {"url": cell.agent_url, "token": cell.secrets.agent, "ca_file": str(cell.ca_file)}
    # The directory's owner runs the control plane, too: for root that is root.
    owner = Account("root", 0, 0) if os.geteuid() == 0 else cell.account
    write(path, json.dumps({"cells": cells}, indent=2), owner)
    return path


def default_directory(state_directory: Path) -> Path:
    """Beside the embedded PostgreSQL; for root where the cell's account can enter."""
    return SYSTEM_DIRECTORY if os.geteuid() == 0 else state_directory.parent / "cells"


def cells_in(directory: Path) -> list[str]:
    return sorted(path.parent.name for path in directory.glob("*/cell.json"))


def open_cell(directory: Path, name: str) -> Cell:
    """A cell that has been made; raises CellError when there is none of this name."""
    root = directory.resolve() / name
    try:
        facts = json.loads((root / "cell.json").read_text())
        secret = json.loads((root / "secrets.json").read_text())
    except FileNotFoundError:
        raise CellError(f"there is no cell {name} in {directory}: postfachwerk cell up {name}") from None
    except PermissionError:
        raise CellError(f"{root} belongs to another user: ask as root or as that user") from None
    owner = (root / "secrets.json").stat()
    paths = {key: Path(facts[key]) for key in ("certificate", "private_key", "ca") if facts.get(key)}
    return Cell(
        name=name,
        root=root,
        address=facts["address"],
        account=Account(pwd.getpwuid(owner.st_uid).pw_name, owner.st_uid, owner.st_gid),
        secrets=Secrets(**secret),
        host=facts.get("host") or f"{name}.cell.internal",
        ports=Ports(**facts["ports"]),
        **paths,
    )


def make_cell(directory: Path, name: str, *, address: str | None = None, tls: Tls | None = None) -> Cell:
    """The cell of this name, made when there is none."""
    if not _NAME.fullmatch(name):
        raise CellError(f"{name!r} is no name for a cell: letters, digits and hyphens, as in de-fra-1")
    root = directory.resolve() / name
    account = _account()
    _claim(root, account)
    if not (root / "secrets.json").exists():
        made = {each.name: randomness.token_hex(24) for each in fields(Secrets)}
        write(root / "secrets.json", json.dumps(made), account)
    facts = {"address": address or _loopback(root), "ports": asdict(Ports())}
    if (root / "cell.json").exists():
        known = json.loads((root / "cell.json").read_text())
        facts = {**facts, **known, **({"address": address} if address else {})}
    if tls is not None:
        facts |= {key: str(value) for key, value in asdict(tls).items()}
    write(root / "cell.json", json.dumps(facts, indent=2), account)
    if not (root.parent / "peer.key").exists():
        write(root.parent / "peer.key", randomness.token_hex(24), account)
    cell = open_cell(directory, name)
    write(cell.token_file, cell.secrets.agent, account)
    for part in (cell.etc, cell.run, cell.log, cell.mail):
        make_folder(part, account)
    return cell


def write(path: Path, content: str, account: Account, *, mode: int = 0o600) -> None:
    """Replace a file in one step, readable by its account only unless `mode` says otherwise."""
    unfinished = path.name + ".unfinished"
    with held(path.parent) as folder:
        with suppress(FileNotFoundError):
            os.unlink(unfinished, dir_fd=folder)
        with os.fdopen(open_new(unfinished, folder, os.O_EXCL, mode), "w", encoding="utf-8") as opened:
            os.fchmod(opened.fileno(), mode)
            os.fchown(opened.fileno(), account.uid, account.gid)
            opened.write(content)
        os.rename(unfinished, path.name, src_dir_fd=folder, dst_dir_fd=folder)


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """A directory opened without following any link: root works where an account may exchange what has a name."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
    file = os.open("/", flags)
    try:
        for part in folder.parts[1:]:
            inner = os.open(part, flags, dir_fd=file)
            os.close(file)
            file = inner
        yield file
    finally:
        os.close(file)


def open_new(name: str, folder: int, flags: int, mode: int) -> int:
    """A file in a held directory, for writing, made when missing."""
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | flags, mode, dir_fd=folder)


def make_folder(path: Path, account: Account, *, group: int | None = None, mode: int = 0o700) -> None:
    """A directory of the account's own, made when missing."""
    with held(path.parent) as above:
        with suppress(FileExistsError):
            os.mkdir(path.name, mode, dir_fd=above)
        folder = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    try:
        os.fchown(folder, account.uid, account.gid if group is None else group)
        os.fchmod(folder, mode)
    finally:
        os.close(folder)


@contextmanager
def alone(cell: Cell) -> Iterator[None]:
    """Nobody else starts or stops this cell meanwhile."""
    with (cell.root / "transition.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _account() -> Account:
    if os.geteuid() != 0:
        own = pwd.getpwuid(os.geteuid())
        return Account(own.pw_name, own.pw_uid, own.pw_gid)
    try:
        found = pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise CellError(f"a cell's daemons refuse root: `postfachwerk cell install` makes {ACCOUNT} for them") from None
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def _claim(root: Path, account: Account) -> None:
    """Make the cell's directory, or see that it is the account's own."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CellError(f"{error}: name another place by --directory") from error
    if os.geteuid() == 0 and not any(root.iterdir()):
        os.chown(root, account.uid, account.gid)
    if root.stat().st_uid != account.uid:
        raise CellError(f"{root} does not belong to {account.name}: name another place by --directory")
    # Postfix, which has accounts of its own, passes through to the socket of LMTP; nothing else can be seen.
    root.chmod(0o711)
    closed = [path for path in root.parents if not _can_pass(path, account)]
    if closed:
        raise CellError(f"{account.name} cannot enter {closed[-1]}: name another place by --directory")


def _can_pass(path: Path, account: Account) -> bool:
    seen = path.stat()
    bit = 0o100 if seen.st_uid == account.uid else 0o010 if seen.st_gid == account.gid else 0o001
    return bool(seen.st_mode & bit)


def _loopback(root: Path) -> str:
    """An address of the machine itself, one for each directory, so that cells do not meet."""
    known = {"de-fra-1": "127.0.0.11", "fi-hel-1": "127.0.0.12"}
    if root.parent == SYSTEM_DIRECTORY and root.name in known:
        return known[root.name]
    digest = hashlib.sha256(os.fsencode(root)).digest()
    return f"127.{64 + digest[0] % 64}.{digest[1]}.{1 + digest[2] % 254}"
