// What a version changes: users added, removed and changed since another one.

import { get, withQuery } from "./api.js";
import { fill, h, table } from "./elements.js";
import { cell, heading, moment, number, shortId } from "./format.js";
import { failure } from "./notices.js";
import { publicationOf } from "./publication.js";

const PAGE = 25;
const COLUMNS = [{ label: "User" }, { label: "Change" }, { label: "What" }];
// Of users that are new or gone, only who they are.
const WHO = ["name", "email", "total_experiments"];

/** @param {object} job @param {AbortSignal} signal */
export function differencePart(job, signal) {
  const body = h("div", {}, h("p", { class: "loading" }, "Loading …"));
  const select = h("select", { id: "against", onchange: () => compare(select.value) });
  const field = h("span", { class: "field" }, h("label", { for: "against" }, "Compared with"), select);
  const element = h(
    "section",
    { "aria-labelledby": "difference-title" },
    h("div", { class: "head" }, h("h3", { id: "difference-title" }, "Difference"), field),
    body,
  );

  async function offer() {
    try {
      const { versions } = await publicationOf(job.dataset, signal);
      const others = versions.filter((version) => version.job_id !== job.id);
      if (!others.length) {
        field.hidden = true;
        return fill(body, h("p", { class: "muted" }, "There is no other version to compare with."));
      }
      fill(
        select,
        others.map((version) =>
          h(
            "option",
            { value: version.job_id },
            `${shortId(version.job_id)}, ${moment(version.computed_at)}${version.published ? " (published)" : ""}`,
          ),
        ),
      );
      const own = versions.findIndex((version) => version.job_id === job.id);
      const against = others.find((version) => version.published) ?? versions.slice(own + 1)[0] ?? others[0];
      select.value = against.job_id;
      await compare(against.job_id);
    } catch (error) {
      if (error.code === "not_published") {
        field.hidden = true;
        fill(body, h("p", { class: "muted" }, "Nothing is published yet to compare with."));
      } else if (error.name !== "AbortError") fill(body, failure(error, offer));
    }
  }

  /** @param {string} against */
  async function compare(against) {
    const rows = [];
    const more = h("button", { type: "button", "data-focus": "more differences", onclick: () => load() }, "Show more");
    let cursor = "";
    let counts = null;

    async function load() {
      more.disabled = true;
      try {
        const page = await get(
          withQuery(`/api/v1/jobs/${job.id}/diff`, { against: cursor ? null : against, cursor, limit: PAGE }),
          { signal },
        );
        counts ??= page.counts;
        rows.push(...page.items.map(row));
        cursor = page.next_cursor;
        more.disabled = false;
        fill(
          body,
          summary(counts),
          rows.length ? table("Users that differ", COLUMNS, rows, { hideCaption: true }) : null,
          cursor ? more : null,
        );
      } catch (error) {
        if (error.name !== "AbortError")
          fill(
            body,
            failure(error, () => compare(against)),
          );
      }
    }
    await load();
  }

  offer();
  return element;
}

function summary({ added, removed, changed }) {
  if (!added && !removed && !changed) return h("p", { class: "muted" }, "No user differs.");
  const count = (value, word, kind) =>
    h("span", { class: `badge ${value ? kind : "plain"}` }, `${number(value)} ${word}`);
  return h(
    "p",
    { class: "badges" },
    count(added, "added", "good"),
    count(removed, "removed", "bad"),
    count(changed, "changed", "busy"),
  );
}

function row({ user_id: user, change, columns }) {
  const told = Object.entries(columns).filter(([name]) => change === "changed" || WHO.includes(name));
  return [
    String(user),
    change,
    h(
      "ul",
      { class: "changes" },
      told.map(([name, { old: before, new: after }]) =>
        h(
          "li",
          {},
          h("span", { class: "muted" }, heading(name)),
          " ",
          change === "added" ? null : h("del", {}, cell(before, name)),
          change === "changed" ? " → " : null,
          change === "removed" ? null : h("ins", {}, cell(after, name)),
        ),
      ),
    ),
  ];
}
