"""Bugs in what a team learns of decisions, and in what the next process makes of those that were left open."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug, Edit

FINDING, SLICES, KEEPER, LEFT, JOINED = (
    "gateway/audit/decisions/finding.py",
    "gateway/audit/decisions/slices.py",
    "gateway/audit/decisions/keeper.py",
    "gateway/audit/decisions/left_open.py",
    "gateway/audit/decisions/joined.py",
)
INDEX, OVER_THE_WIRE = ("tests/audit/decisions/test_index.py",), ("tests/system/test_decisions.py",)
TWO = ("tests/audit/decisions/test_two_gateways.py",)

IN_DECISIONS = (
    Bug(
        "another team's decision is shown",
        (Edit(FINDING, "return decision if _is_of(decision, team) else", "return decision if decision.team else"),),
        OVER_THE_WIRE,
    ),
    Bug(
        "the index says whose a decision is",
        (Edit(FINDING, "append(decision if _is_of(decision, team) else", "append(decision if decision.begun else"),),
        INDEX,
    ),
    Bug(
        "the index is trusted after the chain was replaced",
        (Edit(SLICES, "digest() != position.digest or line", "digest() == b'' or line"),),
        INDEX,
    ),
    Bug(
        "a tail that was cut and written otherwise is read on",
        (Edit(SLICES, 'members.get("prev") != position.digest.hex()', 'members.get("prev") is None'),),
        INDEX,
    ),
    Bug(
        "what a retired chain held is remembered",
        (
            Edit(
                KEEPER,
                "            index.forget(chain)\n            del self._positions[chain]\n\n",
                "            pass\n\n",
            ),
        ),
        INDEX,
    ),
    Bug(
        "what is not indexed yet is taken for nothing",
        (Edit(FINDING, "if not self.keeper.caught_up:", "if self.keeper.fault:"),),
        INDEX,
    ),
    Bug(
        "what another process has indexed so far is taken for all",
        (Edit(KEEPER, "return not any(has_lines(self._listing.chains[chain]) for chain in missing)", "return True"),),
        TWO,
    ),
    Bug(
        "an index that another process writes is none until nothing grows",
        (Edit(KEEPER, "self.caught_up = self._others_is_whole()", "self.caught_up = not self._behind(changed)"),),
        TWO,
    ),
    Bug(
        "a read-back lowers what is certain",
        (Edit(JOINED, "max(certain, self.settled) if self.is_read_back else self.settled", "self.settled"),),
        ("tests/audit/test_joined.py",),
    ),
    Bug(
        "what was settled is followed once more",
        (Edit(LEFT, "            self.open.pop(decision_id, None)\n", "            pass\n"),),
        OVER_THE_WIRE,
    ),
    Bug(
        "two processes follow one outcome",
        (Edit(LEFT, "held[last] = lock is not None", "held[last] = True"),),
        OVER_THE_WIRE,
    ),
)
