// The jobs, as they change: server-sent events, read with fetch because an EventSource cannot send the token. Where
// there is no stream, or something between holds it back, the list is asked for again and again.

import { call, get, isAway, parsed } from "./api.js";

const SILENT_MS = 40_000; // the service says something every 15 s
const POLL_MS = 1000;
const PAUSES_MS = [500, 1000, 2000, 5000];
const SILENT = new Error("the stream is held back");
const ON_THE_WAY = ["queued", "running"];
const KEPT = 200;

/** @type {Map<string, object>} the newest state of each job that was heard of */
const known = new Map();
/** @type {Map<string, {stage: string, done: number, at: number}>} where each job's present stage was first seen */
const firsts = new Map();
const listeners = new EventTarget();

/** @param {object} job */
export const isOnTheWay = (job) => ON_THE_WAY.includes(job.state);

/** Newest first. */
export const newest = () => [...known.values()].sort((a, b) => (a.id < b.id ? 1 : -1));

/** @param {string} id */
export const heardOf = (id) => known.get(id);

/**
 * Call back for each job that is new or has changed, until the signal.
 * @param {(job: object) => void} listener
 * @param {AbortSignal} signal
 */
export function onJob(listener, signal) {
  listeners.addEventListener("job", (event) => listener(event.detail), { signal });
}

/** Call back with true and false as the service comes and goes. @param {(isThere: boolean) => void} listener */
export function onService(listener, signal) {
  listeners.addEventListener("service", (event) => listener(event.detail), { signal });
}

/** Take note of a job, wherever it was heard of; one that has ended does not go back. @param {object} job */
export function learn(job) {
  const before = known.get(job.id);
  if (before && !isOnTheWay(before) && isOnTheWay(job)) return;
  if (before && JSON.stringify(before) === JSON.stringify(job)) return;
  known.set(job.id, job);
  note(job);
  if (known.size > KEPT) forgetOldest(job);
  listeners.dispatchEvent(new CustomEvent("job", { detail: job }));
}

/** The oldest of those that have ended. @param {object} but not this one, which was just asked for */
function forgetOldest(but) {
  const oldest = newest().findLast((job) => job !== but && !isOnTheWay(job));
  if (oldest) known.delete(oldest.id);
}

/**
 * How fast a job is, and how long its stage still takes; null while nobody can tell.
 * @param {object} job
 */
export function pace(job) {
  const first = firsts.get(job.id);
  if (!first || !job.progress) return null;
  const perMs = (job.progress.done - first.done) / (performance.now() - first.at);
  return perMs > 0 ? { perSecond: perMs * 1000, leftMs: (job.progress.total - job.progress.done) / perMs } : null;
}

function note(job) {
  if (!job.progress) firsts.delete(job.id);
  else if (firsts.get(job.id)?.stage !== job.stage) {
    firsts.set(job.id, { stage: job.stage, done: job.progress.done, at: performance.now() });
  }
}

/** Listen for as long as the page is there, and somebody looks at it. */
export async function listen() {
  let look = stream;
  for (let failures = 0; ;) {
    if (document.hidden)
      await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
    try {
      await look(() => {
        failures = 0;
        service(true);
      });
    } catch (error) {
      if (error === SILENT || error.status === 404) look = poll;
      else if (!document.hidden) {
        service(!isAway(error));
        await pause(PAUSES_MS[Math.min(failures++, PAUSES_MS.length - 1)]);
      }
    }
  }
}

let isThere = true;

function service(now) {
  if (now === isThere) return;
  isThere = now;
  listeners.dispatchEvent(new CustomEvent("service", { detail: now }));
}

/** @param {() => void} heard */
async function stream(heard) {
  const leave = new AbortController();
  const whenHidden = () => document.hidden && leave.abort();
  document.addEventListener("visibilitychange", whenHidden);
  let silence = setTimeout(() => leave.abort(SILENT), SILENT_MS);
  try {
    const response = await call("/api/v1/jobs/events", {
      headers: { Accept: "text/event-stream" },
      signal: leave.signal,
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      clearTimeout(silence);
      silence = setTimeout(() => leave.abort(SILENT), SILENT_MS);
      const events = (text + value).split("\n\n");
      text = events.pop();
      events.forEach(take);
    }
  } finally {
    clearTimeout(silence);
    document.removeEventListener("visibilitychange", whenHidden);
  }
}

/** @param {string} event */
function take(event) {
  const data = event
    .split("\n")
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).trimStart());
  if (data.length) learn(parsed(data.join("\n")));
}

/** Without a stream: until the list cannot be had. @param {() => void} heard */
async function poll(heard) {
  while (!document.hidden) {
    const { items } = await get("/api/v1/jobs?limit=20");
    heard();
    items.reverse().forEach(learn);
    await pause(POLL_MS);
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
