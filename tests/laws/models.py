"""How upstream might read a query: one model for each way that is not proven wrong.

Written from the contract alone, and shares no code with the gateway or the simulator. A model takes the bytes that
were sent and the running runs, and gives the runs that such a server would cancel. Wherever a server might ignore
something, the model does: a filter that vanishes widens the call, down to every run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.laws.reference import Run

Pairs = list[tuple[str, str]]

FILTERS = ("workflowUrl", "fromDate", "toDate", "callerIp", "flowControlKey", "label")
"""The filters that every server knows. No model knows `host` and `path`: it is not known whether an account does."""
PARSE_BOOL = {"1": True, "t": True, "T": True, "TRUE": True, "true": True, "True": True}
"""The spellings that Go's strconv.ParseBool takes for true; every other text is false, or an error taken for false."""


def every_value(values: Sequence[str]) -> list[str]:
    """OR over repeated parameters."""
    return list(values)


def split_at_commas(values: Sequence[str]) -> list[str]:
    """OR over repeated parameters and over the parts of each."""
    return [part for value in values for part in value.split(",") if part]


@dataclass(frozen=True)
class Model:
    """One server's reading; the defaults are what is documented of the newest."""

    name: str
    values: Callable[[Sequence[str]], list[str]] = every_value
    separators: str = "&"
    bad_pairs: Callable[[str], bool] = field(default=lambda pair: False)
    decodings: int = 1
    plus_is_space: bool = True
    fold: Callable[[str], str] = field(default=lambda name: name)
    is_exact: Callable[[str], bool] = field(default=lambda text: PARSE_BOOL.get(text, False))
    urls_match: Callable[[str, str, bool], bool] = field(default=lambda run, url, exact: starts(run, url, exact=exact))
    ids_override: bool = True
    ids_join_filters: bool = False
    empty_is_absent: bool = True
    counts: Callable[[list[Run], int], list[Run]] = field(default=lambda runs, count: runs)

    def selected(self, query: str, runs: Sequence[Run], *, field: str = "workflowRunIds") -> list[Run]:
        """The runs that this server cancels for the query, or other things that it hits, whose IDs are in `field`."""
        found = self._members(self._pairs(query), field)
        ids = found.get(field, [])
        matching = [run for run in runs if self._matches(run, found)]
        if ids and self.ids_override:
            return [run for run in runs if run.run_id in ids]
        if ids and self.ids_join_filters:
            filtered = matching if any(name in found for name in FILTERS) else []
            return [run for run in runs if run.run_id in ids or run in filtered]
        if ids:
            matching = [run for run in matching if run.run_id in ids]
        count = self.values(found.get("count", ["100"]))[0]
        return self.counts(matching, int(count) if count.isdecimal() else 100)

    def _pairs(self, query: str) -> Pairs:
        texts = [query]
        for separator in self.separators:
            texts = [part for text in texts for part in text.split(separator)]
        halves = (text.partition("=") for text in texts if text and not self.bad_pairs(text))
        return [(self._decoded(name), self._decoded(value)) for name, _, value in halves]

    def _decoded(self, text: str) -> str:
        for _ in range(self.decodings):
            text = unquote(text.replace("+", " ") if self.plus_is_space else text)
        return text

    def _members(self, pairs: Pairs, ids: str) -> dict[str, list[str]]:
        known = {self.fold(name): name for name in (*FILTERS, ids, "workflowUrlExactMatch", "count")}
        found: dict[str, list[str]] = {}
        for name, value in pairs:
            if self.fold(name) in known and (value or not self.empty_is_absent):
                found.setdefault(known[self.fold(name)], []).append(value)
        read = {name: self.values(values) for name, values in found.items()}
        return {name: values for name, values in read.items() if values}

    def _matches(self, run: Run, found: dict[str, list[str]]) -> bool:
        exact = self.is_exact(found.get("workflowUrlExactMatch", ["false"])[0])
        own = {"label": run.label, "flowControlKey": run.flow_control_key, "callerIp": run.caller_ip}
        if any(own[name] not in found[name] for name in own if name in found):
            return False
        if "workflowUrl" in found and not any(self.urls_match(run.url, url, exact) for url in found["workflowUrl"]):
            return False
        start, end = number(found.get("fromDate", ["0"])[0]), number(found.get("toDate", ["9" * 13])[0])
        return start <= run.created_ms <= end


def starts(run_url: str, url: str, *, exact: bool) -> bool:
    """Upstream's matching: a prefix without any boundary, unless exact."""
    return run_url == url if exact else run_url.startswith(url)


def number(text: str) -> int:
    """A date as a lenient server takes it: nonsense is 0."""
    return int(text) if text.isdecimal() else 0


def bad_for_go(pair: str) -> bool:
    """What Go's url.ParseQuery drops: a pair with a semicolon or a broken escape."""
    escapes = pair.split("%")[1:]
    return ";" in pair or any(len(rest) < 2 or not all(c in HEX for c in rest[:2]) for rest in escapes)


HEX = "0123456789abcdefABCDEF"


def oldest_first(runs: list[Run], count: int) -> list[Run]:
    """`count` as a cap, from the oldest run on."""
    return sorted(runs, key=lambda run: run.created_ms)[:count]


MODELS = (
    Model("repeated values are OR"),
    Model("first value only", values=lambda values: list(values[:1])),
    Model("last value only", values=lambda values: list(values[-1:])),
    Model("commas split", values=split_at_commas),
    Model("bad pairs dropped", bad_pairs=bad_for_go),
    Model("semicolons separate", separators="&;"),
    Model("decoded twice", decodings=2, values=split_at_commas),
    Model("plus is a plus", plus_is_space=False),
    Model("names case-folded", fold=str.lower),
    Model("exact flag by ParseBool", is_exact=lambda text: PARSE_BOOL.get(text, False)),
    Model("exact flag only 'true'", is_exact=lambda text: text == "true"),
    Model("prefix without boundary", urls_match=lambda run, url, exact: starts(run, url, exact=exact)),
    Model("run IDs override"),
    Model("run IDs and filters join", ids_override=False, ids_join_filters=True),
    Model("empty value is no filter"),
    Model("empty value matches nothing", empty_is_absent=False),
    Model("count is a cap", counts=oldest_first),
    Model("count is ignored", counts=lambda runs, count: runs),
    Model("many at once", values=split_at_commas, bad_pairs=bad_for_go, decodings=2, fold=str.lower),
)


def named(name: str) -> Model:
    """The model of that name."""
    return next(model for model in MODELS if model.name == name)
