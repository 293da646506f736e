"""The examples for collectors, as far as they can be read without one: options that exist, limits above any record."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from gateway.audit.events.catalogue import EVENTS
from gateway.audit.events.shapes import members_of
from gateway.audit.reader import MAX_LINE_BYTES
from gateway.audit.segment import segment_path
from tests.serving.test_manifests import kind, kubernetes
from tests.support.project import ROOT

EXAMPLES = ROOT / "docs" / "examples"
VECTOR = yaml.safe_load((EXAMPLES / "vector.yaml").read_text())
PAGE = (ROOT / "docs" / "operations.md").read_text().partition("### The record in a collector")[2].partition("\n## ")[0]
AUDIT = Path(yaml.safe_load(kubernetes().config)["audit"]["directory"])
BUFFERED = {"type", "max_size", "when_full"}

# As the documentation of each program names them (vector.dev, docs.fluentbit.io), in the lower case that both accept.
OPTIONS: Mapping[str, set[str]] = {
    "file": {
        *("include", "read_from", "fingerprint", "glob_minimum_cooldown_ms", "max_line_bytes", "fingerprint.strategy"),
        "fingerprint.lines",
    },
    "kubernetes_logs": {
        *("extra_label_selector", "include_paths_glob_patterns", "auto_partial_merge", "max_merged_line_bytes"),
        "max_line_bytes",
    },
    "filter": {"condition"},
    "remap": {"source", "drop_on_error", "reroute_dropped"},
    "route": {"route", "route.checkpoints", "route.files", "reroute_unmatched"},
    "http": {
        *("uri", "method", "encoding", "encoding.codec", "framing", "framing.method", "batch", "batch.max_bytes"),
        *("acknowledgements", "acknowledgements.enabled", "buffer", *(f"buffer.{name}" for name in BUFFERED)),
    },
    "console": {"target", "encoding", "encoding.codec"},
    "service": {"parsers_file", "storage.path", "storage.sync", "multiline_buffer_limit"},
    "input tail": {
        *("alias", "tag", "path", "refresh_interval", "read_from_head", "db", "db.sync", "db.compare_filename"),
        *("buffer_chunk_size", "buffer_max_size", "skip_long_lines", "storage.type", "multiline.parser"),
    },
    "filter grep": {"match", "regex"},
    "filter parser": {"match_regex", "key_name", "parser", "preserve_key", "reserve_data"},
    "filter rewrite_tag": {"match", "rule", "emitter_name", "emitter_storage.type"},
    "output http": {"match", "host", "port", "uri", "format", "tls", "retry_limit"},
    "parser qstash_record": {"format", "time_key", "time_format", "time_keep"},
}

MAY_BE_LONG = {"asked", "runs", "skipped", "progress", "heads", "damaged", "problems", "files"}
"""Members that name as many runs, files or chains as there are."""


def sections(name: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The sections of a file of Fluent Bit, each with its kind, its program's name, and its options."""
    for head, body in re.findall(
        r"^\[([A-Z]+)\]\n((?:(?:    \S.*|\s*#.*|)\n)*)", (EXAMPLES / name).read_text(), re.MULTILINE
    ):
        lines = (line.split(None, 1) for line in body.splitlines() if line.strip() and not line.strip().startswith("#"))
        options = {key.lower(): value.strip() for key, value in lines}
        assert len(options) == sum(bool(re.match(r" {4}[^#\s]", line)) for line in body.splitlines())
        yield f"{head.lower()} {options.pop('name', '')}".strip(), options


FLUENT_BIT = [*sections("fluent-bit.conf"), *sections("fluent-bit-parsers.conf")]


def components() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each part of Vector's file, by its name."""
    for group in ("sources", "transforms", "sinks"):
        yield from VECTOR[group].items()


def names(options: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Options with those inside of them, joined by dots."""
    for name, value in options.items():
        yield before + name
        if isinstance(value, dict):
            yield from names(value, f"{before}{name}.")


def size(text: str) -> int:
    """A size as Fluent Bit writes it."""
    number, unit = re.fullmatch(r"(\d+)([KM])B", text).groups()  # type: ignore[union-attr]
    return int(number) * {"K": 1000, "M": 1000 * 1000}[unit]


def test_every_option_is_one_of_its_program() -> None:
    """An option that is not known would be refused at the start, or worse, ignored."""
    assert VECTOR.keys() == {"data_dir", "sources", "transforms", "sinks"}
    for name, part in components():
        assert set(names(part)) - OPTIONS[part["type"]] <= {"type", "inputs"}, name
    for name, options in FLUENT_BIT:
        assert options.keys() <= OPTIONS[name], name


def test_every_part_of_vector_reads_from_one_that_there_is() -> None:
    """Nothing is left unread either: what is read goes on to a sink."""
    made = {*VECTOR["sources"], *VECTOR["transforms"], "records.dropped"}
    made |= {f"kinds.{name}" for name in VECTOR["transforms"]["kinds"]["route"]}
    read = {one for _, part in components() for one in part.get("inputs", ())}
    assert read <= made
    assert made - read == {"kinds"}


def test_every_match_of_fluent_bit_is_a_tag() -> None:
    """The tags of the inputs, and the one that checkpoints get."""
    tags = {options["tag"] for _, options in FLUENT_BIT if "tag" in options}
    tags |= {options["rule"].split()[2] for _, options in FLUENT_BIT if "rule" in options}
    assert {options["match"] for _, options in FLUENT_BIT if "match" in options} == tags
    regex = [options["match_regex"] for _, options in FLUENT_BIT if "match_regex" in options]
    assert [bool(re.fullmatch(regex[0], tag)) for tag in sorted(tags)] == [tag != "checkpoint" for tag in sorted(tags)]
    parsers = {name.removeprefix("parser ") for name, _ in FLUENT_BIT if name.startswith("parser ")}
    assert {options["parser"] for _, options in FLUENT_BIT if "parser" in options} == parsers


def test_both_read_every_file_of_the_record_and_no_other() -> None:
    """Segments, and neither locks nor what was torn off."""
    (pattern,) = VECTOR["sources"]["files"]["include"]
    (tailed,) = (options["path"] for _, options in FLUENT_BIT if options.get("tag") == "record")
    assert pattern == tailed
    chain = "01a2291c-eebc-73bc-b0cc-6ae38f7da312"
    segment = segment_path(AUDIT, chain, 1)
    assert fnmatch(str(segment), pattern)
    assert not any(
        fnmatch(str(path), pattern)
        for path in (AUDIT / f"{chain}.lock", segment.with_suffix(".jsonl.torn"), AUDIT / "policies" / f"{chain}.json")
    )
    kept = [
        VECTOR["data_dir"],
        *(options[name] for _, options in FLUENT_BIT for name in ("db", "storage.path") if name in options),
    ]
    assert not [path for path in kept if Path(path).is_relative_to(AUDIT)]


def test_standard_output_is_that_of_the_gateway_in_the_pod() -> None:
    """By the label and the container's name that the manifest gives."""
    labels = kind("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    container = kind("StatefulSet")["spec"]["template"]["spec"]["initContainers"][0]["name"]
    source = VECTOR["sources"]["output"]
    assert source["extra_label_selector"] == "app=" + labels["app"]
    assert source["include_paths_glob_patterns"] == [f"**/{container}/*"]
    (path,) = (options["path"] for _, options in FLUENT_BIT if options.get("tag") == "output")
    assert fnmatch(f"/var/log/containers/{labels['app']}-0_default_{container}-{'0' * 64}.log", path)


def test_no_limit_is_below_what_the_gateway_reads() -> None:
    """A line that the gateway would read is neither dropped nor cut."""
    files, output = VECTOR["sources"]["files"], VECTOR["sources"]["output"]
    limits = [files["max_line_bytes"], output["max_line_bytes"], output["max_merged_line_bytes"]]
    assert min(limits) >= MAX_LINE_BYTES
    (record,) = (options for _, options in FLUENT_BIT if options.get("tag") == "record")
    (service,) = (options for name, options in FLUENT_BIT if name == "service")
    assert size(record["buffer_max_size"]) >= MAX_LINE_BYTES
    assert size(service["multiline_buffer_limit"]) >= MAX_LINE_BYTES


def test_the_page_names_every_event_that_may_be_long() -> None:
    """Those with a member that names as many runs, files or chains as there are."""
    told = PAGE.partition("**Long lines.**")[2].partition("\n- ")[0]
    long = {event.NAME for event in EVENTS if {member.name for member in members_of(event)} & MAY_BE_LONG}
    assert long == set(re.findall(r"`(\w+)`", told)) & {event.NAME for event in EVENTS}


def test_the_page_says_that_neither_was_run() -> None:
    """Until somebody does: then this goes, and the page says which version it was."""
    assert "neither was run" in PAGE
