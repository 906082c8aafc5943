// What the service logged about a job.

import { get, withQuery } from "./api.js";
import { fill, h } from "./elements.js";
import { failure } from "./notices.js";

const PAGE = 200;
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

/** @param {object} job @param {AbortSignal} signal */
export function logPart(job, signal) {
  const list = h("ol", { class: "log mono", tabindex: "0", "aria-labelledby": "log-title" });
  const below = h("div", {}, h("p", { class: "loading" }, "Loading …"));
  const more = h("button", { type: "button", onclick: () => load() }, "Show more");
  let cursor = "";

  async function load() {
    try {
      const page = await get(withQuery(`/api/v1/jobs/${job.id}/log`, { limit: PAGE, cursor }), { signal });
      list.append(...page.items.map(({ at, level, message }) => h("li", { class: `level-${level.toLowerCase()}` },
        h("time", { class: "muted", datetime: at, title: at, "data-exact": true }, clock.format(new Date(at))), " ",
        h("span", { class: "level" }, level.toLowerCase()), " ", message)));
      cursor = page.next_cursor;
      list.hidden = !list.childElementCount;
      fill(below, list.hidden ? h("p", { class: "muted" }, "Nothing is kept about this job.") : null, cursor ? more : null);
    } catch (error) {
      if (error.name !== "AbortError") fill(below, failure(error, load));
    }
  }

  list.hidden = true;
  load();
  return h("section", { "aria-labelledby": "log-title" }, h("h3", { id: "log-title" }, "Log"), list, below);
}
