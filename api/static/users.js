// The users of a version as a table, which the service sorts, searches and pages.

import { get, withQuery } from "./api.js";
import { fill, h, table } from "./elements.js";
import { cell, counted, heading, isId, number } from "./format.js";
import { announce, failure } from "./notices.js";
import { address, go } from "./router.js";

const PAGE = 25;
const SORTED_BY = ["user_id", "name", "email", "signup_date", "total_experiments", "average_run_time"];
const TYPING_MS = 150;
/** Columns of the version, not of a user. */
export const ABOUT = ["dataset", "job_id", "computed_at"];

/**
 * @param {string[]} place where the table is
 * @param {{dataset: string} | {job: string}} which version
 * @param {AbortSignal} signal
 */
export function userTable(place, which, signal) {
  const search = h("input", {
    id: "search",
    type: "search",
    autocomplete: "off",
    placeholder: "ID, name or email",
    oninput: () => {
      clearTimeout(typing);
      typing = setTimeout(() => show({ search: search.value }, { replace: true }), TYPING_MS);
    },
  });
  const body = h("div", {});
  const element = h(
    "section",
    { "aria-label": "Users" },
    h(
      "form",
      { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      h("span", { class: "field" }, h("label", { for: "search" }, "Search"), search),
    ),
    body,
  );
  /** @type {Map<string, string>} the cursor of each page that was come to, by the rest of the query and its number */
  const cursors = new Map();
  let typing = 0;
  let latest = new AbortController();
  let wanted = { sort: "user_id", search: "", page: 1, cursor: "" };
  let isFirst = true;

  const keyOf = ({ sort, search: text }, page) => JSON.stringify([sort, text, page]);

  /** Go to another view of the table; what is not said stays, and the page is the first. */
  function show(changes, options) {
    const next = { ...wanted, page: 1, cursor: "", ...changes };
    go(
      address(place, {
        job: which.job,
        sort: next.sort === "user_id" ? null : next.sort,
        search: next.search,
        page: next.page > 1 ? next.page : null,
        cursor: next.page > 1 ? next.cursor : null,
      }),
      options,
    );
  }

  /** @param {URLSearchParams} query */
  async function update(query) {
    const cursor = query.get("cursor") ?? "";
    wanted = {
      sort: query.get("sort") ?? "user_id",
      search: query.get("search") ?? "",
      page: cursor ? Number(query.get("page")) || 2 : 1,
      cursor,
    };
    cursors.set(keyOf(wanted, wanted.page), cursor);
    if (document.activeElement !== search) search.value = wanted.search;
    latest.abort();
    latest = new AbortController();
    body.setAttribute("aria-busy", "true");
    if (!body.childElementCount) fill(body, h("p", { class: "loading" }, "Loading …"));
    const asked = wanted;
    try {
      const { items, next_cursor: next } = await get(
        withQuery("/api/v1/features", {
          ...which,
          sort: asked.sort === "user_id" ? null : asked.sort,
          search: asked.search,
          limit: PAGE,
          cursor: asked.cursor,
        }),
        { signal: AbortSignal.any([signal, latest.signal]) },
      );
      if (next) cursors.set(keyOf(asked, asked.page + 1), next);
      draw(items, next);
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(
        body,
        error.code === "not_published" ? nothing() : failure(error, () => (asked.cursor ? show({}) : update(query))),
      );
    }
    body.removeAttribute("aria-busy");
  }

  function nothing() {
    return h(
      "div",
      { class: "empty" },
      h("p", {}, "Nothing is published of this dataset yet."),
      h("a", { class: "button primary", href: "#/" }, "Run a job"),
    );
  }

  function draw(items, next) {
    if (!items.length)
      fill(
        body,
        h(
          "p",
          { class: "empty" },
          wanted.search ? `No user is like “${wanted.search}”.` : "This version has no users.",
        ),
      );
    else {
      const names = Object.keys(items[0]).filter((name) => !ABOUT.includes(name));
      fill(
        body,
        table(
          "Users",
          names.map((name) => column(name, items)),
          items.map((user) =>
            names.map((name) =>
              name === "user_id" || name === "name"
                ? h(
                    "a",
                    { href: address([...place, "users", String(user.user_id)], { job: which.job }) },
                    String(user[name]),
                  )
                : cell(user[name], name),
            ),
          ),
          { hideCaption: true, kind: "users" },
        ),
        pager(items, next),
      );
    }
    if (!isFirst) announce(`${items.length} users, page ${wanted.page}`);
    isFirst = false;
  }

  function column(name, items) {
    const isNumber = isId(name) || items.some((user) => typeof user[name] === "number");
    const isDown = wanted.sort === `-${name}`;
    const isUp = wanted.sort === name;
    if (!SORTED_BY.includes(name)) return { number: isNumber, label: heading(name) };
    return {
      number: isNumber,
      attributes: { "aria-sort": isUp ? "ascending" : isDown ? "descending" : null },
      label: h(
        "button",
        {
          type: "button",
          class: "sort",
          "data-focus": `sort ${name}`,
          onclick: () => show({ sort: isUp || (isNumber && !isDown && name !== "user_id") ? `-${name}` : name }),
        },
        heading(name),
        h("span", { "aria-hidden": "true" }, isUp ? " ↑" : isDown ? " ↓" : ""),
      ),
    };
  }

  function pager(items, next) {
    const before = wanted.page > 1 ? cursors.get(keyOf(wanted, wanted.page - 1)) : undefined;
    const button = (label, key, isPossible, changes) =>
      h("button", { type: "button", "data-focus": key, disabled: !isPossible, onclick: () => show(changes) }, label);
    return h(
      "nav",
      { class: "pager", "aria-label": "Pages of users" },
      button("First", "first", wanted.page > 1, {}),
      button("Previous", "previous", before !== undefined || wanted.page === 2, {
        page: wanted.page - 1,
        cursor: before ?? "",
      }),
      h("span", { class: "muted" }, `Page ${number(wanted.page)}, ${counted(items.length, "user")}`),
      button("Next", "next", next, { page: wanted.page + 1, cursor: next }),
    );
  }

  return { element, update };
}
