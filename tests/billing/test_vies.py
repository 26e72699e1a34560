"""The client of VIES: a clear yes, a clear no, and everything else, which is neither."""

import asyncio
import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.gateways.vies import AT_ONCE_MAX, Vies, read_answer
from billing.models import VatAnswer
from tests.fake_vies import (
    HUGE,
    INVALID,
    NO_VERDICT,
    NOT_JSON,
    OTHER_ID,
    REQUESTER,
    SLOW,
    UNSTORABLE,
    FakeVies,
    fake_vies,
)

pytestmark = pytest.mark.anyio

VAT_ID = "ATU12345675"


async def asked(fake: FakeVies, *, requester: str | None = REQUESTER, timeout_seconds: float = 5) -> tuple[str, ...]:
    vies = Vies(fake.url, requester=requester, timeout_seconds=timeout_seconds)
    try:
        told = await vies.check(VAT_ID)
    finally:
        await vies.close()
    return told.answer.value, told.error or "", told.consultation_number or "", told.name or ""


async def test_a_valid_id_comes_with_name_and_consultation_number() -> None:
    with fake_vies() as fake:
        assert await asked(fake) == ("valid", "", "WAPIAAAA00000001", "Alpen IT GmbH")
        assert fake.asked == [VAT_ID]


async def test_without_a_requester_there_is_no_consultation_number() -> None:
    with fake_vies() as fake:
        assert await asked(fake, requester=None) == ("valid", "", "", "Alpen IT GmbH")


@pytest.mark.parametrize("outcome", [INVALID, "INVALID_INPUT"])
async def test_an_invalid_id_is_a_clear_no(outcome: str) -> None:
    with fake_vies(outcome) as fake:
        assert await asked(fake) == ("invalid", "" if outcome == INVALID else outcome, "", "")


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        *((code, code) for code in ("MS_UNAVAILABLE", "MS_MAX_CONCURRENT_REQ", "GLOBAL_MAX_CONCURRENT_REQ_TIME")),
        *((code, code) for code in ("SERVICE_UNAVAILABLE", "TIMEOUT", "IP_BLOCKED", "VAT_BLOCKED")),
        (NOT_JSON, "not_understood"),
        (HUGE, "not_understood"),
        (NO_VERDICT, "not_understood"),
        (UNSTORABLE, "not_understood"),
        (OTHER_ID, "of_another_id"),
    ],
)
async def test_everything_else_says_nothing_of_the_id(outcome: str, error: str) -> None:
    with fake_vies(outcome) as fake:
        assert await asked(fake) == ("unavailable", error, "", "")


async def test_a_requester_that_vies_does_not_know_says_nothing_of_the_id() -> None:
    with fake_vies() as fake:
        assert await asked(fake, requester="DE123456788") == ("unavailable", "INVALID_REQUESTER_INFO", "", "")


async def test_who_takes_too_long_is_not_waited_for() -> None:
    with fake_vies(SLOW) as fake:
        assert await asked(fake, timeout_seconds=0.2) == ("unavailable", "timeout", "", "")


async def test_nobody_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert await asked(FakeVies(url=f"http://127.0.0.1:{port}")) == ("unavailable", "unreachable", "", "")


async def test_it_asks_for_no_more_than_a_few_at_once() -> None:
    with fake_vies() as fake:
        vies = Vies(fake.url)
        told = await asyncio.gather(*(vies.check(f"ATU1234{number:04}") for number in range(20)))
        await vies.close()
    assert {each.answer for each in told} == {VatAnswer.VALID}
    assert len(fake.asked) == 20
    assert 1 < fake.most_at_once <= AT_ONCE_MAX


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_verdict_counts_with_status_200_only(status: int) -> None:
    body = json.dumps({"countryCode": "AT", "vatNumber": "U12345675", "valid": True}).encode()
    assert read_answer(200, body, vat_id=VAT_ID).answer == VatAnswer.VALID
    assert read_answer(status, body, vat_id=VAT_ID).answer == VatAnswer.UNAVAILABLE


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "x"]), inner, max_size=2),
)


@given(
    st.integers(200, 599),
    st.binary(max_size=50)
    | st.dictionaries(
        st.sampled_from(["valid", "actionSucceed", "errorWrappers", "userError", "countryCode", "vatNumber", "name"]),
        _JSON,
    ).map(lambda body: json.dumps(body).encode()),
)
def test_no_answer_makes_the_reader_fail_or_says_yes_by_accident(status: int, content: bytes) -> None:
    told = read_answer(status, content, vat_id=VAT_ID)
    if told.answer == VatAnswer.VALID:
        assert status == 200
        assert json.loads(content)["valid"] is True
