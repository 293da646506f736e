"""The index of rules: it finds those that may apply, so that a judgement costs the same with ten rules or 10,000.

Every value that a rule lists is kept in a dictionary. What a URL lies under is found there at the URL's segment
boundaries; what begins with a URL stands side by side in a sorted list. Rules on the same fields form a group. Of the
lists found the shortest is gone through, and the others are only searched for its members. The rules that remain are
tried one by one. An index never leaves out a rule that would hold; it may only return too many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from heapq import merge
from itertools import chain
from operator import attrgetter

from gateway.core.request import ByFilter, ByRunIds, EveryRun, Selection
from gateway.core.run import Run
from gateway.policy.index.fields import ALLOWED, DENIED, RUN_IDS, URL, Field, Hits, Urls, Values, common, takes_any
from gateway.policy.model import MEMBERS, Rule, values


@dataclass(frozen=True, slots=True)
class _Group:
    """The rules that mention the same fields, need the same ones, and take any value of the same ones."""

    fields: frozenset[str]
    needed: frozenset[str]
    unbounded: frozenset[str]
    places: Sequence[int]
    members: frozenset[int]

    def among(self, hits: Hits, fields: Iterable[str]) -> Sequence[int]:
        """Return the rules that are hit on each of the fields, in their order."""
        found = [one for name in fields if name in hits and name not in self.unbounded for one in hits[name]]
        if not found:
            return self.places
        left: AbstractSet[int] = self.members
        # Start with the fewest: the others are only searched for these.
        for one in sorted(found, key=len):
            left = common(left, one)
        return sorted(left)


class _Index:
    """The index of some rules, in the order given: by the values that they list and the fields that they mention."""

    def __init__(self, rules: Iterable[Rule], fields: Mapping[str, type[Field]]) -> None:
        self._rules = tuple(rules)
        # Index only fields that a rule mentions: nothing can be found in the others.
        named = frozenset().union(*(rule.conditions for rule in self._rules))
        self._fields = {name: field() for name, field in fields.items() if name in named}
        groups: dict[tuple[frozenset[str], frozenset[str], frozenset[str]], list[int]] = defaultdict(list)
        for place, rule in enumerate(self._rules):
            alone = (place,)
            unbounded = frozenset(name for name in self._fields if takes_any(rule.conditions.get(name)))
            for name in (rule.conditions.keys() & self._fields.keys()) - unbounded:
                self._fields[name].place(rule.conditions[name], alone)
            needed = frozenset(name for name, condition in rule.conditions.items() if not condition.optional)
            groups[frozenset(rule.conditions), needed, unbounded].append(place)
        self._groups = tuple(_Group(*kind, tuple(places), frozenset(places)) for kind, places in groups.items())
        # There are no more shapes of a selection than sets of its five fields.
        self._by_shape: dict[tuple[frozenset[str], bool], tuple[Sequence[_Group], frozenset[str]]] = {}
        self._last: tuple[Selection, Sequence[int]] | None = None

    def prepare(self) -> None:
        """Compute now what is otherwise computed on first use."""
        for field in self._fields.values():
            field.prepare()

    def _at(self, places: Iterable[int]) -> Iterator[Rule]:
        return (self._rules[place] for place in places)

    def _touching(self, values: Values, *, exact: bool = True) -> Hits:
        return {
            name: self._fields[name].touching(found, exact=exact)
            for name, found in values.items()
            if name in self._fields
        }


class AllowIndex(_Index):
    """The index of `allow` rules; built once, never changed."""

    def __init__(self, allows: Iterable[Rule]) -> None:
        super().__init__(allows, ALLOWED)

    def candidates(self, selection: Selection) -> Iterator[Rule]:
        """Return every rule that shares something with the selection; of several URLs only the first counts.

        Each comes once, the closest first. No other rule could admit the selection.
        """
        match selection:
            case ByRunIds():
                return self._at(self._by_ids)
            case ByFilter(workflow_urls=[first, *_]):
                return self._at(self._near(first))
            case ByFilter():
                return self._at(self._without_url)
        return self._at(self._everything)

    def admitting(self, selection: Selection) -> Iterator[Rule]:
        """Return every rule that could admit the selection, and perhaps others; each once, in their order."""
        # A refusal is judged again with the same selection and another count, to propose that.
        last = self._last
        if last is None or last[0] is not selection:
            self._last = last = selection, [*_in_order(self._admitting(selection))]
        return self._at(last[1])

    def number(self, selection: Selection) -> int:
        """Return how many rules `admitting` returns."""
        return sum(map(len, self._admitting(selection)))

    def _admitting(self, selection: Selection) -> list[Sequence[int]]:
        if isinstance(selection, EveryRun):
            return [self._everything]
        by_ids, carried = isinstance(selection, ByRunIds), selection.carried
        known = self._by_shape.get((carried, by_ids))
        if known is None:
            known = self._by_shape[carried, by_ids] = self._fitting(carried, by_ids=by_ids)
        fitting, bounding = known
        if not fitting:
            return []
        exact = isinstance(selection, ByFilter) and selection.exact
        hits = {
            name: self._fields[name].admitting(values, exact=exact)
            for name, values in asked(selection).items()
            if name in bounding
        }
        return [group.among(hits, carried) for group in fitting]

    def _fitting(self, carried: frozenset[str], *, by_ids: bool) -> tuple[Sequence[_Group], frozenset[str]]:
        """Return the groups that may admit a selection by these fields, and those fields that one of them bounds."""
        fitting = [
            group
            for group in self._groups
            if carried <= group.fields and (by_ids or (group.needed <= carried and RUN_IDS not in group.fields))
        ]
        return fitting, frozenset().union(*(group.fields - group.unbounded for group in fitting))

    def about(self, url: str, others: Values | None = None) -> Iterator[Rule]:
        """Return every rule that could cover a run with this URL, and perhaps others; each once, in their order.

        `others` holds the run's values of other fields.
        """
        hits = self._touching({URL: (url,), **(others or {})})
        return self._at(_in_order(group.among(hits, group.needed) for group in self._groups))

    def _near(self, url: str) -> Iterator[int]:
        exactly, *above = (self._fields.get(URL) or Urls()).about(url, exact=True)
        given: set[int] = set()
        for place in chain(exactly, self._of_any_url, *above):
            if place not in given and RUN_IDS not in self._rules[place].conditions:
                given.add(place)
                yield place

    @cached_property
    def _of_any_url(self) -> Sequence[int]:
        return sorted(place for group in self._groups if URL in group.unbounded for place in group.places)

    @cached_property
    def _by_ids(self) -> Sequence[int]:
        return [place for place, rule in enumerate(self._rules) if RUN_IDS in rule.conditions]

    @cached_property
    def _everything(self) -> Sequence[int]:
        return [place for place, rule in enumerate(self._rules) if rule.admits_everything]

    @cached_property
    def _without_url(self) -> Sequence[int]:
        others = {*self._by_ids, *self._everything}
        groups = (group for group in self._groups if URL not in group.needed)
        return sorted({place for group in groups for place in group.places} - others)


class DenyIndex(_Index):
    """The index of `deny` rules, given in order of name; built once, never changed."""

    def __init__(self, denies: Iterable[Rule]) -> None:
        super().__init__(denies, DENIED)

    def candidates(self, selection: Selection, *, wholly: bool = False) -> Iterator[Rule]:
        """Return every rule that could match the selection, and perhaps others; each once, by name.

        A field that the selection leaves open counts as a match; with `wholly` a rule matches only if all of its fields
        are carried.
        """
        return self._at(_in_order(self._matching(selection, wholly=wholly)))

    def number(self, selection: Selection) -> int:
        """Return how many rules `candidates` returns at most."""
        return sum(map(len, self._matching(selection, wholly=False)))

    def _matching(self, selection: Selection, *, wholly: bool) -> list[Sequence[int]]:
        if not self._rules:
            return []
        carried = selection.carried
        exact = isinstance(selection, ByFilter) and selection.exact
        hits = self._touching(asked(selection), exact=exact)
        groups = (group for group in self._groups if not wholly or group.fields <= carried)
        return [group.among(hits, group.fields) for group in groups]

    def about(self, urls: Iterable[str], others: Values | None = None) -> Iterator[Rule]:
        """Return every rule that could match a run with one of these URLs, by name.

        `others` holds the run's values of other fields.
        """
        if not self._rules:
            return iter(())
        hits = self._touching({URL: tuple(urls), **(others or {})})
        return self._at(_in_order(group.among(hits, group.fields) for group in self._groups))


def _in_order(found: Iterable[Sequence[int]]) -> Iterable[int]:
    """Merge the places of several groups into one order."""
    lists = [places for places in found if places]
    return merge(*lists) if len(lists) > 1 else lists[0] if lists else ()


def seen(run: Run) -> Values:
    """Return a run's values of the fields that are looked up, without its URL."""
    return {
        RUN_IDS: (run.run_id,),
        **{field: values(run, field) for field in MEMBERS},
    }


_ASKED = {field: attrgetter(member) for field, member in {URL: "workflow_urls", **MEMBERS}.items()}
"""For each field that is looked up, what returns a filter's values of it."""


def asked(selection: Selection) -> Values:
    """Return a selection's values of the fields that are looked up."""
    match selection:
        case ByRunIds(run_ids=run_ids):
            return {RUN_IDS: run_ids}
        case ByFilter():
            return {field: found for field, of in _ASKED.items() if (found := of(selection))}
    return {}
