"""XML as these protocols want it: elements with a text each, in an order that some programs rely on."""

from lxml import etree


def tell(parent: etree._Element, **texts: str) -> None:
    """Append an element for each name, with its text."""
    for name, content in texts.items():
        etree.SubElement(parent, name).text = content


def to_bytes(root: etree._Element) -> bytes:
    return etree.tostring(root, xml_declaration=True, encoding="utf-8", pretty_print=True)
