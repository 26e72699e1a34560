"""What collection and dunning are opened with, as the settings say: gateway, policy, and the way out for mail."""

from billing.attempts import CollectionPolicy
from billing.gateways.smtp import Mailer, open_mailer
from billing.gateways.stripe import StripeGateway
from provisioning.core.settings import Settings


def open_gateway(settings: Settings, *, live: bool) -> StripeGateway | None:
    """The gateway to Stripe where there is a key, to be closed by the caller.

    Raises ValueError for what is no key, and for a live one that `live` does not allow.
    """
    if settings.stripe_api_key is None:
        return None
    secret = settings.stripe_webhook_secret
    return StripeGateway(
        settings.stripe_api_key.get_secret_value(),
        webhook_secret=None if secret is None else secret.get_secret_value(),
        live=live,
        url=settings.stripe_url,
        per_second=settings.stripe_requests_per_second,
    )


def policy_of(settings: Settings) -> CollectionPolicy:
    return CollectionPolicy(
        return_fee_cents=settings.return_fee_cents, return_url=settings.public_url.rstrip("/") + "/"
    )


def mailer_of(settings: Settings) -> Mailer | None:
    """The mail server where there is one. Raises ValueError for what is no address of one."""
    return None if settings.smtp_url is None else open_mailer(settings.smtp_url.get_secret_value())
