// What the console does beside its pages: charts from the tables, and rows for decisions as they are closed.
"use strict";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const draw = (place) => {
  const rows = [...document.querySelectorAll(`#${place.dataset.table} tbody tr`)];
  if (rows.length === 0) return;
  const times = rows.map((row) => Date.parse(row.dataset.at) / 1000);
  const numbers = rows.map((row) => Number(row.dataset[place.dataset.chart]));
  const line = colour(place.dataset.chart === "denied" ? "--bad" : "--good");
  const axis = { stroke: colour("--text-light"), grid: { stroke: colour("--border"), width: 0.25 }, ticks: { show: false } };
  const size = () => ({ width: Math.max(200, place.clientWidth), height: 180 });
  place.replaceChildren();
  const chart = new uPlot(
    {
      ...size(),
      legend: { show: false },
      cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
      series: [{}, { stroke: line, fill: `${line}33`, width: 1.5, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } }],
      axes: [axis, { ...axis, size: 48, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] }],
    },
    [times, numbers],
    place,
  );
  new ResizeObserver(() => chart.setSize(size())).observe(place);
};

const cell = (row, text, kind) => {
  const made = row.insertCell();
  if (kind) made.className = kind;
  if (text !== null) made.textContent = text;
  return made;
};

const terms = (request) =>
  Object.entries(request)
    .flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map((one) => `${name}=${one}`))
    .join(" · ");

const shown = (row, one) => {
  row.replaceChildren();
  row.dataset.decision = one.decision_id;
  const link = document.createElement("a");
  link.href = `/decisions/${encodeURIComponent(one.decision_id)}`;
  const when = document.createElement("time");
  when.dateTime = one.at;
  when.textContent = `${one.at.slice(0, 10)} ${one.at.slice(11, 19)} UTC`;
  link.append(when);
  cell(row, null).append(link);
  cell(row, one.principal);
  cell(row, one.action.replaceAll("_", " "));
  cell(row, terms(one.request), "terms");
  cell(row, one.rule ?? "none");
  const state = document.createElement("span");
  state.className = `state state-${one.state}`;
  state.textContent = one.state.replaceAll("_", " ");
  cell(row, null).append(state);
  cell(row, one.cancelled ?? "?", "number");
};

const follow = (table, status) => {
  const body = table.tBodies[0];
  const stream = new EventSource("/events");
  stream.addEventListener("open", () => (status.textContent = "Live: new decisions appear here by themselves."));
  stream.addEventListener("error", () => {
    status.textContent =
      stream.readyState === EventSource.CLOSED ? "Not live any more. Load the page again." : "Not live, trying again…";
  });
  stream.addEventListener("missed", () => (status.textContent = "There were too many to show. Load the page again."));
  stream.addEventListener("decision", (event) => {
    const one = JSON.parse(event.data);
    const before = [...body.rows].find((row) => row.dataset.decision === one.decision_id);
    shown(before ?? body.insertRow(0), one);
    while (body.rows.length > 50) body.deleteRow(-1);
  });
};

document.addEventListener("DOMContentLoaded", () => {
  for (const place of document.querySelectorAll("[data-chart]")) draw(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const place of document.querySelectorAll("[data-chart]")) draw(place);
  });
  const table = document.querySelector("table[data-live]");
  const status = document.querySelector("#live");
  if (table && status) follow(table, status);
});

// A plan that is under way looks again by itself; once it has ended the page is loaded whole, with what may be done then.
document.addEventListener("htmx:afterSwap", () => {
  if (document.querySelector("#progress") && !document.querySelector("[data-under-way]")) location.reload();
});
document.addEventListener("htmx:responseError", () => location.reload());
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.responseURL.endsWith("/login")) location.assign("/login");
});
