// The features of a dataset: its summary, its users, and charts.

import { get, withQuery } from "./api.js";
import { allDatasets } from "./datasets.js";
import { fill, h } from "./elements.js";
import { exportLink } from "./exports.js";
import { ago, cell, heading, moment, shortId } from "./format.js";
import { onJob } from "./live.js";
import { failure, succeeded } from "./notices.js";
import { address, go } from "./router.js";
import { ABOUT, userTable } from "./users.js";

/** @returns {import("./app.js").View} */
export function showFeatures(main, route, signal) {
  const [dataset] = route.parts;
  if (!dataset) return choose(main, signal);
  const job = route.query.get("job");
  const which = job ? { job } : { dataset };
  const place = ["features", dataset];
  const title = job ? `Features of ${dataset}, job ${shortId(job)}` : `Features of ${dataset}`;
  const summary = h("dl", { class: "numbers", "aria-label": "Summary" });
  const version = h("p", { class: "muted" });
  const tabs = h("nav", { class: "tabs", "aria-label": "Views" });
  const users = userTable(place, which, signal);
  const charts = h("div", { class: "charts" });
  /** @type {string | null} the job whose version is shown */
  let shown = null;
  let current = route;
  let asking = new AbortController();
  let drawing = new AbortController();
  let soon = 0;
  main.append(
    h("p", { class: "way" }, h("a", { href: "#/features" }, "Features"), ` / ${dataset}`),
    h(
      "div",
      { class: "head" },
      h("h2", { tabindex: "-1" }, title),
      h(
        "div",
        { class: "buttons", role: "group", "aria-label": "Export" },
        ["csv", "parquet", "xlsx"].map((format) =>
          exportLink("/api/v1/features", which, format, `${dataset}.${format}`),
        ),
      ),
    ),
    version,
    summary,
    tabs,
    users.element,
    charts,
  );

  async function summarise() {
    if (job)
      return fill(
        version,
        "The version of job ",
        h("a", { class: "mono", href: address(["jobs", job]) }, shortId(job)),
        ".",
      );
    asking.abort();
    asking = new AbortController();
    try {
      const { job_id: by, computed_at: at, ...rest } = await get(withQuery("/api/v1/summary", { dataset }), {
        signal: AbortSignal.any([signal, asking.signal]),
      });
      shown = by;
      fill(
        version,
        "Published by job ",
        h("a", { class: "mono", href: address(["jobs", by]) }, shortId(by)),
        ", computed ",
        h("time", { datetime: at, title: moment(at) }, ago(at)),
        ".",
      );
      fill(
        summary,
        Object.entries(rest)
          .filter(([name]) => !ABOUT.includes(name))
          .map(([name, value]) => h("div", {}, h("dt", {}, heading(name)), h("dd", {}, cell(value, name)))),
      );
    } catch (error) {
      if (error.name === "AbortError" || error.code === "not_published") return; // the table says it
      fill(version, failure(error, renew));
    }
  }

  /** @param {import("./router.js").Route} to */
  async function update(to) {
    current = to;
    const { query } = to;
    const isCharts = query.get("view") === "charts";
    fill(tabs, tab("Users", null, !isCharts), tab("Charts", "charts", isCharts));
    users.element.hidden = isCharts;
    charts.hidden = !isCharts;
    if (!isCharts) return users.update(query);
    if (charts.childElementCount) return;
    fill(charts, h("p", { class: "loading" }, "Loading …"));
    drawing = new AbortController();
    const leave = AbortSignal.any([signal, drawing.signal]);
    try {
      const { drawCharts } = await import("./charts.js");
      await drawCharts(charts, which, leave);
    } catch {
      fill(
        charts,
        failure("the charts could not be loaded", () => location.reload()),
      );
    }
  }

  function tab(label, view, isCurrent) {
    return h(
      "a",
      { href: address(place, { job, view }), "aria-current": isCurrent ? "page" : null, "data-focus": `tab ${label}` },
      label,
    );
  }

  /** The rows are asked for after the summary: what is published in between is heard of, and renews both. */
  async function start() {
    await summarise();
    update(current);
  }

  /** Show what is published now, if it is another version, from its first page on. */
  async function renew() {
    const before = shown;
    await summarise();
    if (shown === before || signal.aborted) return;
    if (before) succeeded(`Another version of ${dataset} is published, and shown.`);
    drawing.abort();
    charts.replaceChildren();
    const { page, cursor, ...query } = Object.fromEntries(current.query);
    go(address(place, query), { replace: true });
  }

  start();
  onJob((other) => {
    if (job || other.dataset !== dataset || other.outcome !== "published" || other.id === shown) return;
    clearTimeout(soon);
    soon = setTimeout(renew, 100); // the stream begins with many jobs
  }, signal);
  return { title, update };
}

/** Which dataset? */
function choose(main, signal) {
  const list = h("ul", { class: "plain" }, h("li", { class: "loading" }, "Loading …"));
  main.append(h("h2", { tabindex: "-1" }, "Features"), list);

  async function load() {
    try {
      const published = (await allDatasets(signal)).filter((dataset) => dataset.published_job_id);
      if (published.length === 1) return go(address(["features", published[0].name]), { replace: true });
      fill(
        list,
        published.length
          ? published.map(({ name, published_at: at }) =>
              h(
                "li",
                {},
                h("a", { href: address(["features", name]) }, name),
                " ",
                h("time", { class: "muted", datetime: at, title: moment(at) }, ago(at)),
              ),
            )
          : h("li", { class: "empty" }, "Nothing is published yet."),
      );
    } catch (error) {
      if (error.name !== "AbortError") fill(list, h("li", {}, failure(error, load)));
    }
  }
  load();
  return { title: "Features" };
}
