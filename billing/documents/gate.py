"""Whether the XML of a document may be issued: schema, EN 16931, XRechnung and Peppol rules, in this process.

What is decided here is decided before a number is given. The rules are those of verifyhash-einvoice; the official
schematron confirms them in the tests. No network, no other process.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import einvoice
from einvoice import remediation, rules_peppol
from lxml import etree

from billing.documents.cii import Profile

Severity = Literal["error", "warning"]

SCHEMA_VERSION: Final = "Factur-X 1.09 EN 16931"
_SCHEMA: Final = Path(__file__).parent / "schema" / "Factur-X_EN16931.xsd"
# Warnings in the official rules, for invoices that arrive. One that we issue with a wrong sum (R120) or an account that
# cannot exist (BR-DE-19, BR-DE-20) is not issued.
_ERRORS_HERE: Final = frozenset({"PEPPOL-EN16931-R120", "BR-DE-19", "BR-DE-20"})
# A contact, a buyer reference and electronic addresses are XRechnung's own demands: for ZUGFeRD a hint.
_XRECHNUNG_ONLY: Final = frozenset(
    {
        *(f"BR-DE-{number}" for number in (2, 5, 6, 7, 15)),
        *("PEPPOL-EN16931-R001", "PEPPOL-EN16931-R010", "PEPPOL-EN16931-R020"),
    }
)
_DUE: Final = ("DueDateDateTime", "Description")
# That the profile should be XRechnung's says nothing about a document of another profile.
_PROFILE_RULE: Final = "BR-DE-21"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that does not hold. `terms` are the BT and BG numbers that it speaks of."""

    rule: str
    severity: Severity
    terms: tuple[str, ...]
    message_en: str
    message_de: str


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on one XML; `tools` are the names and versions of what decided."""

    profile: Profile
    findings: tuple[Finding, ...]
    tools: tuple[tuple[str, str], ...]

    @property
    def valid(self) -> bool:
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.severity == "warning")

    def as_json(self) -> dict[str, Any]:
        """What is stored with the invoice."""
        return {
            "valid": self.valid,
            "profile": self.profile.value,
            "tools": dict(self.tools),
            "findings": [asdict(each) for each in self.findings],
        }


def check(document_xml: bytes, profile: Profile) -> Report:
    """Return what is wrong with a document. Never raises for the document's own faults."""
    try:
        tree = etree.fromstring(document_xml, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        return Report(profile, (_structural("XML", str(error)),), tools())
    found = [*_schema_findings(tree), *_due_findings(tree), *_rule_findings(document_xml, profile)]
    return Report(profile, tuple(dict.fromkeys(found)), tools())


@lru_cache(maxsize=1)
def tools() -> tuple[tuple[str, str], ...]:
    """Names and versions of what decides; part of every report, as rules change twice a year."""
    libraries = ("lxml", "verifyhash-einvoice")
    return ("schema", SCHEMA_VERSION), *((name, version(name)) for name in libraries)


@lru_cache(maxsize=1)
def _schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(_SCHEMA))


def _schema_findings(tree: etree._Element) -> Iterator[Finding]:
    schema = _schema()
    if not schema.validate(tree):
        yield from (_structural("XSD", f"line {each.line}: {each.message}") for each in schema.error_log)
    declared = tree.findtext(".//{*}GuidelineSpecifiedDocumentContextParameter/{*}ID")
    if declared not in {each.value for each in Profile}:
        yield _structural("BT-24", f"profile {declared!r} is none that this project issues", ("BT-24",))


def _due_findings(tree: etree._Element) -> Iterator[Finding]:
    """BR-CO-25: it stands in the norm, and the schematron of 1.3.16 has lost it (eInvoicing-EN16931 issue 500)."""
    payable = tree.findtext(".//{*}DuePayableAmount") or "0"
    # The amount of a credit note is the buyer's, who sets himself no date.
    is_asked_for = tree.findtext("{*}ExchangedDocument/{*}TypeCode") != "381" and payable.strip("0.-") != ""
    terms = tree.find(".//{*}SpecifiedTradePaymentTerms")
    answered = terms is not None and any(terms.find(f"{{*}}{name}") is not None for name in _DUE)
    if is_asked_for and not payable.startswith("-") and not answered:
        yield Finding(
            "BR-CO-25",
            "error",
            ("BT-115", "BT-9", "BT-20"),
            message_en="In case the Amount due for payment is positive, give a Payment due date or Payment terms.",
            message_de="Ist der fällige Betrag positiv, braucht es ein Fälligkeitsdatum oder Zahlungsbedingungen.",
        )


def _rule_findings(document_xml: bytes, profile: Profile) -> Iterator[Finding]:
    catalog = remediation.cached_catalog()  # type: ignore[no-untyped-call]  # the library has no annotations here
    # The stricter of the library's two sets for both profiles: what ZUGFeRD does not ask for is told apart below.
    report = einvoice.validate_bytes(document_xml, profile="xrechnung")
    if report.get("error"):
        yield _structural("XML", str(report.get("message") or report["error"]))
        return
    violations = [(each["rule"], each["severity"], each["message"]) for each in report["violations"]]
    # Not part of the call above, although XRechnung's schematron contains them.
    root = ET.fromstring(document_xml)  # noqa: S314 - the lines above have read it with every safeguard
    peppol = rules_peppol.evaluate_cii(root)  # type: ignore[no-untyped-call]  # the library has no annotations here
    violations += [(each.rule_id, each.severity, each.message) for each in peppol]
    for rule, severity, message in violations:
        if profile is Profile.ZUGFERD and rule == _PROFILE_RULE:
            continue
        entry = catalog.get(rule, {})
        yield Finding(
            rule,
            _severity(rule, severity, profile),
            tuple(entry.get("bt_bg", ())),
            message_en=message,
            message_de=entry.get("message_de") or entry.get("title_de") or message,
        )


def _severity(rule: str, official: str, profile: Profile) -> Severity:
    if rule in _ERRORS_HERE:
        return "error"
    if profile is Profile.ZUGFERD and rule in _XRECHNUNG_ONLY:
        return "warning"
    return "error" if official == "fatal" else "warning"


def _structural(rule: str, message: str, terms: tuple[str, ...] = ()) -> Finding:
    return Finding(rule, "error", terms, message_en=message, message_de=f"Aufbau des XML: {message}")
