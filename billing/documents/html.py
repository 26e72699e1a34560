"""A document as one HTML page for screen and paper, word for word what its PDF says; it loads nothing."""

from base64 import b64encode

from jinja2 import Environment, PackageLoader, StrictUndefined

from billing.documents.document import Document
from billing.documents.guide import Guide
from billing.documents.sheet import Sheet, sheet_of

_environment = Environment(
    loader=PackageLoader("billing", "documents"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_html(document: Document) -> str:
    """Return the page of a document."""
    return render_sheet(sheet_of(document), document.logo)


def render_sheet(sheet: Sheet, logo: bytes | None = None) -> str:
    """Return the page of a sheet; `logo` is a PNG or JPEG."""
    return _environment.get_template("document.html").render(logo=_shown(logo), sheet=sheet)


def render_guide(guide: Guide, logo: bytes | None = None) -> str:
    """Return the page of a guide; `logo` is a PNG or JPEG."""
    return _environment.get_template("guide.html").render(logo=_shown(logo), guide=guide)


def _shown(logo: bytes | None) -> str | None:
    if not logo:
        return None
    kind = "png" if logo.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{b64encode(logo).decode()}"
