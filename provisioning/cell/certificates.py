"""TLS of a cell: an authority of its own in development; in production the paths of real certificates."""

import os
import subprocess
from pathlib import Path

from provisioning.cell.errors import CellError
from provisioning.cell.layout import Cell, make_folder

_YEAR_DAYS = 365
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")


def ensure_certificates(cell: Cell) -> None:
    """Make what is missing or ends within a month. Certificates given by path are only looked at."""
    if cell.certificate is not None:
        for path in (cell.certificate_file, cell.key_file, cell.ca_file):
            if not path.is_file():
                raise CellError(f"{path} is missing: give --certificate, --key and --ca the paths of files")
        return
    authority, key = cell.ca_file, cell.authority / "ca.key"
    make_folder(cell.authority, cell.account, mode=0o755)
    if not _lasts(authority):
        subject = "/O=Postfachwerk/CN=Postfachwerk development CA"
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _openssl(
            cell, "req", "-x509", *_KEY, "-keyout", key, "-out", authority, "-days", str(10 * _YEAR_DAYS),
            "-subj", subject, *usage,
        )  # fmt: skip
        authority.chmod(0o644)
        cell.certificate_file.unlink(missing_ok=True)
    if not _lasts(cell.certificate_file):
        names = f"subjectAltName=DNS:{cell.host},DNS:*.{cell.host},IP:{cell.address}"
        _openssl(
            cell, "req", "-x509", *_KEY, "-CA", authority, "-CAkey", key, "-keyout", cell.key_file,
            "-out", cell.certificate_file, "-days", str(_YEAR_DAYS), "-subj", f"/CN={cell.host}", "-addext", names,
            "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth,clientAuth",
        )  # fmt: skip


def _lasts(certificate: Path) -> bool:
    month_seconds = 30 * 24 * 3600
    command = ("openssl", "x509", "-in", certificate, "-checkend", str(month_seconds), "-noout")
    return certificate.exists() and subprocess.run(command, check=False, capture_output=True).returncode == 0


def _openssl(cell: Cell, *arguments: str | Path) -> None:
    # As the account, so that keys are its own from the first byte on.
    uid, gid = (cell.account.uid, cell.account.gid) if os.geteuid() == 0 else (None, None)
    done = subprocess.run(
        ("openssl", *arguments), check=False, capture_output=True, text=True, user=uid, group=gid,
        extra_groups=None if uid is None else [], umask=0o077, cwd="/",
    )  # fmt: skip
    if done.returncode:
        raise CellError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
