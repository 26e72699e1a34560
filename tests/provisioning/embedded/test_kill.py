"""The embedded PostgreSQL: what a kill -9 of the server or of a holder leaves behind."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from provisioning.core.embedded import EmbeddedPostgres
from tests.provisioning.embedded.holders import (
    IS_ROOT,
    SOCKET,
    Holder,
    ask,
    connected,
    is_gone,
    postmaster,
    processes_under,
    sockets,
    started_at,
)
from tests.waiting import until


class TestKill:
    def test_of_the_server_loses_no_committed_row(self, pg: Path, user: str | None) -> None:
        with Holder(pg, user=user) as holder, ExitStack() as later:
            url = holder.url()
            with connected(url) as connection:
                connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
                os.kill(postmaster(pg), signal.SIGKILL)
            again = later.enter_context(Holder(pg, user=user))
            assert again.url() == url
            assert ask(url, "SELECT count(*) FROM kept") == 1000
            holder.stop()
            assert ask(url, "SELECT count(*) FROM kept") == 1000
            again.stop()
            assert is_gone(url)

    def test_of_the_server_is_mended_by_its_holder_once_orphaned_queries_end(self, pg: Path) -> None:
        with EmbeddedPostgres(pg, fsync=False) as server:
            url = server.url("postfachwerk")
            long = "SELECT count(*) FROM generate_series(1, 5000000)"
            code = "import psycopg, sys; psycopg.connect(sys.argv[1]).execute(sys.argv[2])"
            command = [sys.executable, "-c", code, url.replace("+psycopg", ""), long]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL):
                running = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%(1, 5000000)'"
                until(lambda: ask(url, running))
                orphan = ask(url, running)
                os.kill(postmaster(pg), signal.SIGKILL)
                assert orphan in processes_under(pg)
                assert server.start() == url
                assert orphan not in processes_under(pg)
                assert ask(url, "SELECT 1") == 1
        assert is_gone(url)

    def test_of_the_process_that_started_it_leaves_it_to_the_next(self, pg: Path, user: str | None) -> None:
        with Holder(pg, user=user) as holder:
            url = holder.url()
            before = started_at(url)
            holder.kill()
            assert started_at(url) == before
        with Holder(pg, user=user) as holder:
            assert holder.url() == url
            assert started_at(url) == before
            holder.stop()
        assert is_gone(url)

    def test_amid_initdb_is_made_good(self, home: Path, user: str | None) -> None:
        with Holder(home / "pg", user=user) as holder:
            until((home / "pg" / "data.unfinished" / "base").exists)
            holder.kill()
        assert not (home / "pg" / "data").exists()
        with Holder(home / "pg", user=user) as holder:
            url = holder.url()
            assert ask(url, "SELECT 1") == 1
            assert not (home / "pg" / "data.unfinished").exists()
            holder.stop()
        assert is_gone(url)

    def test_of_server_and_holder_amid_the_start_is_made_good(self, pg: Path) -> None:
        with Holder(pg) as holder:
            until((pg / "data" / "postmaster.pid").exists)
            holder.kill()
            for process in processes_under(pg):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        with EmbeddedPostgres(pg, fsync=False) as server:
            url = server.url("postfachwerk")
            assert ask(url, "SELECT 1") == 1
        assert is_gone(url)

    @pytest.mark.parametrize("said", ["{alive}\n", ""], ids=["of a living process", "half written"])
    def test_leaves_a_process_id_that_does_not_count(self, pg: Path, said: str) -> None:
        server = EmbeddedPostgres(pg, fsync=False)
        url = server.start()
        os.kill(postmaster(pg), signal.SIGKILL)
        with subprocess.Popen(["sleep", "60"], user=(pg / "data").stat().st_uid if IS_ROOT else None) as other:
            for file in (pg / "data" / "postmaster.pid", sockets(url) / f"{SOCKET}.lock"):
                lines = file.read_text().splitlines(keepends=True)[1:]
                file.write_text("".join([said.format(alive=other.pid), *lines]) if said else "")
            assert ask(server.start(), "SELECT 1") == 1
            other.kill()
        server.stop()
        assert is_gone(url)
