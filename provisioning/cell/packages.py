"""What must be installed before a cell can run, and the hole in Debian's SOGo that must be closed."""

import shutil
import subprocess
from importlib import resources
from pathlib import Path

from provisioning.cell.errors import CellError

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS = ("dovecot", "doveadm", "sogod", "sogo-tool", "memcached", "nginx", "openssl")
_REPORTS = Path("/usr/lib/GNUstep/Frameworks/SOGo.framework/Resources/DAVReportMap.plist")
_SETTINGS = Path("/etc/sogo/sogo.conf")
_INSTALL = "as root: postfachwerk cell install"


def missing_packages() -> list[str]:
    """What is not there, in words; empty when a cell can be started."""
    missing = [f"{name} is not installed" for name in _PROGRAMS if program(name) is None]
    if not missing and not Path("/usr/lib/GNUstep/SOGo/ActiveSync.SOGo").exists():
        missing.append("sogo-activesync is not installed")
    return missing


def require_packages() -> None:
    """Raises CellError when something is missing, or when SOGo would let a reader grant himself more."""
    if missing := missing_packages():
        raise CellError(f"{', '.join(missing)}: {_INSTALL}")
    fault = hole_in_groupware(_REPORTS)
    if fault is not None:
        raise CellError(f"{fault}: {_INSTALL}")
    try:
        readable = _SETTINGS.read_text().split() == ["{", "}"] if _SETTINGS.exists() else True
    except PermissionError:
        readable = False
    if not readable:
        raise CellError(f"{_SETTINGS} must be empty and readable, or sogod aborts or mixes it in: {_INSTALL}")


def hole_in_groupware(reports: Path = _REPORTS) -> str | None:
    """Why sogod must not be started for customers; None when the way to grant oneself rights is shut."""
    try:
        text = reports.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"whether SOGo's acl-query is shut cannot be seen: {error}"
    return f"{reports} offers acl-query, by which readers grant themselves more" if "acl-query" in text else None


def install() -> None:
    """Run packages.sh, which says what it does. Raises CellError."""
    script = resources.files("provisioning.cell").joinpath("packages.sh")
    with resources.as_file(script) as path:
        if subprocess.run(("sh", path), check=False, stdin=subprocess.DEVNULL).returncode:
            raise CellError("the packages could not be installed")


def program(name: str) -> str | None:
    return shutil.which(name, path=_PATH)
