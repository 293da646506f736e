"""Bugs of the pure core: the head, the reading and the judgement."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug, Edit

READ, QUERY, MODEL, READINGS, FRAMING = (
    "gateway/operations/calls/cancel_runs.py",
    "gateway/core/forms/query.py",
    "gateway/policy/conditions.py",
    "gateway/policy/reading.py",
    "gateway/edge/head.py",
)
REQUEST, FILTER_FIELDS = "gateway/core/request.py", ("tests/core/test_filter_fields.py",)
PLAN, NARROWER = "gateway/core/plan.py", ("tests/policy/test_narrower_requests.py",)
HEADS, SINGLE = ("tests/edge/test_head.py",), ("tests/edge/test_single_cancel.py",)
ORACLE = tuple(f"tests/laws/test_{name}.py" for name in ("boundaries", "oracle", "seeded_bugs"))
FIELDS, INDEX = "gateway/policy/index/fields.py", "gateway/policy/index/rules.py"
INDEXED = ("tests/policy/test_index.py",)

# The index leaves out what would not hold, so a real bug of such a kind would stand in both places.
STARTSWITH = (
    Edit(MODEL, "if exact and url in self.exact:", "if exact and url.startswith(tuple(self.exact)):"),
    Edit(
        FIELDS,
        "        if exact:\n            yield self.listed.at(value)\n",
        "        if exact:\n"
        "            yield from (self.listed.at(text) for text, _ in self.listed.pairs() if value.startswith(text))\n",
    ),
)
WITHOUT_BOUNDARY = (
    Edit(
        "gateway/core/grammar.py",
        '    return prefix.endswith("/") or url[len(prefix) : len(prefix) + 1] in ("", "/")',
        "    return True",
    ),
    Edit(
        FIELDS,
        "        yield self.pages.at(value)\n",
        "        yield from (self.pages.at(value[:end]) for end in range(1, len(value) + 1))\n",
    ),
)
UNNAMED_FILTER = (
    Edit(
        READINGS,
        "return selection.carried <= rule.conditions.keys() and not",
        "return not",
    ),
    Edit(INDEX, "if resolved else carried <= self.fields\n", "if resolved else True\n"),
    Edit(INDEX, "if name in carried & bounding]", "if name in carried & bounding and name in self._fields]"),
)
HERE_SENT = (
    Edit(PLAN, "case ByIds() | ByFilter() as selection:", "case selection if selection.carried:"),
    Edit(
        PLAN,
        "if not isinstance(self.selection, _BY_FILTER_TOO if self.action is CANCEL_RUNS else ByIds):",
        "if not self.selection.carried:",
    ),
    Edit(READINGS, " and not isinstance(selection, ONLY_HERE)\n", "\n"),
)
WIDENING = (
    Edit(
        READINGS,
        "    return not selection.carried or not selection.carried.isdisjoint(rule.conditions)\n",
        "    return True\n",
    ),
    Edit(INDEX, "mentioned = not carried.isdisjoint(self.fields) if resolved", "mentioned = True if resolved"),
)
NEIGHBOURS = (
    Edit(
        MODEL,
        "self.any or self.any_of.issuperset(asked_values(selection, self.field))",
        "self.any or self.overlaps(selection, 0)",
    ),
    Edit(
        INDEX,
        "self._fields[name].admitting(of(selection), exact=exact)",
        "self._fields[name].touching(of(selection), exact=exact)",
    ),
)

# The one file of the core that sees a bug: the whole takes minutes, and the file seconds.
CONDITIONS, GRAMMAR, DIGITS = (
    ("tests/policy/test_conditions.py",),
    ("tests/core/test_grammar.py",),
    ("tests/core/test_digits.py",),
)

UPGRADE = (Edit(FRAMING, " or (upgrade and not offers_h2c):", ":"),)

VIEW, CAPPED = "gateway/policy/view.py", "min(count, self._cap, MAX_COUNT if by_ids else rule.cap)"

IN_READING = (
    Bug(
        "a field is judged and left out of the order",
        (
            Edit(
                REQUEST,
                "                pairs.append((name, one))  # noqa: PERF401\n",
                '                pairs += [(name, one)] if name != "label" else []\n',
            ),
        ),
        FILTER_FIELDS,
    ),
    Bug(
        "a field is known and not read",
        (Edit(QUERY, '    "labels": LABELS,\n', ""),),
        FILTER_FIELDS,
    ),
    Bug(
        "a field is sent and its values are not checked",
        (
            Edit(
                REQUEST,
                "            grammar.check_each(name, checks[self.exact], value)\n",
                '            if name != "label":\n'
                "                grammar.check_each(name, checks[self.exact], value)\n",
            ),
        ),
        FILTER_FIELDS,
    ),
    Bug(
        "a run in the path is read as every run",
        (Edit(READ, "    if form.field is None:\n", "    if form.path.startswith(RUNS):\n"),),
        SINGLE,
    ),
    Bug(
        "the report of a runtime is read as a cancel",
        (Edit(READ, "    if wanted is False:\n", "    if wanted is None and not run_id:\n"),),
        SINGLE,
    ),
    Bug("startswith for an exact match", STARTSWITH, CONDITIONS),
    Bug("startswith for an exact match, before the oracle", STARTSWITH, ORACLE),
    Bug(
        "the last duplicate wins",
        (
            Edit(
                QUERY,
                "before.append(value)",
                "values[name] = [value]",
            ),
        ),
        GRAMMAR,
    ),
    Bug("a comma stands in a value", (Edit(QUERY, 'if "," in value:', "if not value:"),), GRAMMAR),
    Bug("a pair that Go drops is read", (Edit(QUERY, '";" in raw or _BAD_ESCAPE.search(raw)', "not raw"),), GRAMMAR),
    Bug(
        "names in any case",
        (
            Edit(
                QUERY,
                '        name, _, raw_value = pair.partition("=")\n',
                '        name, _, raw_value = pair.partition("=")\n'
                "        name = next((known for known in once if known.lower() == name.lower()), name)\n",
            ),
        ),
        GRAMMAR,
    ),
    Bug(
        "an empty value passes for none",
        (
            Edit(
                QUERY,
                "        if not raw_value:\n",
                "        if not raw_value:\n            continue\n        if not raw_value:\n",
            ),
        ),
        GRAMMAR,
    ),
    Bug(
        "a filter beside run IDs passes",
        (Edit(READ, "        if len(values) > 1:\n", "        if len(values) > 9:\n"),),
        GRAMMAR,
    ),
    Bug(
        "the last duplicate wins in JSON",
        (Edit("gateway/core/forms/strict_json.py", "if len(members) != len(pairs):", "if len(members) > len(pairs):"),),
        GRAMMAR,
    ),
    Bug(
        "dates in seconds, and zero",
        (
            Edit("gateway/core/grammar.py", '"[1-9][0-9]{12}"', '"[0-9]{10,13}"'),
            Edit("gateway/core/request.py", "10**12 <= date", "0 <= date"),
        ),
        GRAMMAR,
    ),
    Bug(
        "full-width digits are a count",
        (
            Edit(
                "gateway/core/grammar.py",
                '_COUNT = re.compile(r"[1-9][0-9]{0,8}")',
                '_COUNT = re.compile(r"[1-9]\\d{0,8}")',
            ),
        ),
        DIGITS,
    ),
    Bug(
        "deny by containment",
        (
            Edit(
                READINGS, "return condition.overlaps(selection, now_ms)", "return condition.contains(selection, now_ms)"
            ),
        ),
        CONDITIONS,
    ),
    Bug(
        "deny forgets what the request leaves out",
        (Edit(READINGS, "        field not in told or _overlaps(", "        field in told and _overlaps("),),
        CONDITIONS,
    ),
    Bug(
        "count raised to the cap",
        (Edit(VIEW, CAPPED, "min(self._cap, rule.cap)"),),
        CONDITIONS,
    ),
    Bug(
        "the largest cap counts",
        (
            Edit(
                VIEW,
                CAPPED,
                "min(count, max((cap for cap in (self._cap, rule.cap) if cap < MAX_COUNT), default=count))",
            ),
            Edit(VIEW, "min([rule.cap for rule in rules], default", "max([rule.cap for rule in rules], default"),
        ),
        CONDITIONS,
    ),
    Bug("a filter with a host is sent", HERE_SENT, (*FILTER_FIELDS, *NARROWER)),
    Bug(
        "upstream's log is asked for a host",
        (
            Edit(
                "gateway/upstream/runs/narrowing.py",
                '    pairs += [("label", label) for label in selection.labels]\n',
                '    pairs += [pair for pair in selection.pairs() if pair[0] in ("label", "host")]\n',
            ),
        ),
        NARROWER,
    ),
    Bug("a filter that the rule does not mention widens", WIDENING, NARROWER),
    Bug(
        "a host is not matched on the runs",
        (
            Edit(
                "gateway/policy/choose.py",
                "in selection.carried & MEMBERS.keys())",
                'in selection.carried & MEMBERS.keys() - {"host"})',
            ),
        ),
        NARROWER,
    ),
    Bug(
        "a prefix of paths has no boundary",
        (
            Edit(
                MODEL,
                "value in self.any_of or lies_under(value, self.prefix, in_subtree)",
                "value in self.any_of or value.startswith(self.prefix)",
            ),
        ),
        NARROWER,
    ),
    Bug(
        "an exact URL is not demanded of what is sent",
        (Edit(READINGS, "if forwarded and rule.exact_match", "if not forwarded and rule.exact_match"),),
        NARROWER,
    ),
    Bug("a filter that the rule does not name is admitted", UNNAMED_FILTER, CONDITIONS),
    Bug("one admitted value admits its neighbours", NEIGHBOURS, CONDITIONS),
    Bug("one admitted value admits its neighbours, before the oracle", NEIGHBOURS, ORACLE),
    Bug("prefix without boundary in a policy", WITHOUT_BOUNDARY, CONDITIONS),
    Bug(
        "a deny below a prefix is not looked up",
        (Edit(FIELDS, "for url in _shortest(values):", "for url in ():"),),
        INDEXED,
    ),
    Bug(
        "a deny on the page of a query is not looked up",
        (Edit(FIELDS, '        yield self.pages.at(value.partition("?")[0])\n', ""),),
        INDEXED,
    ),
    Bug(
        "a label that a request leaves out touches no deny",
        (Edit(INDEX, "group for group in self._groups if not wholly or", "group for group in self._groups if"),),
        INDEXED,
    ),
    Bug(
        "a rule that may leave a field out is looked up by it",
        (Edit(INDEX, "group.among(hits, group.needed)", "group.among(hits, group.fields)"),),
        INDEXED,
    ),
    Bug(
        "a rule that takes any value is looked up by the one that is asked",
        (Edit(INDEX, "name in hits and name not in self.unbounded", "name in hits"),),
        INDEXED,
    ),
    Bug(
        "of several lists only the first is asked",
        (Edit(FIELDS, "for one in self._lists", "for one in self._lists[:1]"),),
        INDEXED,
    ),
    Bug("prefix without boundary in a policy, before the oracle", WITHOUT_BOUNDARY, ORACLE),
    Bug(
        "prefix without boundary in a request",
        (Edit(MODEL, 'return (exact or url.endswith("/")) and lies_under', "return lies_under"),),
        ORACLE,
    ),
    Bug(
        "a shadow allow admits",
        (Edit("gateway/policy/rules.py", "if not rule.shadow)", "if not rule.shadow or rule.effect is Effect.ALLOW)"),),
        CONDITIONS,
    ),
    Bug(
        "the last duplicate wins in YAML",
        (
            Edit(
                "gateway/files/yaml_text.py",
                "case Scalar(text=text) if text in first:",
                "case Scalar(text=text) if not text:",
            ),
        ),
        ("tests/files/test_document.py", "tests/policy/test_load.py"),
    ),
    Bug("Upgrade not refused", UPGRADE, HEADS),
    Bug("Upgrade not refused, on the wire", UPGRADE, ("tests/edge/test_heads.py",)),
    Bug(
        "the body behind an offer of HTTP/2 is lost",
        (Edit("gateway/edge/protocol.py", "        if self._leaves_out_body:\n            return\n", ""),),
        ("tests/edge/test_offers.py",),
    ),
    Bug("a second Host accepted", (Edit(FRAMING, "if len(hosts) != 1 or", "if not hosts or"),), HEADS),
    Bug(
        "length and chunks accepted", (Edit(FRAMING, "if lengths and codings:", "if lengths == codings != []:"),), HEADS
    ),
    Bug(
        "an expired key accepted",
        (Edit("gateway/callers/authenticate.py", ">= known.expires_ms:", "< 0:"),),
        ("tests/callers/test_authn.py",),
    ),
)
