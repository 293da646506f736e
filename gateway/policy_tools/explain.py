"""Why a request is decided as it is: the decision, and every rule's part in it; pure.

No part can say other than what the gateway does (parts.py), and the parts together imply the decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.plan import Decision, Denial, Permit
from gateway.core.run import Resolution
from gateway.policy.model import Effect
from gateway.policy.rules import Policies
from gateway.policy.window import duration
from gateway.policy_tools.parts import Part, parts_of
from gateway.policy_tools.question import Question

Members = dict[str, object]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision on a question, and the part of every rule that speaks about the team, in the order of judgement."""

    question: Question
    decision: Decision
    parts: tuple[Part, ...]
    policy_digest: str

    def members(self, *, most: int | None = None) -> Members:
        """All of it as JSON, with at most `most` parts: those that had something to say first."""
        decision, asked = self.decision, self.question.request
        permitted = isinstance(decision, Permit)
        shown = self.parts if most is None else sorted(self.parts, key=_silence)[:most]
        return {
            "decision": decision.decided,
            "enforced": "permit" if permitted else "deny",
            "rule": decision.rule,
            "shadow": decision.shadow,
            "exceptions": list(decision.exceptions),
            "asked": asked.wire(),
            "effective": decision.effective.wire() if isinstance(decision, Permit) else None,
            "resolve": bounds_of(decision.resolution) if isinstance(decision, Permit) else None,
            "reason": decision.reason if isinstance(decision, Denial) else None,
            "nearest": decision.nearest if isinstance(decision, Denial) else None,
            "not_admitted": None,
            "owner": None,
            **(decision.particulars() if isinstance(decision, Denial) else {}),
            "rules": [part.members() for part in shown],
            "left_out": len(self.parts) - len(shown),
            "policy_digest": self.policy_digest,
        }


def _silence(part: Part) -> tuple[bool, bool]:
    return not part.decides, not part.reached


def explain(policies: Policies, question: Question) -> Explanation:
    """Judges the question as the gateway would, and says how each rule took part."""
    decision = question.judged(policies)
    parts = tuple(parts_of(policies, question, decision))
    return Explanation(question, decision, parts, policies.digest)


def implied(parts: Sequence[Part]) -> tuple[str | None, int | None]:
    """What the enforced parts amount to: the rule that decides, and the count permitted (None: refused)."""
    enforced = [part for part in parts if not part.shadow]
    refusing = [part for part in enforced if part.effect is not Effect.ALLOW and part.reached and not _lowers(part)]
    if refusing:
        return refusing[0].rule, None
    admitting = [part for part in enforced if part.effect is Effect.ALLOW and part.holds]
    if not admitting:
        return None, None
    best = max(part.count_after for part in admitting)
    first = next(part for part in admitting if part.count_after == best)
    return first.rule, first.count_after


def _lowers(part: Part) -> bool:
    return part.effect is Effect.REQUIRE and part.holds


def bounds_of(resolution: Resolution | None) -> Members | None:
    """What is asked of the runs that are looked up, as a policy file writes it; None where none are."""
    if resolution is None:
        return None
    older = {"older_than": duration(resolution.older_than_ms)} if resolution.older_than_ms else {}
    return {"max": resolution.max_runs, **older}


def resolution_in_words(resolution: Resolution) -> str:
    """The bounds on the runs that are looked up."""
    words = [] if resolution.max_runs is None else [f"more than {resolution.max_runs} left are refused"]
    if resolution.older_than_ms:
        words.append(f"those younger than {duration(resolution.older_than_ms)} are left out")
    return ", ".join(words) or "any number"
