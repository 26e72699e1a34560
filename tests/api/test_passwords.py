"""Passwords are set and leak nowhere; a link sets one, once, on a page that tells strangers nothing."""

from asyncio import gather
from collections.abc import Iterator
from datetime import timedelta
from logging import getLogger
from urllib.parse import urlsplit

import httpx
import pytest
from argon2 import PasswordHasher
from sqlalchemy import text

from api.context import Context
from provisioning import passwords
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.core.log import configure_logging
from provisioning.drivers.sandbox.driver import SandboxDriver
from tests.api.conftest import MakeClient, MakeTenant
from tests.api.onboarding import Home, Json, active, check, confirm, order, refused

pytestmark = pytest.mark.anyio

SECRET = "Sieben Zwerge trinken 3 Liter Most"
# As in production, before that of the tests takes its place.
HASHER = passwords.HASHER
GERMAN = {"Accept-Language": "de-DE,de;q=0.9,en;q=0.5"}
ENGLISH = {"Accept-Language": "fr;q=0.9, en-GB;q=0.8, de;q=0.2"}


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """Everything that goes to standard error, as in production."""
    root = getLogger()
    handlers, level = root.handlers, root.level
    configure_logging(json=True, level="DEBUG")
    yield capfd
    root.handlers, root.level = handlers, level


@pytest.fixture
async def anna(home: Home) -> Json:
    return await order(home, "anna")


@pytest.fixture
def browser(make_client: MakeClient) -> httpx.AsyncClient:
    """Somebody without a key."""
    return make_client(None)


async def set_directly(home: Home, mailbox: Json, password: str, query: str = "") -> httpx.Response:
    return await home.client.put(f"/v1/mailboxes/{mailbox['id']}/password{query}", json={"password": password})


async def new_link(home: Home, mailbox: Json) -> str:
    """The path of a fresh link."""
    link = check(await home.client.post(f"/v1/mailboxes/{mailbox['id']}/password-links"), 201)
    return urlsplit(link["url"]).path


async def submit(browser: httpx.AsyncClient, path: str, password: str, again: str | None = None) -> httpx.Response:
    return await browser.post(path, data={"password": password, "again": password if again is None else again})


async def stored_hash(database: Database, mailbox: Json) -> str:
    async with database.as_system() as session:
        found = await session.scalar(text("select password_hash from mailbox where id = :id"), {"id": mailbox["id"]})
    assert found is not None
    return str(found)


async def tables_with(database: Database, needle: str) -> list[str]:
    """Tables that hold the text anywhere, as text or as bytes."""
    found = []
    async with database.as_system() as session:
        tables = await session.scalars(
            text(
                "select tablename from pg_tables where schemaname = 'public' "
                "and has_table_privilege(format('%I.%I', schemaname, tablename), 'select')"
            )
        )
        for table in tables.all():
            query = text(f"select count(*) from {table} as r where strpos(r::text, :a) > 0 or strpos(r::text, :b) > 0")  # noqa: S608  # names come from the catalogue
            if await session.scalar(query, {"a": needle, "b": needle.encode().hex()}):
                found.append(table)
    return found


def test_a_hash_takes_as_long_as_it_should() -> None:
    assert passwords.HASHER is not HASHER
    hashed = HASHER.hash(SECRET)
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=1$")


async def test_a_password_reaches_the_backend_as_a_hash(
    home: Home, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    mailbox = await active(home, database, driver, clock, "anna")
    answer = await set_directly(home, mailbox, SECRET)
    shown = check(answer, 202)
    assert (shown["password_version"], shown["state"]) == (1, "updating")
    assert answer.headers["location"].startswith("/v1/operations/")
    hashed = await stored_hash(database, mailbox)
    assert hashed.startswith("$argon2id$")
    assert PasswordHasher().verify(hashed, SECRET)
    await confirm(database, driver, mailbox["id"], clock)
    seen = await driver.observe_mailbox(mailbox["id"])
    assert seen is not None
    assert seen.spec.password_version == 1


async def test_a_password_is_nowhere_but_in_its_hash(
    home: Home,
    anna: Json,
    database: Database,
    browser: httpx.AsyncClient,
    logged: pytest.CaptureFixture[str],
) -> None:
    direct, weak, by_link = f"{SECRET} direct", "passwort-anna-99", f"{SECRET} by link"
    link = await home.client.post(f"/v1/mailboxes/{anna['id']}/password-links", headers={"Idempotency-Key": "a link"})
    path = urlsplit(check(link, 201)["url"]).path
    token = path.rpartition("/")[2]
    answers = [
        await browser.get(path),
        await submit(browser, path, by_link, again=weak),
        await submit(browser, path, weak),
        await submit(browser, path, by_link),
        await browser.get(path + "/more"),
        await set_directly(home, anna, direct, "?dry_run=true"),
        await set_directly(home, anna, direct),
        await set_directly(home, anna, weak),
        await home.client.put(f"/v1/mailboxes/{anna['id']}/password", json={"password": direct, "extra": weak}),
        await home.client.put(f"/v1/mailboxes/{anna['id']}/password", json={"password": [direct]}),
        await home.client.put(f"/v1/mailboxes/{anna['id']}/password", content=f'{{"password": "{direct}'),
        await home.client.get(f"/v1/mailboxes/{anna['id']}"),
        await home.client.get("/v1/operations"),
    ]
    assert [each.status_code for each in answers] == [200, 422, 422, 200, 404, 200, 202, 422, 422, 422, 422, 200, 200]
    log = logged.readouterr().err
    assert log.count('"request"') >= len(answers)
    for secret in (direct, weak, by_link, token):
        assert await tables_with(database, secret) == []
        assert secret not in log
        assert all(secret not in each.text and secret not in str(each.headers) for each in answers)
    assert await tables_with(database, (await stored_hash(database, anna))) == ["mailbox"]
    assert await tables_with(database, anna["id"]) != []  # the search finds what is there


@pytest.mark.parametrize(
    "password",
    ["tiny one", "a" * 20, "abababababab", "my name is anna.k", "tabulator\there it is", "x" * 257],
)
async def test_a_weak_password_is_refused_without_being_repeated(home: Home, password: str) -> None:
    mailbox = await order(home, "anna.k")
    answer = await set_directly(home, mailbox, password)
    problem = refused(answer, 422, "invalid")
    assert problem["errors"][0]["pointer"] == "/password"
    assert password not in answer.text


async def test_a_name_of_a_letter_or_two_does_not_forbid_every_password(home: Home) -> None:
    check(await set_directly(home, await order(home, "s"), SECRET), 202)


async def test_a_password_needs_its_own_scope(anna: Json, make_tenant: MakeTenant) -> None:
    weaker = await make_tenant(scopes=frozenset({"mailboxes:read", "mailboxes:write"}))
    path = f"/v1/mailboxes/{anna['id']}"
    for answer in (
        await weaker.client.put(f"{path}/password", json={"password": SECRET}),
        await weaker.client.post(f"{path}/password-links"),
    ):
        assert refused(answer, 403, "missing_scope")["missing_scope"] == "mailboxes:password"
    stranger = (await make_tenant()).client
    refused(await stranger.put(f"{path}/password", json={"password": SECRET}), 404, "not_found")
    refused(await stranger.post(f"{path}/password-links"), 404, "not_found")


async def test_nobody_logs_in_to_a_room_or_a_deleted_mailbox(home: Home, anna: Json) -> None:
    room = await order(home, "saal", kind="room")
    check(await home.client.delete(f"/v1/mailboxes/{anna['id']}"), 202)
    for mailbox, code in ((room, "mailbox_without_login"), (anna, "mailbox_deleted")):
        refused(await set_directly(home, mailbox, SECRET), 409, code)
        refused(await home.client.post(f"/v1/mailboxes/{mailbox['id']}/password-links"), 409, code)


async def test_a_stale_etag_and_a_dry_run_set_nothing(home: Home, anna: Json, database: Database) -> None:
    path = f"/v1/mailboxes/{anna['id']}/password"
    answer = await home.client.put(path, json={"password": SECRET}, headers={"If-Match": '"99"'})
    refused(answer, 412, "precondition_failed")
    assert check(await set_directly(home, anna, SECRET, "?dry_run=true"), 200)["would_be"]["password_version"] == 1
    async with database.as_system() as session:
        assert await session.scalar(text("select password_hash from mailbox where id = :id"), anna) is None


async def test_a_link_is_shown_once(home: Home, anna: Json, context: Context) -> None:
    path, headers = f"/v1/mailboxes/{anna['id']}/password-links", {"Idempotency-Key": "k"}
    first = check(await home.client.post(path, headers=headers), 201)
    assert first["url"].startswith(f"{context.public_url}/set-password/")
    again = await home.client.post(path, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert check(again, 201) == {**first, "url": None}
    assert check(await home.client.post(f"{path}?dry_run=true"), 200)["would_be"]["url"] is None


async def test_the_page_sets_a_password_once(
    home: Home, anna: Json, browser: httpx.AsyncClient, database: Database
) -> None:
    path = await new_link(home, anna)
    for _ in range(3):  # mail scanners open links too
        assert (await browser.get(path)).status_code == 200
    done = await submit(browser, path, SECRET)
    assert done.status_code == 200
    assert "Das Passwort ist gesetzt" in done.text
    assert PasswordHasher().verify(await stored_hash(database, anna), SECRET)
    for answer in (await browser.get(path), await submit(browser, path, f"{SECRET} again")):
        assert answer.status_code == 404
    assert PasswordHasher().verify(await stored_hash(database, anna), SECRET)
    operations = check(await home.client.get("/v1/operations", params={"mailbox": anna["id"]}), 200)
    assert operations["items"][0]["action"] == "mailbox.password"
    async with database.as_system() as session:
        actor = await session.scalar(
            text("select actor from audit_event where resource_id = :id and action = 'mailbox.password'"), anna
        )
    assert str(actor).startswith("pwl_")


async def test_of_many_uses_of_a_link_at_once_one_counts(home: Home, anna: Json, browser: httpx.AsyncClient) -> None:
    path = await new_link(home, anna)
    answers = await gather(*(submit(browser, path, f"{SECRET} {number}") for number in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [404] * 5
    shown = check(await home.client.get(f"/v1/mailboxes/{anna['id']}"), 200)
    assert shown["password_version"] == 1


async def test_a_link_ends_after_72_hours_or_with_another_change_of_the_password(
    home: Home, anna: Json, browser: httpx.AsyncClient, clock: TestClock
) -> None:
    used, unused, late = [await new_link(home, anna) for _ in range(3)]
    assert (await submit(browser, used, SECRET)).status_code == 200
    assert (await browser.get(unused)).status_code == 404
    assert (await browser.get(late)).status_code == 404
    path = await new_link(home, anna)
    check(await set_directly(home, anna, f"{SECRET}!"), 202)
    assert (await browser.get(path)).status_code == 404
    path = await new_link(home, anna)
    clock.advance(clock.now() + timedelta(hours=72))
    assert (await submit(browser, path, SECRET)).status_code == 404


async def test_a_stranger_cannot_tell_whether_a_mailbox_exists(
    home: Home, anna: Json, browser: httpx.AsyncClient
) -> None:
    used, of_deleted = await new_link(home, anna), await new_link(home, await order(home, "ben"))
    assert (await submit(browser, used, SECRET)).status_code == 200
    [ben] = check(await home.client.get("/v1/mailboxes?q=ben@"), 200)["items"]
    check(await home.client.delete(f"/v1/mailboxes/{ben['id']}"), 202)
    guesses = [
        used,
        of_deleted,
        "/set-password/" + "A" * 43,
        f"/set-password/{anna['id']}",
        f"/set-password/{anna['address']}",
        "/set-password/%00",
        "/set-password/" + "x" * 5000,
    ]
    pages = [await browser.get(guess) for guess in guesses]
    pages += [await submit(browser, guess, SECRET) for guess in guesses]
    assert {page.status_code for page in pages} == {404}
    assert len({page.text for page in pages}) == 1
    assert "lindenhof" not in pages[0].text


async def test_the_page_is_locked_down_and_loads_nothing(home: Home, anna: Json, browser: httpx.AsyncClient) -> None:
    path = await new_link(home, anna)
    for page in (await browser.get(path), await browser.get("/set-password/x"), await submit(browser, path, SECRET)):
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["x-frame-options"] == "DENY"
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        for outside in ("http:", "https:", "<script", "<link", "<img", "src=", "url(", "style="):
            assert outside not in page.text
        assert SECRET not in page.text


async def test_the_page_speaks_german_and_english(home: Home, anna: Json, browser: httpx.AsyncClient) -> None:
    path = await new_link(home, anna)
    german, english = [(await browser.get(path, headers=each)).text for each in (GERMAN, ENGLISH)]
    assert '<html lang="de">' in german
    assert "Neues Passwort" in german
    assert '<html lang="en">' in english
    assert "New password" in english
    assert anna["address"] in german
    for header in ("", "*", ";;q=,", "en;q=x", "en;q=0"):
        assert "Neues Passwort" in (await browser.get(path, headers={"Accept-Language": header})).text


@pytest.mark.parametrize(
    ("password", "again", "said"),
    [
        ("", "", "at least 12 characters"),
        ("short", "short", "at least 12 characters"),
        ("x" * 300, "x" * 300, "at most 256 characters"),
        ("abababababab", "abababababab", "repeats too few"),
        ("anna is the best", "anna is the best", "name of the mailbox"),
        ("a\N{NULL}bcdefghijklm", "a\N{NULL}bcdefghijklm", "cannot be typed"),
        (SECRET, "another one altogether", "entries differ"),
    ],
)
async def test_what_is_wrong_is_said_in_the_page_and_the_link_still_works(
    home: Home, anna: Json, browser: httpx.AsyncClient, password: str, again: str, said: str
) -> None:
    path = await new_link(home, anna)
    answer = await browser.post(path, data={"password": password, "again": again}, headers=ENGLISH)
    assert answer.status_code == 422
    assert said in answer.text
    assert not password or f'value="{password}"' not in answer.text
    assert (await submit(browser, path, "Ünïcödé ist auch willkommen")).status_code == 200


async def test_a_form_of_any_size_and_shape_is_answered_with_a_page(
    home: Home, anna: Json, browser: httpx.AsyncClient
) -> None:
    path = await new_link(home, anna)
    assert (await browser.post(path, content=b"password=" + b"x" * 100_000)).status_code == 413
    for content in (b"\xff\xfe", b"password=%ff%fe", b"&".join([b"a=b"] * 50), b'{"password": "x"}', b""):
        answer = await browser.post(path, content=content)
        assert answer.status_code == 422
        assert answer.headers["content-type"].startswith("text/html")
    assert (await browser.get(path)).status_code == 200


async def test_the_page_is_no_part_of_the_api(browser: httpx.AsyncClient) -> None:
    document = check(await browser.get("/openapi.json"), 200)
    assert not [path for path in document["paths"] if "set-password" in path]


async def test_the_page_says_so_when_the_database_is_away(
    context: Context, home: Home, anna: Json, browser: httpx.AsyncClient
) -> None:
    path = await new_link(home, anna)
    context.database = Database("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    answer = await browser.get(path, headers=ENGLISH)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "60"
    assert "Out of service for a moment" in answer.text
    assert (await submit(browser, path, SECRET)).status_code == 503
