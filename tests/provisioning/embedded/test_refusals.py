"""The embedded PostgreSQL: what it refuses, and what root may not break."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from provisioning.core import embedded
from provisioning.core.embedded import EmbeddedPostgres, EmbeddedPostgresError
from tests.provisioning.embedded.holders import (
    Holder,
    ask,
    connected,
    identity,
    is_gone,
    needs_root,
    postmaster,
    processes_under,
    sockets,
)


class TestVersions:
    def test_data_of_a_version_that_is_not_here_is_refused(self, pg: Path) -> None:
        (pg / "data" / "PG_VERSION").write_text("14\n")
        with pytest.raises(EmbeddedPostgresError, match=r"needs PostgreSQL 14, here is \d+ in .*: install that"):
            EmbeddedPostgres(pg).start()

    def test_data_is_run_by_its_own_version_when_that_is_here(self, pg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = next(embedded._candidates())
        versions = {"/other": embedded._major(own, None) + 1, str(own): embedded._major(own, None)}
        monkeypatch.setattr(embedded, "_candidates", lambda: iter(map(Path, versions)))
        monkeypatch.setattr(embedded, "_major", lambda place, _: versions[str(place)])
        with EmbeddedPostgres(pg, fsync=False) as server:
            assert ask(server.url("postfachwerk"), "SELECT 1") == 1

    def test_without_any_postgresql_it_says_how_to_get_one(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embedded, "_candidates", lambda: iter([]))
        with pytest.raises(EmbeddedPostgresError, match="15 or later is needed, here is none: pip install"):
            EmbeddedPostgres(home / "pg").start()


class TestRefusals:
    def test_an_unknown_setting_is_named_from_the_log_and_nothing_stays_behind(self, pg: Path) -> None:
        with pytest.raises(EmbeddedPostgresError, match=r'(?s)mend what its log says.*"no_such"'):
            EmbeddedPostgres(pg, fsync=False, settings={"no_such": "1"}).start()
        assert not processes_under(pg)
        with EmbeddedPostgres(pg, fsync=False) as server:
            url = server.url("postfachwerk")
        assert is_gone(url)

    def test_a_socket_directory_made_by_someone_else_is_not_used(self, pg: Path) -> None:
        server = EmbeddedPostgres(pg, fsync=False)
        imitation = sockets(server.url("postfachwerk"))
        imitation.mkdir(mode=0o755)
        with pytest.raises(EmbeddedPostgresError, match="is open to others: delete it"):
            server.start()
        imitation.rmdir()
        with server:
            assert imitation.stat().st_mode & 0o777 == 0o700

    def test_a_server_out_of_reach_is_not_doubled(self, pg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        server = EmbeddedPostgres(pg, fsync=False)
        url = server.start()
        apart = sockets(url).rename(pg.with_name("apart"))
        monkeypatch.setattr(embedded, "_SILENT_SECONDS", 0.2)
        with pytest.raises(EmbeddedPostgresError, match="containers need a directory each"):
            EmbeddedPostgres(pg, fsync=False).start()
        apart.rename(sockets(url))
        server.stop()
        assert is_gone(url)

    def test_a_server_started_by_hand_is_left_alone(self, pg: Path) -> None:
        data = pg / "data"
        owner = (data.stat().st_uid, data.stat().st_gid)
        pg_ctl = (next(embedded._candidates()) / "pg_ctl", "-D", data, "-l", data / "log")
        embedded._call((*pg_ctl, "-o", f"-k '{data}' -c listen_addresses=", "start"), owner, subprocess.DEVNULL)
        with pytest.raises(EmbeddedPostgresError, match="started by hand uses it: pg_ctl stop"):
            EmbeddedPostgres(pg, fsync=False).start()
        assert postmaster(pg) in processes_under(pg)
        embedded._call((*pg_ctl, "stop"), owner, subprocess.DEVNULL)
        assert not processes_under(pg)

    def test_a_file_is_no_directory(self, home: Path) -> None:
        (home / "pg").touch()
        with pytest.raises(EmbeddedPostgresError, match="name a directory"):
            EmbeddedPostgres(home / "pg").start()

    @needs_root
    def test_a_user_is_refused_the_directory_of_another(self, pg: Path) -> None:
        with Holder(pg, user="daemon") as holder:
            assert not holder.url()
            assert holder.process.wait(10) == 1


@needs_root
class TestRoot:
    def test_nothing_it_did_not_make_changes_hands(self, pg: Path) -> None:
        (pg / "secret").write_text("another's")
        paths = [pg.parent, pg, pg / "secret"]
        before = [(path.stat().st_uid, path.stat().st_mode) for path in paths]
        with EmbeddedPostgres(pg, fsync=False) as server:
            assert ask(server.url("postfachwerk"), "SELECT 1") == 1
            assert Path(f"/proc/{postmaster(pg)}").owner() == "nobody"
        assert [(path.stat().st_uid, path.stat().st_mode) for path in paths] == before

    @pytest.mark.parametrize("temporary", ["/tmp", "/var/tmp"])  # noqa: S108  # named, not used
    def test_a_directory_closed_to_nobody_is_replaced_by_always_the_same_one(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, temporary: str
    ) -> None:
        monkeypatch.setattr(embedded, "_SYSTEM_STATE", home / "state")
        with tempfile.TemporaryDirectory(dir=temporary) as closed:
            with EmbeddedPostgres(Path(closed) / "pg", fsync=False) as server:
                place, before = server.directory, identity(server.url("postfachwerk"))
            assert place.parent == (home / "state" if temporary == "/var/tmp" else Path("/tmp"))  # noqa: S108  # named, not used
            assert Path(closed).stat().st_mode & 0o777 == 0o700
            Path(closed).chmod(0o711)
            with EmbeddedPostgres(Path(closed) / "pg", fsync=False) as server:
                assert (server.directory, identity(server.url("postfachwerk"))) == (place, before)
            shutil.rmtree(place)

    def test_a_directory_that_anyone_may_have_planted_is_not_used(self, home: Path) -> None:
        (home / "pg").mkdir(mode=0o755)
        shutil.chown(home / "pg", "daemon")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(embedded, "_SYSTEM_STATE", home / "state")
            with EmbeddedPostgres(home / "pg", fsync=False) as server:
                assert server.directory.parent == home / "state"
            home.chmod(0o755)
            shutil.rmtree(home / "state")
            with EmbeddedPostgres(home / "pg", fsync=False) as server:
                assert server.directory == home / "pg"

    def test_data_that_can_no_longer_be_reached_is_not_replaced(self, pg: Path) -> None:
        pg.chmod(0o700)
        with pytest.raises(EmbeddedPostgresError, match=r"who cannot enter .*: chmod o\+x"):
            EmbeddedPostgres(pg).start()

    def test_binaries_closed_to_nobody_are_copied_once(self, pg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wheel = next(place.parent.parent for place in embedded._candidates() if place.parent.name == "pginstall")
        closed = pg.with_name("closed")
        closed.mkdir(mode=0o700)
        for part in wheel.parent.glob(f"{wheel.name}*"):
            shutil.copytree(part, closed / part.name, symlinks=True)
        monkeypatch.setattr(embedded, "_candidates", lambda: iter([closed / wheel.name / "pginstall" / "bin"]))
        (pg / "binaries-unfinished").mkdir()
        seen = set()
        for extension in ("citext", "btree_gist"):
            with (
                EmbeddedPostgres(pg, fsync=False) as server,
                connected(server.url("postfachwerk")) as connection,
            ):
                connection.execute(f"CREATE EXTENSION {extension}".encode())
                (copy,) = pg.glob("binaries-*")
                assert os.readlink(f"/proc/{postmaster(pg)}/exe").startswith(str(copy))
                seen.add((copy, copy.stat().st_ino))
        assert len(seen) == 1
        assert closed.stat().st_mode & 0o777 == 0o700
