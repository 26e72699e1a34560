"""Finds queries on owned tables that do not say whose rows they want, by reading the code."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# Columns that say whose a row is. A reseller's own row is found by a `reseller_id` too.
OWNERS = {"reseller_id", "principal_id"}
BUILDERS = {"select", "update", "delete"}
SESSION_CALLS = {"get", "get_one", "merge", "refresh"}
NESTED = ("body", "orelse", "finalbody")

SYSTEM = "a job of the worker, which runs as the system for all resellers"
OF_A_MAILBOX = "narrowed to one mailbox, whose row the caller holds"
OF_THE_OPERATOR = "the operator's: it is about all resellers"

# Each name is a function, or a constant that holds SQL, and why it may ask without naming an owner.
ALLOWED: Mapping[str, str] = {
    "api.observability:_FIGURES": OF_THE_OPERATOR,
    "provisioning.discovery:_DOMAINS": "a stranger asks, of the one who has proven the name",
    "provisioning.discovery:_PROFILES": "a stranger asks, of the one who has proven the name",
    "billing.debits:_LAST_USED": "narrowed to one payment method, which the caller has read",
    "billing.dunning:review_service": SYSTEM,
    "billing.notices:_claim": SYSTEM,
    "billing.notices:_of": "filters for a reseller in its second half; the operator reads all",
    "billing.notices:due_notices": SYSTEM,
    "billing.drafts:_COUNT": OF_THE_OPERATOR,
    "billing.drafts:_DRAFTED": OF_THE_OPERATOR,
    "billing.drafts:_DROP_DRAFTS": OF_THE_OPERATOR,
    "billing.drafts:_DROP_ITEMS": OF_THE_OPERATOR,
    "billing.corrections:_locked": OF_THE_OPERATOR,
    "billing.credit_notes:get_credit_note": "the operator reads all; a reseller's query begins with owned()",
    "billing.credit_notes:list_credit_notes": "the operator reads all; a reseller's query begins with owned()",
    "billing.document_sources:_invoices": "narrowed to invoices that the caller has claimed or read",
    "billing.invoices:_of": "filters for a reseller in its second half; the operator reads all",
    "billing.issuing:_RECOUNT": SYSTEM,
    "billing.issuing:_UNISSUED_CREDIT_NOTES": SYSTEM,
    "billing.issuing:issue_credit_note": SYSTEM,
    "billing.numbers:_GAPS": OF_THE_OPERATOR,
    "billing.bank:_BATCHES": OF_THE_OPERATOR,
    "billing.bank:_find_debit": OF_THE_OPERATOR,
    "billing.bank:_receive_batch": OF_THE_OPERATOR,
    "billing.bank:get_bank_entry": OF_THE_OPERATOR,
    "billing.bank:list_bank_entries": OF_THE_OPERATOR,
    "billing.collection:refresh": SYSTEM,
    "billing.inbox:_disable": SYSTEM,
    "billing.inbox:_payment_of": SYSTEM,
    "billing.methods:detach": SYSTEM,
    "billing.methods:find_reseller_of": SYSTEM,
    "billing.payments:_of": "filters for a reseller in its second half; the operator reads all",
    "billing.payments:due_payments": SYSTEM,
    "billing.prices:_of": "filters for a reseller in its second half; the operator reads all",
    "billing.prices:prices_of": "narrowed to one price list, which the caller has read",
    "billing.prices:terms_of": "narrowed to one price list, which the caller has read",
    "billing.prices:withdraw_price_list": OF_THE_OPERATOR,
    "billing.reconciliation:_attempts": SYSTEM,
    "billing.reconciliation:_intents_under_way": SYSTEM,
    "billing.rating_sql:_FEATURES": "asks whether there are rows at all, as far as the caller sees them",
    "billing.allowances:_IN_USE": "asks whether there are rows at all, as far as the caller sees them",
    "billing.discounts:delete_coupon": OF_THE_OPERATOR,
    "billing.discounts:end_discount": OF_THE_OPERATOR,
    "billing.drafts:_ANCHORS": OF_THE_OPERATOR,
    "billing.runs:_SUMS": OF_THE_OPERATOR,
    "billing.runs:list_items": OF_THE_OPERATOR,
    "billing.validation:_LEFT": OF_THE_OPERATOR,
    "billing.settlement:lock_payment": "narrowed to one payment, whose owner the caller has looked at",
    "billing.tax_regimes:_BILLED": OF_THE_OPERATOR,
    "billing.vat_sweeps:_WAITING_RUNS": OF_THE_OPERATOR,
    "provisioning.audit:_EXTENT": "narrowed to one chain, which is named for its owner",
    "provisioning.audit:_FIRST_BROKEN": "narrowed to one chain, which is named for its owner",
    "provisioning.audit:list_events": "narrowed to one chain, which is named for its owner",
    "provisioning.keys:_NOTE_USE": "narrowed to the key that has just been authenticated",
    "provisioning.ledger:_counted_up_to": OF_A_MAILBOX,
    "provisioning.ledger:_find_open": OF_A_MAILBOX,
    "provisioning.ledger:_list_open_add_ons": OF_A_MAILBOX,
    "provisioning.ledger:open_add_on_period": OF_A_MAILBOX,
    "provisioning.ledger:open_period": OF_A_MAILBOX,
    "provisioning.passwords:find_link": "whoever holds a link has no key; its token is the proof",
    "provisioning.policies:_LYING_THERE": OF_THE_OPERATOR,
    "provisioning.recording:_enqueue_owners": SYSTEM,
    "provisioning.recording:_erase": SYSTEM,
    "provisioning.recording:_lock_if_current": SYSTEM,
    "provisioning.recording:_settle_shares": SYSTEM,
    "provisioning.recording:_update_if_current": SYSTEM,
    "provisioning.recording:_update_operation": SYSTEM,
    "provisioning.sweeps:_lock_mailboxes": SYSTEM,
    "provisioning.sweeps:expire_shares": SYSTEM,
    "provisioning.sweeps:forget_idempotency_keys": SYSTEM,
    "provisioning.sweeps:purge_deleted": SYSTEM,
    "provisioning.sweeps:sweep_drift": SYSTEM,
    "provisioning.sweeps:sweep_unfinished": SYSTEM,
    "provisioning.tenants:count_usage": "narrowed to tenants whose rows the caller has read, reseller and customer",
    "provisioning.tenants:list_resellers": OF_THE_OPERATOR,
    "provisioning.wanted:_lock_mailbox": SYSTEM,
    "provisioning.wanted:_AROUND": SYSTEM,
    "provisioning.wanted:_SHARES": SYSTEM,
    "provisioning.wanted:_read_shares_again": SYSTEM,
    "provisioning.wanted:_start_operations": SYSTEM,
}


def owned_tables(trees: Iterable[ast.Module]) -> dict[str, str]:
    """Model class and table name of each table whose rows belong to somebody."""
    return {
        node.name: table
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and (table := _table_name(node)) is not None
        if node.name == "Reseller" or OWNERS & _fields(node)
    }


def unfiltered(tree: ast.Module, owned: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Function or constant, and line, of each query on an owned table that names no owner."""
    sql = re.compile(rf"\b(?:from|join|into|update|using)\s+({'|'.join(owned.values())})\b")
    for name, expression in _expressions(tree.body, None):
        calls = [node for node in ast.walk(expression) if isinstance(node, ast.Call)]
        asks = _asks(expression, calls, owned) and not any(_names_owner(call) for call in calls)
        if asks or any(sql.search(query) and not any(owner in query for owner in OWNERS) for query in _texts(calls)):
            yield name, expression.lineno


def _table_name(node: ast.ClassDef) -> str | None:
    if not any(keyword.arg == "table" for keyword in node.keywords):
        return None
    for item in node.body:
        if isinstance(item, ast.Assign) and "__tablename__" in _names(item.targets[0]):
            assert isinstance(item.value, ast.Constant)
            return str(item.value.value)
    return None


def _fields(node: ast.ClassDef) -> set[str]:
    return {name for item in node.body if isinstance(item, ast.AnnAssign) for name in _names(item.target)}


def _expressions(body: Iterable[ast.stmt], function: str | None) -> Iterator[tuple[str, ast.Tuple]]:
    """Each statement's own expressions without the statements inside it, under the name they are to be found by."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _expressions(statement.body, statement.name)
            continue
        own: list[Any] = []  # a `with` has items around its expressions
        for field, value in ast.iter_fields(statement):
            parts = value if isinstance(value, list) else [value]
            if field not in (*NESTED, "handlers"):
                own += [part for part in parts if isinstance(part, ast.expr | ast.withitem)]
        target = next(iter(_names(own[0])), "") if own and isinstance(statement, ast.Assign) else ""
        yield function or target, ast.Tuple(elts=own, lineno=statement.lineno)
        inner = [part for field in NESTED for part in getattr(statement, field, [])]
        inner += [part for handler in getattr(statement, "handlers", []) for part in handler.body]
        yield from _expressions(inner, function)


def _names(node: ast.AST) -> set[str]:
    found = (getattr(each, "id", None) or getattr(each, "attr", None) for each in ast.walk(node))
    return {name for name in found if isinstance(name, str)}


def _asks(expression: ast.AST, calls: Iterable[ast.Call], owned: Mapping[str, str]) -> bool:
    """Whether a query is built here on an owned table, or on columns that cannot be seen from here."""
    builders = [call for call in calls if _builds(call)]
    unseen = any(isinstance(argument, ast.Starred) for call in builders for argument in call.args)
    return bool(builders) and (unseen or bool(_names(expression) & owned.keys()))


def _builds(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id in BUILDERS
    return isinstance(call.func, ast.Attribute) and call.func.attr in SESSION_CALLS and "session" in _names(call.func)


def _names_owner(call: ast.Call) -> bool:
    is_filter = isinstance(call.func, ast.Attribute) and call.func.attr == "where"
    return is_filter and any(OWNERS & _names(argument) for argument in call.args)


def _texts(calls: Iterable[ast.Call]) -> Iterator[str]:
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id == "text" and call.args:
            constants = (node for node in ast.walk(call.args[0]) if isinstance(node, ast.Constant))
            yield " ".join(str(constant.value) for constant in constants)
