"""The embedded PostgreSQL: how it starts, is shared, and is stopped."""

import os
import signal
import socket
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from provisioning.core import embedded
from provisioning.core.embedded import EmbeddedPostgres, EmbeddedPostgresError, default_directory
from tests.provisioning.embedded.holders import (
    Holder,
    ask,
    is_gone,
    needs_root,
    postmaster,
    sockets,
    started_at,
)


class TestStart:
    def test_the_database_is_there_and_belongs_to_the_superuser(self, home: Path) -> None:
        with EmbeddedPostgres(home / "pg") as server:
            engine = create_engine(server.url("postfachwerk"))
            query = text(
                "SELECT datname, current_user, datdba::regrole::text, pg_encoding_to_char(encoding),"
                " datcollate FROM pg_database WHERE datname = current_database()"
            )
            with engine.connect() as connection:
                seen = tuple(connection.execute(query).one())
            engine.dispose()
        assert seen == ("postfachwerk", "postfachwerk", "postfachwerk", "UTF8", "C")

    def test_it_is_durable_and_closed_to_others(self, pg: Path) -> None:
        durable = dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes", "data_checksums"), "on")
        closed = {"listen_addresses": "", "unix_socket_permissions": "0700"}
        with EmbeddedPostgres(pg) as server, socket.socket() as network:
            url = server.url("postfachwerk")
            assert {name: ask(url, f"SHOW {name}") for name in durable | closed} == durable | closed
            rules = ask(url, "SELECT array_agg(DISTINCT type || ' ' || auth_method) FROM pg_hba_file_rules")
            assert sorted(rules) == ["host reject", "local trust"]
            for directory in (sockets(url), pg / "data"):
                assert directory.stat().st_mode & 0o777 == 0o700
            assert network.connect_ex(("127.0.0.1", 5432)) != 0

    def test_settings_are_handed_down_but_cannot_open_it(self, pg: Path) -> None:
        settings = {"work_mem": "5MB", "cluster_name": "it's $HOME", "listen_addresses": "*"}
        with EmbeddedPostgres(pg, fsync=False, settings=settings) as server:
            url = server.url("postfachwerk")
            assert ask(url, "SHOW work_mem") == "5MB"
            assert ask(url, "SHOW cluster_name") == "it's $HOME"
            assert ask(url, "SHOW fsync") == "off"
            assert not ask(url, "SHOW listen_addresses")

    def test_the_environment_neither_misleads_it_nor_gives_secrets_away(
        self, pg: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        misleading = {"PGPORT": "6000", "PGDATA": "/nonexistent", "PGUSER": "eve", "PGHOST": "eve"}
        for name, value in (misleading | {"POSTFACHWERK_SECRET_KEY": "not to be seen"}).items():
            monkeypatch.setenv(name, value)
        with EmbeddedPostgres(pg, fsync=False) as server:
            assert ask(server.url("postfachwerk"), "SHOW port") == "5432"
            assert b"not to be seen" not in Path(f"/proc/{postmaster(pg)}/environ").read_bytes()

    @pytest.mark.parametrize("name", ["d" * 120, 'it\'s $HOME `x` "y" \\ ü,=&?#%41'], ids=["long", "odd"])
    def test_its_path_may_be_long_or_odd(self, home: Path, name: str) -> None:
        with EmbeddedPostgres(home / name, fsync=False) as server:
            assert ask(server.url("postfachwerk"), "SHOW data_directory") == str(home / name / "data")

    def test_a_temporary_folder_with_too_long_a_name_is_not_used(
        self, pg: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        long = pg.with_name("t" * 100)
        long.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(long))
        with EmbeddedPostgres(pg, fsync=False) as server:
            url = server.url("postfachwerk")
            assert sockets(url).parent == Path("/tmp")  # noqa: S108  # named, not used
        assert not sockets(url).exists()

    def test_every_postgresql_here_will_do(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        places = list(embedded._candidates())
        assert places
        for place in places:
            major = embedded._major(place, None)
            monkeypatch.setattr(embedded, "_candidates", lambda place=place: iter([place]))
            with EmbeddedPostgres(home / f"pg{major}", fsync=False) as server:
                assert ask(server.url("postfachwerk"), "SHOW server_version_num").startswith(str(major))


class TestLog:
    def test_what_is_logged_lasts_a_week_and_no_longer(self, pg: Path) -> None:
        with EmbeddedPostgres(pg, fsync=False) as server:
            with pytest.raises(psycopg.errors.UndefinedTable):
                ask(server.url("postfachwerk"), "SELECT FROM never_made")
            rotation = {"log_rotation_age": "1d", "log_truncate_on_rotation": "on", "log_filename": "server-%a.log"}
            assert {name: ask(server.url("postfachwerk"), f"SHOW {name}") for name in rotation} == rotation
        [today] = (pg / "data/server-logs").iterdir()
        assert "never_made" in today.read_text()
        assert "never_made" not in (pg / "server.log").read_text()
        said = (pg / "server.log").stat().st_size
        old, recent = (today.with_name(f"server-{name}.log") for name in ("Old", "New"))
        for path, days in ((old, 7), (recent, 5)):
            path.write_text("x")
            os.utime(path, times=(time.time() - days * 86400,) * 2)
        with EmbeddedPostgres(pg, fsync=False):
            pass
        assert {path.name for path in (pg / "data/server-logs").iterdir()} >= {recent.name}
        assert not old.exists()
        assert (pg / "server.log").stat().st_size == pytest.approx(said, abs=200)

    def test_a_refusal_ends_with_what_the_server_said_last(self, pg: Path) -> None:
        (pg / "data/pg_hba.conf").write_text("nonsense\n")
        with pytest.raises(EmbeddedPostgresError, match=r"(?s)mend what its log says.*could not load .*pg_hba.conf"):
            EmbeddedPostgres(pg, fsync=False).start()


class TestHolders:
    def test_the_last_one_to_stop_ends_it(self, pg: Path) -> None:
        first, second = EmbeddedPostgres(pg, fsync=False), EmbeddedPostgres(pg, fsync=False)
        url = first.start()
        assert second.start() == url
        first.stop()
        first.stop()
        assert ask(url, "SELECT 1") == 1
        second.stop()
        assert is_gone(url)

    def test_started_twice_by_one_it_is_one_server_and_stopped_once(self, pg: Path) -> None:
        with EmbeddedPostgres(pg, fsync=False) as server:
            url = server.url("postfachwerk")
            before = started_at(url)
            assert server.start() == url
            assert started_at(url) == before
        assert is_gone(url)

    def test_one_that_forgets_to_stop_holds_it_until_its_process_ends(self, pg: Path) -> None:
        url = EmbeddedPostgres(pg, fsync=False).start()
        with EmbeddedPostgres(pg, fsync=False):
            pass
        assert ask(url, "SELECT 1") == 1

    def test_four_processes_at_once_get_one_server(self, home: Path, user: str | None) -> None:
        with ExitStack() as stack:
            holders = [stack.enter_context(Holder(home / "pg", user=user)) for _ in range(4)]
            urls = {holder.url() for holder in holders}
            url = urls.pop()
            assert not urls
            before = started_at(url)
            for holder in holders[:3]:
                holder.stop()
            assert started_at(url) == before
            holders[3].stop()
            assert is_gone(url)

    def test_a_holder_with_another_temporary_folder_finds_it(self, pg: Path) -> None:
        other = pg.with_name("other")
        other.mkdir()
        with Holder(pg, TMPDIR=str(other)) as holder:
            url = holder.url()
            assert sockets(url).parent == other
            with EmbeddedPostgres(pg, fsync=False) as server:
                assert server.url("postfachwerk") == url
                holder.stop()
                assert ask(url, "SELECT 1") == 1
        assert is_gone(url)

    @needs_root
    def test_root_joins_a_users_server_and_leaves_it_to_the_user(self, home: Path) -> None:
        with Holder(home / "pg", user="nobody") as holder:
            url = holder.url()
            with EmbeddedPostgres(home / "pg", fsync=False) as server:
                assert server.url("postfachwerk") == url
                holder.stop()
                os.kill(postmaster(home / "pg"), signal.SIGKILL)
                server.start()
        with Holder(home / "pg", user="nobody") as holder:
            assert holder.url() == url
            holder.stop()
        assert is_gone(url)


class TestDefaultDirectory:
    def test_it_is_in_the_users_state(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(home))
        for named, state in (
            ("", home / ".local/state"),
            ("no/root", home / ".local/state"),
            (f"{home}/x", home / "x"),
        ):
            monkeypatch.setenv("XDG_STATE_HOME", named)
            assert default_directory() == state / "postfachwerk" / "postgresql"

    @pytest.mark.parametrize("place", ["/proc/1", "/proc/version"])
    def test_without_a_writable_home_it_is_the_users_own_in_the_temporary_folder(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, place: str
    ) -> None:
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        monkeypatch.setenv("HOME", place)
        assert default_directory() == home / f"postfachwerk-{os.geteuid()}"
