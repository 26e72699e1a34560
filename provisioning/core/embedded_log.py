"""What the embedded PostgreSQL says, in places that do not grow for ever.

`server.log` has what its programs say and the server's first words, and begins anew with every start. From there on the
server's own collector has a file for each day of the week in `data/server-logs`, begun anew when that day comes round.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS_LOG = "server.log"
SETTINGS = {
    "logging_collector": "on",
    "log_directory": "server-logs",
    "log_filename": "server-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
}
_LAST_WEEK_SECONDS = 6 * 86400.0
_SHOWN = 15


def forget_last_week(directory: Path) -> None:
    """Before the server starts: the collector itself only clears a file that it changes to while it runs."""
    for path in _of_days(directory):
        if path.lstat().st_mtime < time.time() - _LAST_WEEK_SECONDS:
            path.unlink()


def last_lines(directory: Path) -> Iterator[str]:
    """The end of what the programs said and of today's file, whichever is newer last."""
    days = sorted(_of_days(directory), key=lambda path: path.stat().st_mtime)
    logs = [path for path in (directory / PROGRAMS_LOG, *days[-1:]) if os.access(path, os.R_OK)]
    for path in sorted(logs, key=lambda path: path.stat().st_mtime):
        yield from path.read_text(errors="replace").splitlines()[-_SHOWN:]


def _of_days(directory: Path) -> Iterator[Path]:
    return (directory / "data" / "server-logs").glob("server-*.log")
