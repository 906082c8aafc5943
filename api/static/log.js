// What the service logged about a job.

import { get } from "./api.js";
import { fill, h } from "./elements.js";
import { failure } from "./notices.js";

const AGAIN_MS = 1000;

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

/** @param {object} job @param {AbortSignal} signal */
export function logPart(job, signal) {
  const body = h("div", {}, h("p", { class: "loading" }, "Loading …"));

  let again = 0;

  async function load() {
    try {
      const { items } = await get(`/api/v1/jobs/${job.id}/log`, { signal });
      // The last lines come within a second after the end.
      if (job.finished_at && !again) again = setTimeout(load, AGAIN_MS);
      fill(
        body,
        items.length
          ? h("ol", { class: "log mono", tabindex: "0", "aria-labelledby": "log-title" }, items.map(line))
          : h("p", { class: "muted" }, "Nothing is kept about this job."),
      );
    } catch (error) {
      if (error.name !== "AbortError") fill(body, failure(error, load));
    }
  }

  load();
  return h("section", { "aria-labelledby": "log-title" }, h("h3", { id: "log-title" }, "Log"), body);
}

function line({ at, level, message }) {
  return h(
    "li",
    { class: `level-${level.toLowerCase()}` },
    h("time", { class: "muted", datetime: at, title: at, "data-exact": true }, clock.format(new Date(at))),
    " ",
    h("span", { class: "level" }, level.toLowerCase()),
    " ",
    message,
  );
}
