"""The official schematron in a process of its own.

`python schematron.py STYLESHEET FILE...` prints the failed asserts of each file as JSON.

Saxon crashes among threads and takes 150 MB, so it is never imported by a test.
"""

import json
import sys
from pathlib import Path
from typing import Any

from lxml import etree
from saxonche import PySaxonProcessor  # type: ignore[import-not-found]  # a compiled module without types

SVRL = "{http://purl.oclc.org/dsdl/svrl}"


def main(stylesheet: str, files: list[str]) -> None:
    failed: dict[str, list[dict[str, Any]]] = {}
    with PySaxonProcessor(license=False) as processor:
        executable = processor.new_xslt30_processor().compile_stylesheet(stylesheet_file=stylesheet)
        for file in files:
            report = etree.fromstring(executable.transform_to_string(source_file=file).encode())
            fired = len(report.findall(f"{SVRL}fired-rule"))
            asserts = report.findall(f"{SVRL}failed-assert")
            failed[Path(file).name] = [
                {"rule": each.get("id"), "flag": each.get("flag"), "text": each.findtext(f"{SVRL}text")}
                for each in asserts
            ]
            if not fired:
                failed[Path(file).name].append({"rule": "none", "flag": "fatal", "text": "no rule looked at it"})
    json.dump(failed, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
