"""A load report in the short form for a picture's metadata: counts in place of long lists, and no machine paths."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from .report import LoadReport

_SHOWN_KEYS = 20


def summary(report: LoadReport, **how: Any) -> dict[str, Any]:
    """Return what was loaded, in plain types, beginning with `how` (run, strengths, active range …).

    Of the keys that did not match, the first 20 are named and all are counted. Keys that were left out are counted by
    reason. `file` is the file's name and its folder's.
    """
    document = report.as_dict()
    path = Path(document.pop("path"))
    document["ignored"] = dict(Counter(report.ignored.values()))
    document["parts"] = {
        name: {
            "matched": part.matched,
            "unmatched": len(part.unmatched),
            "unmatched_keys": list(part.unmatched[:_SHOWN_KEYS]),
        }
        for name, part in report.parts.items()
    }
    document["norms"] = {group: float(f"{norm:.4g}") for group, norm in report.norms.items()}
    return {**how, "file": f"{path.parent.name}/{path.name}", **document}
