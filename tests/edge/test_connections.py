"""There are never more connections than may be, and which of them gives way is not for one caller to choose."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.edge.connections import MOST_UNTAKEN_BYTES, Connections


@dataclass(eq=False)
class Caller:
    """A connection; `waits` are bytes that it does not take."""

    connections: Connections
    team: str | None = None
    waits: int = 0
    gone: bool = False

    def evict(self) -> None:
        self.gone = True
        self.connections.closed(self)

    def untaken_bytes(self) -> int:
        return self.waits

    def opens(self) -> Caller:
        """Connects."""
        self.connections.opened(self)
        return self

    def asks(self, team: str | None) -> Caller:
        """Sends a whole request of a team, and gets its answer."""
        self.sends()
        self.team = team
        self.connections.idle(self)
        return self

    def sends(self) -> Caller:
        """Sends a whole request."""
        self.connections.busy(self)
        return self


def test_the_longest_idle_stranger_gives_way_and_one_with_a_whole_request_does_not() -> None:
    """A head or a body on its way, and an answer that was written, are idle."""
    connections = Connections(3)
    first, busy, idle = (Caller(connections).opens() for _ in range(3))
    busy.sends()
    Caller(connections).opens()
    Caller(connections).opens()
    assert (first.gone, busy.gone, idle.gone) == (True, False, True)


def test_connections_without_end_of_one_team_end_none_of_another() -> None:
    """The team with most connections gives way, with the one idle for longest, however old those of others are."""
    connections = Connections(20)
    small = Caller(connections).opens().asks("search")
    many = [Caller(connections).opens().asks("billing") for _ in range(100)]
    assert not small.gone
    assert [caller.gone for caller in many] == [True] * 81 + [False] * 19


def test_strangers_end_no_connection_of_a_known_caller() -> None:
    """Those who never say who they are give way to each other."""
    connections = Connections(20)
    known = [Caller(connections).opens().asks(team) for team in ("billing", "search")]
    strangers = [Caller(connections).opens() for _ in range(200)]
    assert not any(caller.gone for caller in known)
    assert sum(not caller.gone for caller in strangers) == 18


def test_where_all_have_a_request_in_flight_the_newest_is_not_taken() -> None:
    """The number holds, and nobody who waits for an answer loses it."""
    connections = Connections(3)
    busy = [Caller(connections).opens().sends() for _ in range(3)]
    late = Caller(connections).opens()
    assert (late.gone, [caller.gone for caller in busy]) == (True, [False] * 3)
    busy[0].evict()
    assert not Caller(connections).opens().gone


def test_a_connection_takes_over_the_place_of_its_handshake() -> None:
    """One place for both, so that a full table ends nobody for it."""
    connections = Connections(2)
    other, handshake = Caller(connections).opens(), Caller(connections).opens()
    connections.opened(Caller(connections), instead_of=handshake)
    assert not other.gone


def test_answers_that_nobody_takes_are_bounded_in_bytes() -> None:
    """Whoever leaves most of them gives way; a caller of another team that is slow with one keeps it."""
    connections = Connections(100)
    slow = Caller(connections, team="search", waits=MOST_UNTAKEN_BYTES // 8).opens()
    connections.untaken(slow)
    greedy = [Caller(connections, team="billing", waits=MOST_UNTAKEN_BYTES // 10).opens() for _ in range(30)]
    for caller in greedy:
        connections.untaken(caller)
    assert not slow.gone
    assert sum(caller.waits for caller in (slow, *greedy) if not caller.gone) <= MOST_UNTAKEN_BYTES
    assert sum(not caller.gone for caller in greedy) == 8


def test_an_answer_that_was_taken_counts_no_more() -> None:
    """A bound on what waits is none on what was served."""
    connections = Connections(100)
    callers = [Caller(connections, waits=MOST_UNTAKEN_BYTES - 1).opens() for _ in range(9)]
    for caller in callers:
        connections.untaken(caller)
        caller.waits = 0
    assert not any(caller.gone for caller in callers)
