"""One call that works for every endpoint that writes, by operation id. Its body is the documented example."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from tests.api.route_table import Endpoint, Json, described, endpoints, request_examples
from tests.api.stage import Stage


@dataclass(frozen=True)
class ExampleCall:
    """`path` names other objects than the stage's usual ones, `body` replaces the documented example.

    `before` are operations that must have been done, `events` how many audit events one call leaves, `once` the
    field that the first answer alone shows.
    """

    path: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    before: tuple[str, ...] = ()
    events: int = 1
    once: str | None = None


# The clock and the sandbox's zone live in the process: nothing that is kept has changed.
_NOTHING_KEPT = ExampleCall(events=0)
# Stands for a value of the stage: {domain_id} and so on.
_PROOF = {"values": ["postfachwerk-verification={verification_token}"]}

# As the stage's rows have it.
_KEY = {"values": ["v=DKIM1; k=rsa; p=MIIB"]}

CALLS: dict[str, ExampleCall] = {
    "activateDkimKey": ExampleCall(before=("publishDkimKey",)),
    "addAlias": ExampleCall(),
    "addDomain": ExampleCall(),
    # By less than an Idempotency-Key is held.
    "advanceTestClock": ExampleCall(body={"to": "2026-11-17T11:00:00Z"}, events=0),
    "askVatCheck": ExampleCall(path={"reseller_id": "{eu_reseller_id}"}),
    "assignBankEntry": ExampleCall(),
    "cancelInvoice": ExampleCall(),
    "cancelInvoiceRun": ExampleCall(path={"run_id": "{begun_run_id}"}),
    "changeApiKey": ExampleCall(),
    "changeCustomer": ExampleCall(),
    "changeMailbox": ExampleCall(),
    "changeResalePrice": ExampleCall(),
    "changeReseller": ExampleCall(),
    "createApiKey": ExampleCall(once="secret"),
    "createCoupon": ExampleCall(),
    "createCreditNote": ExampleCall(),
    "createCustomer": ExampleCall(),
    "createDkimKey": ExampleCall(),
    "createDirectDebits": ExampleCall(),
    "createMandate": ExampleCall(),
    "createDiscount": ExampleCall(),
    "createPasswordLink": ExampleCall(once="url"),
    "createPaymentMethod": ExampleCall(),
    "createPriceList": ExampleCall(),
    "createResalePrice": ExampleCall(),
    "createReseller": ExampleCall(),
    "createResellerApiKey": ExampleCall(once="secret"),
    "createSetupLink": ExampleCall(once="url"),
    "deleteCoupon": ExampleCall(),
    "deleteCustomer": ExampleCall(before=("deleteDomain", "deleteUnprovenDomain")),
    "deleteDomain": ExampleCall(),
    "deleteLogo": ExampleCall(),
    "deleteMailbox": ExampleCall(),
    "deleteResalePrice": ExampleCall(),
    "deleteShare": ExampleCall(),
    "detachPaymentMethod": ExampleCall(),
    "endDunningPause": ExampleCall(before=("pauseDunning",)),
    "importBankStatement": ExampleCall(),
    "endDiscount": ExampleCall(),
    "grantCredit": ExampleCall(),
    "moveMailbox": ExampleCall(),
    "orderMailbox": ExampleCall(),
    "orderMailboxes": ExampleCall(events=2),
    "pauseDunning": ExampleCall(),
    "purgeMailbox": ExampleCall(before=("deleteMailbox",)),
    "putAddOn": ExampleCall(),
    "putCertificate": ExampleCall(),
    "putCustomerBilling": ExampleCall(),
    "putDataCentre": ExampleCall(),
    "putLogo": ExampleCall(),
    "putSellerProfile": ExampleCall(),
    "putShare": ExampleCall(),
    "removeAddOn": ExampleCall(before=("putAddOn",)),
    "recordReceipt": ExampleCall(),
    "refundPayment": ExampleCall(path={"payment_id": "{charged_payment_id}"}),
    "removeAlias": ExampleCall(before=("addAlias",)),
    "restoreMailbox": ExampleCall(before=("deleteMailbox",)),
    "resumeMailbox": ExampleCall(before=("suspendMailbox",)),
    "resumeReseller": ExampleCall(before=("suspendReseller",)),
    "retryInvoiceRun": ExampleCall(),
    "retryOperation": ExampleCall(),
    "retryPayment": ExampleCall(),
    "revokeApiKey": ExampleCall(),
    "rotateApiKey": ExampleCall(once="secret"),
    "setDefaultPaymentMethod": ExampleCall(),
    "setDunningPolicy": ExampleCall(),
    "setPassword": ExampleCall(),
    "setPrimaryAddress": ExampleCall(before=("addAlias",)),
    "setSandboxRecords": _NOTHING_KEPT,
    "setTaxRegime": ExampleCall(),
    "startInvoiceRun": ExampleCall(before=("endTheMonth",)),
    "suspendMailbox": ExampleCall(),
    "suspendReseller": ExampleCall(),
    "verifyDomain": ExampleCall(path={"domain_id": "{unproven_domain_id}"}, before=("publishProof",)),
    "withdrawPriceList": ExampleCall(),
    "writeOffPayment": ExampleCall(),
}

# What reading needs beside the stage's usual objects: other ones, and query parameters.
READS: dict[str, tuple[Mapping[str, str], str]] = {
    operation_id: (
        {"customer_id": "{served_customer_id}"},
        "?period=2026-10&number=ITH-2026-17&issued_on=2026-11-02",
    )
    for operation_id in ("getResaleXrechnung", "getResaleZugferd")
}

# Calls that only prepare others.
_PREPARATIONS: dict[str, tuple[str, ExampleCall]] = {
    "endTheMonth": ("advanceTestClock", _NOTHING_KEPT),
    "deleteUnprovenDomain": ("deleteDomain", ExampleCall(path={"domain_id": "{unproven_domain_id}"})),
    "publishDkimKey": (
        "setSandboxRecords",
        ExampleCall(path={"name": "pf1._domainkey.kanzlei-lindenhof.example"}, body=_KEY),
    ),
    "publishProof": (
        "setSandboxRecords",
        ExampleCall(path={"name": "_postfachwerk.neu.kanzlei-lindenhof.example"}, body=_PROOF),
    ),
}


def path_of(stage: Stage, endpoint: Endpoint, given: Mapping[str, str] | None = None) -> str:
    """The endpoint's path with the stage's own ids, those `given` excepted."""
    usual, _ = READS.get(str(endpoint.operation_id), ({}, ""))
    chosen = {name: value.format_map(stage.facts.own) for name, value in usual.items()}
    values = {**stage.facts.own, **chosen, **(given or {})}
    return endpoint.path.format_map({name: values[name] for name in endpoint.parameters})


def body_of(stage: Stage, endpoint: Endpoint) -> Any:
    """The first documented example; None where there is no body."""
    examples = request_examples(stage.document, described(stage.document, endpoint))
    return examples[0] if examples else None


def client_of(stage: Stage, endpoint: Endpoint) -> httpx.AsyncClient:
    return stage.operator if endpoint.is_for_operator else stage.tenant


async def prepare(stage: Stage, endpoint: Endpoint) -> None:
    """Bring about what the example call of this endpoint needs."""
    by_id = {each.operation_id: each for each in endpoints(stage.app)}
    for name in CALLS[str(endpoint.operation_id)].before:
        operation_id, call = _PREPARATIONS.get(name) or (name, CALLS[name])
        answer = await _send(stage, by_id[operation_id], call)
        assert answer.is_success, answer.text


async def send(
    stage: Stage, endpoint: Endpoint, *, query: str = "", body: Any = None, **headers: str
) -> httpx.Response:
    """The example call of an endpoint that writes; header names come with underscores."""
    return await _send(stage, endpoint, CALLS[str(endpoint.operation_id)], query=query, body=body, **headers)


async def _send(
    stage: Stage, endpoint: Endpoint, call: ExampleCall, *, query: str = "", body: Any = None, **headers: str
) -> httpx.Response:
    given = {name: value.format_map(stage.facts.own) for name, value in call.path.items()}
    filled = _filled(call.body, stage.facts.own) if body is None else body
    return await client_of(stage, endpoint).request(
        endpoint.method,
        path_of(stage, endpoint, given) + query,
        json=body_of(stage, endpoint) if filled is None else filled,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def _filled(body: Any, values: Mapping[str, str]) -> Any:
    if body is None:
        return None
    return {
        name: [each.format_map(values) for each in given] if isinstance(given, list) else given
        for name, given in cast(Json, body).items()
    }
