/**
 * Makes one official client cancel, or call something else, and prints what its caller would have seen.
 *
 * Standard input is one JSON object:
 *   client     "latest" | "1.1"
 *   baseUrl    where the client is pointed at
 *   token      what the client sends as its bearer token
 *   calls      the arguments of cancel(), one call each, made one after the other
 *   loop       optional: true makes every call the documented `do { … } while (cancelled > 0)`
 *   logs       optional: true makes every call the arguments of logs(), repeated with each page's cursor to the last page
 *   actions    optional: true makes every call {on, steps}: `on` is "workflow", the client, or "qstash", the client of
 *              QStash that it brings along; each step is the name of a property, or a list of a method and its arguments
 *   loopCap    optional: how many answers a loop may take before it is stopped (20)
 *   retries    optional: the client's own `retry: {retries}`, or false for `retry: false`; left out, its default of 5
 *   backoffMs  optional: the pause between the client's tries; left out, its default (50 ms, times e each time)
 *
 * JSON has no `undefined` and no dates: {"$undefined": true} and {"$date": <ms>} stand for them anywhere in a call.
 *
 * Standard output is a JSON list, one member per call:
 *   {ok: <the value>, attempts}                        {ok: [<values>], ended: <false at the cap>, attempts} for a loop
 *                                                      or for logs
 *   {error: {name, status, message, cause}, attempts}  and `ok`, the answers before it, for a loop
 * `attempts` counts the requests that the client made, `status` and `cause` (a code such as ECONNRESET) may be null.
 */

import { createRequire } from "node:module";
import { text } from "node:stream/consumers";
import { Client as Latest } from "workflow-latest";
import { Client as Older } from "workflow-1.1";

const CLIENTS = { latest: Latest, 1.1: Older };
const { Client: Qstash } = createRequire(createRequire(import.meta.url).resolve("workflow-latest"))("@upstash/qstash");

/** Puts back what JSON cannot say; a property that is `undefined` stays present, as in the caller's object. */
function revive(value) {
  if (Array.isArray(value)) return value.map(revive);
  if (value === null || typeof value !== "object") return value;
  if (value.$undefined === true) return undefined;
  if (Number.isInteger(value.$date)) return new Date(value.$date);
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, revive(member)]));
}

/** The constructor's options, as a person would write them. */
function options({ baseUrl, token, retries, backoffMs }) {
  if (retries === false) return { baseUrl, token, retry: false };
  if (retries === undefined && backoffMs === undefined) return { baseUrl, token };
  const backoff = backoffMs === undefined ? undefined : () => backoffMs;
  return { baseUrl, token, retry: { retries, backoff } };
}

function seen(error) {
  const cause = error.cause?.code ?? error.cause?.message ?? null;
  return { name: error.name, status: error.status ?? null, message: error.message, cause };
}

async function once(client, argument) {
  try {
    return { ok: await client.cancel(argument) };
  } catch (error) {
    return { error: seen(error) };
  }
}

/** Follows the steps from a client to a value, as a person writes `client.queue({queueName}).pause()`. */
async function acted(clients, { on, steps }) {
  try {
    let value = clients[on];
    for (const step of steps) value = typeof step === "string" ? value[step] : await value[step[0]](...step.slice(1));
    return { ok: value ?? null };
  } catch (error) {
    return { error: seen(error) };
  }
}

/** The loop of the client's own documentation, with a cap that a test can see. */
async function untilNoneIsLeft(client, argument, cap) {
  const answers = [];
  try {
    do {
      if (answers.length === cap) return { ok: answers, ended: false };
      answers.push(await client.cancel(argument));
    } while (answers.at(-1).cancelled > 0);
  } catch (error) {
    return { ok: answers, ended: true, error: seen(error) };
  }
  return { ok: answers, ended: true };
}

/** Every page of the log, as the client's own documentation turns them. */
async function untilTheLastPage(client, argument, cap) {
  const pages = [];
  let cursor;
  try {
    do {
      if (pages.length === cap) return { ok: pages, ended: false };
      pages.push(await client.logs({ ...argument, cursor }));
      cursor = pages.at(-1).cursor;
    } while (cursor);
  } catch (error) {
    return { ok: pages, ended: true, error: seen(error) };
  }
  return { ok: pages, ended: true };
}

/** Counts requests without changing them: the client's retries are part of what is tested. */
function counted(fetch) {
  const counting = (...request) => {
    counting.attempts += 1;
    return fetch(...request);
  };
  counting.attempts = 0;
  return counting;
}

async function main() {
  // The clients read QSTASH_* where an option is missing; a test says everything itself.
  for (const name of Object.keys(process.env)) if (name.includes("QSTASH_")) delete process.env[name];
  globalThis.fetch = counted(globalThis.fetch);

  const asked = JSON.parse(await text(process.stdin));
  const { client: version, calls, loop = false, logs = false, actions = false, loopCap = 20, ...rest } = asked;
  const client = new CLIENTS[version](options(rest));
  const clients = { workflow: client, qstash: new Qstash(options(rest)) };
  const results = [];
  for (const call of calls) {
    globalThis.fetch.attempts = 0;
    const argument = revive(call);
    const many = logs ? untilTheLastPage : loop ? untilNoneIsLeft : undefined;
    const one = actions ? () => acted(clients, argument) : () => once(client, argument);
    const result = many ? await many(client, argument, loopCap) : await one();
    results.push({ ...result, attempts: globalThis.fetch.attempts });
  }
  console.log(JSON.stringify(results));
}

await main();
