"""Schemathesis with all its checks over the whole document: every boundary, then some fuzzing, against a real server.

Once as a reseller and once as the operator, each over what is meant for it. The seed is fixed; what it finds, it
finds every time.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from api.routes.bank import STATEMENT_CODES
from provisioning.core.database import Database
from tests.api.loopback import serving
from tests.api.route_table import DISCOVERY, operations
from tests.api.stage import Facts, on_stage
from tests.conftest import Server

pytest_plugins = ["tests.api.stage_fixtures"]

SEED = 20261117
EXAMPLES = 6
FOR_THE_OPERATOR = ["operator"]
# What answers everybody the same, health and webhooks, is tested once, as a reseller.
FOR_EITHER = ["account", "audit", "data centres"]

# What can be wrong with a value that the schema takes: codes of fields, or of the problem where it names none.
BEYOND_SCHEMAS = {
    *STATEMENT_CODES,  # a file of the bank is checked by what is in it
    "day_out_of_range",  # JSON Schema bounds no dates
    "given_twice",  # one line for each class
    "idempotency_key_reused",  # the same key, drawn again for another call
    "in_past",  # depends on the day
    "int_type",  # 40.0, which JSON Schema calls an integer
    "invalid_access",  # depends on the scope, which is in the path
    "invalid_address",  # RFC 5321 and IDNA
    "invalid_character",  # NUL, which JSON allows and PostgreSQL cannot keep
    "invalid_cursor",  # opaque: only what an answer held is one
    "invalid_domain",  # IDNA
    "invalid_iban",  # its check digits
    "invalid_picture",  # what is in the base64
    "invalid_price",  # tiers rise from each to the next
    "month_or_closing_day",  # one of two
    "null",  # in a change: a field that is always there cannot be taken away
    "out_of_order",  # the days of dunning rise
    "order",  # a validity ends after it begins
    "repeating_only",  # depends on how long a coupon counts
    "sandbox_has_none",  # depends on the driver
    "share_or_amount",  # one of two
    "too_late",  # depends on the day
    "too_many",  # a mailbox has one archive
    "unknown_data_centre",  # depends on which there are
    "unknown_scope",  # depends on whose key it is
    "weak_password",  # too simple for its length
}
# What other people's programs send is answered as well as can be; and calendars ask by PROPFIND, which OpenAPI 3.1 has
# no place for.
NOT_OF_DISCOVERY = {"allow_header_conformance", "negative_data_rejection"}


@pytest.mark.slow
@pytest.mark.parametrize("caller", ["tenant", "operator"])
def test_every_endpoint_does_what_the_document_says(
    server: Server, stage_template: tuple[str, Facts], caller: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else the client looks through the whole environment for a proxy at each of nine thousand calls.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    template, facts = stage_template
    name = f"fuzzed_{uuid4().hex[:8]}"
    stage = on_stage(Database(server.create(name, template=template), pool_size=5), facts)
    try:
        with serving(stage.context) as url:
            whole = schemathesis.openapi.from_url(f"{url}/openapi.json", config=_config(facts.secrets[caller]))
            for_operator = whole.include(tag=FOR_THE_OPERATOR + FOR_EITHER)
            schema = for_operator if caller == "operator" else whole.exclude(tag=FOR_THE_OPERATOR)
            found, tested = _run(schema)
    finally:
        server.drop(name)
    assert not found, "\n\n".join(found.values())
    assert tested == {operation.label for operation in operations(schema)}


def _config(secret: str) -> SchemathesisConfig:
    refused = ["401", "403", "404", "409", "412"]
    return SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "continue-on-failure": True,
            "headers": {"Authorization": f"Bearer {secret}"},
            "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none", "no-shrink": True},
            "phases": {"stateful": {"max-steps": 5}},
            "checks": {
                # If-Match belongs to what the document calls valid, and a version that is gone is 412 all the same.
                "positive_data_acceptance": {"expected-statuses": ["2xx", "3xx", *refused]},
                "negative_data_rejection": {"expected-statuses": [*refused, "405", "422"]},
            },
        }
    )


def _run(schema: schemathesis.BaseSchema) -> tuple[Mapping[str, str], set[str]]:
    """What was found, each fault by its first example; and what was tested."""
    found: dict[str, str] = {}
    tested: set[str] = set()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            tested |= {event.label} if event.label else set()  # chains of calls have none
            for complaint, example in _complaints(event):
                found.setdefault(complaint, f"{complaint}\n{example}")
        elif isinstance(event, events.NonFatalError | events.FatalError):
            found[str(event.id)] = str(event)
    return found, tested


def _complaints(event: events.ScenarioFinished) -> Iterator[tuple[str, str]]:
    for case_id, checks in event.recorder.checks.items():
        interaction = event.recorder.interactions.get(case_id)
        answer = interaction.response if interaction else None
        for check in checks:
            if check.failure_info is None:
                continue
            if check.name == "positive_data_acceptance" and answer is not None and _is_beyond_schemas(answer.content):
                continue
            if event.label in DISCOVERY and check.name in NOT_OF_DISCOVERY:
                continue
            failure = check.failure_info.failure
            shown = "" if answer is None else f"{answer.status_code} {answer.text[:500]}"
            yield f"{event.label}: {failure.title}", f"{failure.message}\n{check.failure_info.code_sample}\n{shown}"


def _is_beyond_schemas(content: bytes | None) -> bool:
    problem: dict[str, Any] = json.loads(content or b"{}")
    codes = {each["code"] for each in problem.get("errors", ())} or {problem.get("code")}
    return codes <= BEYOND_SCHEMAS
