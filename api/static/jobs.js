// The list of jobs, and a job's parts that its own page shows as well.

import { answered, call, get, isAway } from "./api.js";
import { fill, h } from "./elements.js";
import { ago, counted, moment, number, shortId } from "./format.js";
import { isOnTheWay, learn, newest, onJob } from "./live.js";
import { announce, failed, failure, sentence, succeeded } from "./notices.js";
import { address } from "./router.js";
import { progress, timings } from "./stages.js";

const SHOWN = 20;

// What a sentence of the service names a job by.
const UUID = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g;

/** What has become of a job, in a word or two, and how good that is. @param {object} job */
export function verdict(job) {
  if (job.state !== "succeeded")
    return {
      queued: ["Queued", "plain"],
      running: ["Running", "busy"],
      failed: ["Failed", "bad"],
      cancelled: ["Cancelled", "plain"],
    }[job.state];
  return {
    published: ["Published", "good"],
    unchanged: ["Unchanged", "plain"],
    held: ["Held", "warn"],
    dry_run: ["Dry run done", "good"],
  }[job.outcome];
}

/** @param {object} job */
export function badge(job) {
  const [text, kind] = verdict(job);
  return h("span", { class: `badge ${kind}` }, text);
}

/** The accepted, duplicate and rejected lines of all files. @param {object} job */
export function counts(job) {
  if (!job.inputs.length) return null;
  return h(
    "ul",
    { class: "counts" },
    job.inputs.map((file) =>
      h(
        "li",
        {},
        h("span", { class: "muted" }, file.file.replace(".csv", "")),
        " ",
        number(file.accepted),
        file.duplicate ? h("span", { class: "muted" }, ` + ${number(file.duplicate)} duplicate`) : null,
        file.rejected ? " " : null,
        file.rejected
          ? h(
              "a",
              { class: "rejected", href: address(["jobs", job.id], { file: file.file }) },
              `${number(file.rejected)} rejected`,
            )
          : null,
      ),
    ),
  );
}

/** Cancel or retry: what can be done with the job now. @param {object} job */
export function actions(job) {
  const cancel = job.links.cancel;
  return h(
    "button",
    {
      type: "button",
      "data-focus": `do ${job.id}`,
      "aria-label": `${cancel ? "Cancel" : "Retry"} job ${shortId(job.id)} on ${job.dataset}`,
      onclick: (event) => act(event.currentTarget, job, cancel ?? job.links.retry),
    },
    cancel ? "Cancel" : "Retry",
  );
}

async function act(button, job, path) {
  button.disabled = true;
  try {
    const next = await answered(await call(path, { method: "POST" }));
    learn(next);
    if (next.id === job.id) announce(`Job ${shortId(job.id)} is cancelled`);
    else
      succeeded(
        `Job ${shortId(job.id)} is tried again.`,
        h("a", { href: address(["jobs", next.id]) }, "Show the new job"),
      );
  } catch (error) {
    failed(error);
  }
  button.disabled = false;
}

/** @param {AbortSignal} signal */
export function jobList(signal) {
  const element = h(
    "ol",
    { class: "jobs", "aria-labelledby": "jobs-title" },
    h("li", { class: "loading" }, "Loading …"),
  );
  /** @type {Map<string, HTMLLIElement>} */
  const rows = new Map();
  let isDue = false;

  function draw() {
    isDue = false;
    if (signal.aborted) return;
    const jobs = newest().slice(0, SHOWN);
    if (!jobs.length) return fill(element, h("li", { class: "empty" }, "No job yet: run one on a dataset."));
    for (const id of rows.keys()) if (!jobs.some((job) => job.id === id)) rows.delete(id);
    for (const job of jobs) if (!rows.has(job.id)) rows.set(job.id, row(job));
    const wanted = jobs.map((job) => rows.get(job.id));
    if (wanted.length !== element.children.length || wanted.some((li, index) => element.children[index] !== li))
      fill(element, wanted);
  }

  function drawSoon() {
    if (!isDue) requestAnimationFrame(draw);
    isDue = true;
  }

  onJob((job) => {
    if (rows.has(job.id)) drawRow(rows.get(job.id), job);
    else drawSoon();
    if (!isOnTheWay(job) && rows.has(job.id)) announce(`Job ${shortId(job.id)} on ${job.dataset}: ${verdict(job)[0]}`);
  }, signal);

  async function first() {
    try {
      (await get(`/api/v1/jobs?limit=${SHOWN}`, { signal })).items.forEach(learn);
      draw();
    } catch (error) {
      if (error.name !== "AbortError" && !(isAway(error) && rows.size))
        fill(element, h("li", {}, failure(error, first)));
    }
  }
  if (newest().length) draw();
  first();
  return element;
}

function row(job) {
  const li = h("li", { class: "job" });
  drawRow(li, job);
  return li;
}

function drawRow(li, job) {
  fill(
    li,
    h(
      "div",
      { class: "what" },
      badge(job),
      h("a", { href: address(["jobs", job.id]), "data-focus": `show ${job.id}` }, job.dataset),
      h("span", { class: "mono muted" }, shortId(job.id)),
      job.mode === "dry_run" && job.outcome !== "dry_run" ? h("span", { class: "muted" }, "dry run") : null,
    ),
    h(
      "div",
      { class: "how" },
      isOnTheWay(job)
        ? progress(job)
        : job.error
          ? h("p", { class: "error-line" }, sentence(job.error.detail ?? job.error.code))
          : [
              counts(job),
              job.outcome === "held" || job.outcome === "unchanged"
                ? h("p", { class: "muted" }, sentence((job.outcome_detail ?? job.outcome).replace(UUID, shortId)))
                : null,
            ],
    ),
    h(
      "div",
      { class: "when" },
      timings(job),
      h("time", { class: "muted", datetime: job.created_at, title: moment(job.created_at) }, ago(job.created_at)),
      job.attempt > 1 ? h("span", { class: "muted" }, counted(job.attempt, "attempt")) : null,
    ),
    h("div", { class: "buttons" }, actions(job)),
  );
}
