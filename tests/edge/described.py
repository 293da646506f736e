"""Answers beside the document that describes them: read strictly, so that nothing in an answer is left unsaid."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonschema

from gateway.edge.described.document import document
from tests.support.gateway import Answer

Said = tuple[str, str, int, str]
"""A method, a path as the document has it, a status, and the code of a problem; empty of a success."""

_TOLD = re.compile("gateway-.*|x-request-id|retry-after|burst-ratelimit-.*|www-authenticate")


def _strict(node: object) -> object:
    """The schemas, in which an object has no members but those that are named."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    inner = {key: _strict(member) for key, member in node.items()}
    if inner.get("type") == "object" and "properties" in inner:
        inner.setdefault("additionalProperties", False)
    return inner


@dataclass
class Described:
    """The document, and what has been seen of it."""

    document: dict[str, Any] = field(default_factory=document)
    seen: set[Said] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._components = {"components": {"schemas": _strict(self.document["components"]["schemas"])}}

    def said(self) -> set[Said]:
        """Every success, and every problem of every call."""
        found: set[Said] = set()
        for path, methods in self.document["paths"].items():
            for method, call in methods.items():
                for status, response in call["responses"].items():
                    codes = self._codes(self._at(response))
                    found |= {(method.upper(), path, int(status), code) for code in codes}
        return found

    def check(self, method: str, target: str, answer: Answer) -> None:
        """The answer is one that the document says of this call: status, code, headers, content type and members."""
        path = self._path(target.partition("?")[0])
        responses = self.document["paths"][path][method.lower()]["responses"]
        assert str(answer.status) in responses, (method, target, answer)
        response = self._at(responses[str(answer.status)])
        self._check_headers(response["headers"], answer)
        [(kind, content)] = response["content"].items()
        assert answer.headers["content-type"] == kind
        if kind == "text/event-stream":
            for data in re.findall(rb"^data: (.*)$", answer.body, re.MULTILINE):
                self.check_value(self.value("Decision"), json.loads(data))
            self.seen.add((method, path, answer.status, ""))
            return
        body = answer.json()
        self.check_value(content["schema"], body)
        self.seen.add((method, path, answer.status, str(body["code"]) if answer.status >= 400 else ""))

    def check_value(self, schema: Mapping[str, object], value: object) -> None:
        """The value is as the schema says, and has nothing that it does not say."""
        # What a problem is narrowed to beside a reference has members of its own, and is not closed.
        jsonschema.validate(value, {**self._components, **schema}, jsonschema.Draft202012Validator)

    def value(self, name: str) -> dict[str, object]:
        """The place of a value."""
        assert name in self.document["components"]["schemas"]
        return {"$ref": f"#/components/schemas/{name}"}

    def _check_headers(self, described: Mapping[str, Mapping[str, str]], answer: Answer) -> None:
        headers = {name.lower(): self._at(place) for name, place in described.items()}
        told = {name for name in answer.headers if _TOLD.fullmatch(name)}
        assert told <= headers.keys()
        assert {name for name, header in headers.items() if header["required"]} <= told
        for name in told:
            schema, text = headers[name]["schema"], answer.headers[name]
            jsonschema.validate(json.loads(text) if schema["type"] == "integer" else text, schema)

    def _at(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """The node, or what it refers to."""
        if "$ref" not in node:
            return node
        found: Any = self.document
        for name in node["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return found

    def _path(self, path: str) -> str:
        """The path as the document has it; one without a parameter goes first."""
        patterns = {one: re.compile(re.sub(r"\{[a-z]+\}", "[^/]+", one)) for one in self.document["paths"]}
        return next(one for one in sorted(patterns, key=lambda one: "{" in one) if patterns[one].fullmatch(path))

    def _codes(self, response: Mapping[str, Any]) -> list[str]:
        [content] = response["content"].values()
        parts = content["schema"].get("allOf")
        return list(parts[1]["properties"]["code"]["enum"]) if parts else [""]
