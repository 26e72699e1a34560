"""What servers look like from outside: those of a data centre, and those of one mailbox."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_HOST = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"

Host = Annotated[str, Field(pattern=f"^{_HOST}$", max_length=253, description="In lower case, as A-label.")]
Url = Annotated[str, Field(pattern=f"^https://{_HOST}(:[1-9][0-9]{{0,4}})?(/[A-Za-z0-9._~-]+)*$", max_length=512)]
BaseUrl = Annotated[str, Field(pattern=f"^https://{_HOST}(:[1-9][0-9]{{0,4}})?/([A-Za-z0-9._~-]+/)*$", max_length=512)]


class ServerShape(BaseModel):
    """A host and a port."""

    model_config = ConfigDict(
        extra="forbid",
        from_attributes=True,
        json_schema_extra={"examples": [{"host": "mail.de-fra-1.example", "port": 993, "security": "tls"}]},
    )

    host: Host
    port: int = Field(ge=1, le=65535, strict=True)
    security: Literal["tls", "starttls"] = Field(
        "tls", description="TLS from the first byte, or STARTTLS. Nothing is offered without either."
    )


class EndpointsShape(BaseModel):
    """Where programs find the servers of a data centre; null for what it does not offer."""

    model_config = ConfigDict(
        extra="forbid",
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "imap": {"host": "mail.de-fra-1.example", "port": 993, "security": "tls"},
                    "pop3": {"host": "mail.de-fra-1.example", "port": 995, "security": "tls"},
                    "submission": {"host": "mail.de-fra-1.example", "port": 465, "security": "tls"},
                    "sieve": {"host": "mail.de-fra-1.example", "port": 4190, "security": "starttls"},
                    "activesync_url": "https://mail.de-fra-1.example/Microsoft-Server-ActiveSync",
                    "dav_url": "https://mail.de-fra-1.example/SOGo/dav/",
                    "web_url": "https://mail.de-fra-1.example/SOGo/",
                }
            ]
        },
    )

    imap: ServerShape | None = None
    pop3: ServerShape | None = None
    submission: ServerShape | None = Field(None, description="Where programs hand in mail; SMTP with authentication.")
    sieve: ServerShape | None = None
    activesync_url: Url | None = None
    dav_url: BaseUrl | None = Field(None, description="The root of CalDAV and CardDAV, with a slash at the end.")
    web_url: BaseUrl | None = Field(None, description="Webmail, with a slash at the end.")
