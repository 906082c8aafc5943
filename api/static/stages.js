// A job's stages: which it is in and how far, and how long each took.

import { h } from "./elements.js";
import { duration, heading, number, shortId, size } from "./format.js";
import { pace } from "./live.js";

const STAGES = {
  queued: "waited",
  compare: "comparing",
  extract: "reading",
  validate: "checking",
  derive: "deriving",
  load: "loading",
  publish: "publishing",
};

/** The stage, how far it is, how fast, and how long it still takes. @param {object} job */
export function progress(job) {
  const label = job.stage ? STAGES[job.stage] : job.state === "queued" ? "waiting for a worker" : "starting";
  const { done, total, unit } = job.progress ?? {};
  const speed = pace(job);
  const amount = (value) => (unit === "bytes" ? size(value) : `${number(Math.round(value))} ${unit}`);
  return h(
    "div",
    { class: "progress" },
    h("span", {}, heading(label)),
    h("progress", { "aria-label": `${label}: job ${shortId(job.id)}`, ...(total ? { max: total, value: done } : {}) }),
    h(
      "span",
      { class: "muted" },
      total ? `${Math.floor((100 * done) / total)} %` : "",
      speed ? `, ${amount(speed.perSecond)}/s, ${duration(Math.max(0, speed.leftMs))} left` : "",
    ),
  );
}

/** How long each stage took: a bar, and the same in words. @param {object} job */
export function timings(job) {
  const stages = Object.entries(job.timings_ms).filter(([, ms]) => ms > 0);
  const total = stages.reduce((sum, [, ms]) => sum + ms, 0);
  if (!total) return null;
  const text = stages.map(([stage, ms]) => `${STAGES[stage] ?? stage} ${duration(ms)}`).join(", ");
  return h(
    "div",
    { class: "timings" },
    h(
      "div",
      { class: "bar-of-stages", role: "img", "aria-label": `Time: ${text}`, title: text },
      stages.map(([stage, ms]) => {
        const part = h("span", { class: `stage-${stage}` });
        part.style.flexGrow = String(ms);
        return part;
      }),
    ),
    h("span", { class: "muted" }, duration(total)),
  );
}

/** What the parts of that bar are. @param {object} job */
export function stages(job) {
  return h(
    "ul",
    { class: "stages muted" },
    Object.entries(job.timings_ms).map(([stage, ms]) =>
      h(
        "li",
        {},
        h("span", { class: `swatch stage-${stage}`, "aria-hidden": "true" }),
        `${STAGES[stage] ?? stage} ${duration(ms)}`,
      ),
    ),
  );
}
