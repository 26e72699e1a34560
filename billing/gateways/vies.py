"""VIES, the Commission's service that knows whether a VAT id of an EU country is valid.

Its REST interface: POST {url}/check-vat-number with countryCode and vatNumber, and with requesterMemberStateCode and
requesterNumber to be given a consultation number (requestIdentifier), which proves that one has asked. An answer has
`valid`, name and address (`---` where the country keeps them to itself); a refusal has `actionSucceed: false` and
`errorWrappers` with a code, whatever the status. https://ec.europa.eu/taxation_customs/vies/#/technical-information
"""

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from billing.models import VatAnswer

ANSWER_BYTES_MAX: Final = 64 * 1024
# VIES and the countries behind it refuse who asks for much at once.
AT_ONCE_MAX: Final = 3
# Said of the id that was asked for. Every other code is of the service, the country, or of who asks.
_SAYS_INVALID: Final = "INVALID_INPUT"
_NOT_TOLD: Final = {"", "---"}
_CODE: Final = re.compile("[A-Z][A-Z0-9_]{1,63}")
# What PostgreSQL keeps in no JSON document, as it is written in one.
_UNSTORABLE: Final = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


@dataclass(frozen=True, slots=True)
class ViesAnswer:
    """`error` is VIES's code, or ours in lower case, for why there is no yes or no; `raw` is what came."""

    answer: VatAnswer
    error: str | None = None
    name: str | None = None
    address: str | None = None
    consultation_number: str | None = None
    raw: dict[str, Any] = field(default_factory=dict)


class Vies:
    """A client of VIES at `url`, asking in the name of the VAT id `requester`. Close it with `await vies.close()`."""

    def __init__(self, url: str, *, requester: str | None = None, timeout_seconds: float = 20.0) -> None:
        self._url = f"{url.rstrip('/')}/check-vat-number"
        self._requester = requester
        self._timeout_seconds = timeout_seconds
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)
        self._client = httpx.AsyncClient(timeout=timeout_seconds, headers={"Accept": "application/json"})

    async def check(self, vat_id: str) -> ViesAnswer:
        """Ask whether a VAT id is valid. Whatever is no clear yes or no is `unavailable`; nothing is raised."""
        question = {"countryCode": vat_id[:2], "vatNumber": vat_id[2:]}
        if self._requester:
            question |= {
                "requesterMemberStateCode": self._requester[:2],
                "requesterNumber": self._requester[2:],
            }
        try:
            # httpx bounds each step, and a server may take many.
            async with self._turns, asyncio.timeout(self._timeout_seconds):
                status, content = await self._post(question)
        except (TimeoutError, httpx.TimeoutException):
            return ViesAnswer(VatAnswer.UNAVAILABLE, error="timeout")
        except httpx.HTTPError as error:
            return ViesAnswer(VatAnswer.UNAVAILABLE, error="unreachable", raw={"error": type(error).__name__})
        return read_answer(status, content, vat_id=vat_id)

    async def close(self) -> None:
        await self._client.aclose()

    async def _post(self, question: dict[str, str]) -> tuple[int, bytes]:
        async with self._client.stream("POST", self._url, json=question) as response:
            content = b""
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > ANSWER_BYTES_MAX:
                    break
            return response.status_code, content


def read_answer(status: int, content: bytes, *, vat_id: str) -> ViesAnswer:
    """Return what an HTTP answer says of a VAT id."""
    body = _document(content)
    if body is None:
        return ViesAnswer(VatAnswer.UNAVAILABLE, error="not_understood", raw={"status": status})
    if (code := _refusal(body)) is not None:
        answer = VatAnswer.INVALID if code == _SAYS_INVALID else VatAnswer.UNAVAILABLE
        return ViesAnswer(answer, error=code, raw=body)
    valid = body.get("valid")
    if status != httpx.codes.OK or not isinstance(valid, bool):
        return ViesAnswer(VatAnswer.UNAVAILABLE, error="not_understood", raw=body)
    if _is_of_another(body, vat_id):
        return ViesAnswer(VatAnswer.UNAVAILABLE, error="of_another_id", raw=body)
    return ViesAnswer(
        VatAnswer.VALID if valid else VatAnswer.INVALID,
        name=_told(body, "name"),
        address=_told(body, "address"),
        consultation_number=_told(body, "requestIdentifier"),
        raw=body,
    )


def _document(content: bytes) -> dict[str, Any] | None:
    if len(content) > ANSWER_BYTES_MAX:
        return None
    try:
        text = content.decode()
        body = None if _UNSTORABLE.search(text) else json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _refusal(body: dict[str, Any]) -> str | None:
    """The code of an answer that is a refusal; None where it is none."""
    wrappers = body.get("errorWrappers")
    first = wrappers[0] if isinstance(wrappers, list) and wrappers else None
    code = first.get("error") if isinstance(first, dict) else body.get("userError")
    if isinstance(code, str) and code not in {"VALID", "INVALID"} and _CODE.fullmatch(code):
        return code
    return "not_understood" if body.get("actionSucceed") is False or first is not None else None


def _is_of_another(body: dict[str, Any], vat_id: str) -> bool:
    """Whether the answer names an id, and not the one that was asked for."""
    country, number = body.get("countryCode"), body.get("vatNumber")
    if not isinstance(country, str) or not isinstance(number, str):
        return country is not None or number is not None
    return re.sub(r"[\s.-]", "", country + number).upper() not in {vat_id, vat_id[:2] + vat_id}


def _told(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    text = value.strip() if isinstance(value, str) else ""
    return None if text in _NOT_TOLD else text
