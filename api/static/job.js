// One job: how far it is, what was found in its files, what it rejected, changed and logged.

import { get } from "./api.js";
import { differencePart } from "./difference.js";
import { fill, h, table } from "./elements.js";
import { ago, duration, moment, number, shortId, size } from "./format.js";
import { actions, badge } from "./jobs.js";
import { heardOf, isOnTheWay, learn, onJob, onService } from "./live.js";
import { logPart } from "./log.js";
import { failure, sentence } from "./notices.js";
import { publicationPart } from "./publication.js";
import { rejectionsPart } from "./rejections.js";
import { address } from "./router.js";
import { progress, stages, timings } from "./stages.js";

/** @returns {import("./app.js").View} */
export function showJob(main, route, signal) {
  const [id] = route.parts;
  const about = h(
    "div",
    { class: "about" },
    h("h2", { tabindex: "-1", "data-focus": "title" }, `Job ${shortId(id)}`),
    h("p", { class: "loading" }, "Loading …"),
  );
  const results = h("div", {});
  main.append(h("p", { class: "way" }, h("a", { href: "#/" }, "Overview"), " / job"), about, results);
  /** @type {ReturnType<typeof rejectionsPart> | null} */
  let rejections = null;

  async function load() {
    try {
      learn(await get(`/api/v1/jobs/${encodeURIComponent(id)}`, { signal }));
      draw(heardOf(id));
    } catch (error) {
      if (error.name !== "AbortError" && !heardOf(id))
        fill(about, h("h2", { tabindex: "-1", "data-focus": "title" }, `Job ${shortId(id)}`), failure(error, load));
    }
  }

  /** @param {object} job */
  function draw(job) {
    fill(
      about,
      head(job),
      h("div", { class: "how" }, isOnTheWay(job) ? progress(job) : [timings(job), stages(job)]),
      problem(job),
      files(job),
    );
    if (isOnTheWay(job) || results.childElementCount) return;
    rejections = rejectionsPart(job, route.query, signal);
    fill(
      results,
      publicationPart(job, signal, load),
      rejections.element,
      job.links.diff ? differencePart(job, signal) : null,
      logPart(job, signal),
    );
  }

  if (heardOf(id)) draw(heardOf(id));
  load();
  onJob((job) => job.id === id && draw(job), signal);
  onService((isThere) => isThere && load(), signal);
  return { title: `Job ${shortId(id)}`, update: (to) => rejections?.update(to.query) };
}

function head(job) {
  const features =
    job.outcome && job.outcome !== "unchanged"
      ? h(
          "a",
          {
            class: "button",
            href: address(["features", job.dataset], { job: job.outcome === "published" ? null : job.id }),
          },
          "Features",
        )
      : null;
  return [
    h(
      "div",
      { class: "head" },
      h("h2", { tabindex: "-1", "data-focus": "title" }, `Job ${shortId(job.id)} `, badge(job)),
      h("div", { class: "buttons" }, features, actions(job)),
    ),
    h(
      "dl",
      { class: "facts" },
      fact("Dataset", h("a", { href: address(["features", job.dataset]) }, job.dataset)),
      fact("Mode", job.mode === "dry_run" ? "dry run" : "publish"),
      fact("Created", h("time", { datetime: job.created_at, title: moment(job.created_at) }, ago(job.created_at))),
      job.finished_at && job.started_at
        ? fact("Took", duration(new Date(job.finished_at) - new Date(job.started_at)))
        : null,
      fact("Attempt", String(job.attempt)),
      job.parent_id
        ? fact("Retry of", h("a", { class: "mono", href: address(["jobs", job.parent_id]) }, shortId(job.parent_id)))
        : null,
      fact("ID", h("span", { class: "mono" }, job.id)),
    ),
  ];
}

function fact(name, value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value));
}

function problem(job) {
  if (job.error)
    return h(
      "p",
      { class: "callout bad" },
      h("strong", {}, job.error.code.replaceAll("_", " ")),
      ": ",
      sentence(job.error.detail ?? "no detail"),
    );
  if (job.outcome_detail)
    return h("p", { class: `callout ${job.outcome === "held" ? "warn" : "plain"}` }, sentence(job.outcome_detail));
  return null;
}

function files(job) {
  if (!job.inputs.length) return null;
  const columns = [
    { label: "File" },
    { label: "Size", number: true },
    { label: "Read", number: true },
    { label: "Accepted", number: true },
    { label: "Duplicate", number: true },
    { label: "Rejected", number: true },
    { label: "How it is written" },
    { label: "SHA-256" },
  ];
  return table(
    "Files",
    columns,
    job.inputs.map((file) => [
      file.file,
      size(file.bytes),
      number(file.read),
      number(file.accepted),
      number(file.duplicate),
      file.rejected ? h("strong", { class: "rejected" }, number(file.rejected)) : "0",
      dialect(file.dialect),
      h("span", { class: "mono muted", title: file.sha256 }, file.sha256.slice(0, 12)),
    ]),
    { kind: "wide" },
  );
}

/** How a file is written, in words. @param {object} found its `dialect` */
function dialect(found) {
  const changes = Object.entries(found.header_changes).map(([written, column]) => `${written} is ${column}`);
  return [
    found.separator === "\t" ? "tab-separated" : "comma-separated",
    found.encoding.toUpperCase(),
    found.bom ? "with a BOM" : null,
    changes.length ? `header: ${changes.join(", ")}` : null,
    found.ignored_columns.length ? `ignored: ${found.ignored_columns.join(", ")}` : null,
  ]
    .filter(Boolean)
    .join("; ");
}
