"""Every key of a study in Markdown, from the schema, so that the reference cannot drift from what is checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipelines.study import schema

FAMILIES = ("dataset", "split", "features", "encoders")


def reference() -> str:
    """The reference as one Markdown text: study keys, then the arguments of every class."""
    top = schema()
    lines = ["## Study", "", *_table(_rows(top, top))]
    for name, part in top["properties"].items():
        if part.get("type") == "object" and "allOf" not in part and name not in FAMILIES:
            lines += ["", f"## `{name}`", "", part["description"], "", *_table(_rows(part, top))]
    for family in FAMILIES:
        lines += ["", f"## Classes of `{family}`", "", top["properties"][family]["description"]]
        for key, part in top["$defs"].items():
            if key.startswith(f"{family}-"):
                lines += ["", f"### `{key.removeprefix(family + '-')}`", "", *_table(_rows(part, top))]
    return "\n".join(lines) + "\n"


def _rows(part: dict[str, Any], top: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for key, sub in part["properties"].items():
        if key == "class":
            continue
        default = "required" if key in part.get("required", []) else _default(sub)
        yield f"`{key}`", _kind(sub), default, sub["description"].replace("|", "\\|")


def _kind(sub: dict[str, Any]) -> str:
    if "enum" in sub:
        return ", ".join(f"`{json.dumps(value).strip(chr(34))}`" for value in sub["enum"])
    kinds = sub.get("type", "see text")
    return ", ".join(kinds) if isinstance(kinds, list) else kinds


def _default(sub: dict[str, Any]) -> str:
    if "default" not in sub:
        return ""
    return "see below" if sub["default"] == {} else f"`{json.dumps(sub['default']).strip(chr(34))}`"


def _table(rows: Iterator[tuple[str, str, str, str]]) -> list[str]:
    head = ["| key | type | default | meaning |", "|---|---|---|---|"]
    return head + [f"| {' | '.join(row)} |" for row in rows]
