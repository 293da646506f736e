"""The values in answers that give an overview: numbers, what is on record of a decision, policies in force."""

from __future__ import annotations

from gateway.core.request import Action
from gateway.edge.described.declare import (
    RULE,
    TIME,
    UUID,
    Schema,
    listed,
    mapping,
    number,
    or_null,
    ref,
    text,
    value,
    yes_or_no,
)


def counts() -> Schema:
    """Return the numbers of decisions over time."""
    each = {
        "at": text("When the part begins.", **TIME),
        "decisions": number("How many decisions were made."),
        "denied": number("How many of them refused the request."),
        "cancelled": number("How many runs are certainly cancelled by them."),
        "done": mapping("To how many things each action was certainly done, by its name.", number("Things.")),
    }
    members: dict[str, Schema] = {
        "from": text("When the first part begins.", **TIME),
        "to": text("When the last part ends.", **TIME),
        "step_s": {"type": "number", "description": "How long each part is, in seconds."},
        "complete": yes_or_no("Whether all decisions of that time are counted; else only the newest are."),
        "counts": listed("The parts, oldest first.", value("One part.", each)),
    }
    return value("The numbers of decisions over time.", members)


def records() -> Schema:
    """Return what is on record of a decision."""
    record: dict[str, Schema] = {
        "chain": text("The chain."),
        "seq": number("The number of the record in its chain."),
        "at": text("When it was written.", **TIME),
        "event": text("Which event it is."),
        "members": {"type": "object", "description": "Its members, as docs/record.md has them."},
    }
    chain: dict[str, Schema] = {
        "chain": text("The chain."),
        "verifies": {
            "type": ["boolean", "null"],
            "description": "Whether nothing in it was changed, by the chain alone; null if it is not read to its end.",
        },
    }
    members: dict[str, Schema] = {
        "decision_id": text("The ID of the decision.", **UUID),
        "records": listed("The records, in their order.", value("One record.", record)),
        "chains": listed("The chains in which they stand.", value("One chain.", chain)),
        "rules": or_null(
            listed("The part of each rule; null if the policies of that time cannot be read.", ref("RuleExplained"))
        ),
        "left_out": number("How many further rules are not shown."),
    }
    return value("What is on record of a decision.", members)


def policies() -> Schema:
    """Return the policies in force, as a caller sees them."""
    shadow = {
        "refuse": number("How many requests it would have refused."),
        "admit": number("How many requests it would have admitted."),
        "recount": number("How many counts it would have changed."),
    }
    rule: dict[str, Schema] = {
        "rule": text(f"{RULE}."),
        "effect": text("Its kind.", enum=["deny", "require", "allow"]),
        "actions": listed("What it is about.", {"type": "string", "enum": [one.value for one in Action]}),
        "mode": text("Whether it is enforced.", enum=["enforce", "shadow"]),
        "hits": number("How many decisions name it."),
        "shadow": value("What it would have done in shadow mode.", shadow),
    }
    file: dict[str, Schema] = {
        "file": text("Its name."),
        "teams": listed("The teams that it is made for; `*` is every team.", {"type": "string"}),
        "text": text("As it was written."),
        "rules": listed("Its rules.", value("One rule, and what it did.", rule)),
    }
    members: dict[str, Schema] = {
        "policy_digest": text("The SHA-256 of all policies in force.", pattern="^[0-9a-f]{64}$"),
        "since": text("The decisions since then are counted.", **TIME),
        "decisions": number("How many these are."),
        "complete": yes_or_no("Whether all decisions of that time are counted; else only the newest are."),
        "files": listed("The files.", value("One file.", file)),
    }
    return value("The policies in force, as far as the caller sees them.", members)
