// The datasets: what files each has, what is published of it, and starting a job.

import { answered, call, get, isAway, withQuery } from "./api.js";
import { fill, h } from "./elements.js";
import { ago, counted, moment, shortId, size } from "./format.js";
import { isOnTheWay, learn, onJob, onService } from "./live.js";
import { announce, failed, failure, succeeded } from "./notices.js";
import { address } from "./router.js";

/** All datasets, of every page of the list. @param {AbortSignal} signal */
export async function allDatasets(signal) {
  const all = [];
  for (let cursor = ""; cursor !== null;) {
    const { items, next_cursor } = await get(withQuery("/api/v1/datasets", { limit: 1000, cursor }), { signal });
    all.push(...items);
    cursor = next_cursor;
  }
  return all;
}

/** @param {AbortSignal} signal */
export function datasetList(signal) {
  const element = h(
    "ul",
    { class: "cards", "aria-labelledby": "datasets-title" },
    h("li", { class: "loading" }, "Loading …"),
  );

  async function refresh() {
    try {
      const datasets = await allDatasets(signal);
      fill(
        element,
        datasets.length ? datasets.map(card) : h("li", { class: "empty" }, "No dataset yet: upload the three files."),
      );
    } catch (error) {
      if (error.name === "AbortError") return;
      if (isAway(error) && element.querySelector(".card")) return; // what is there is still of use
      fill(element, h("li", {}, failure(error, refresh)));
    }
  }

  refresh();
  onJob((job) => isOnTheWay(job) || refreshSoon(), signal);
  onService((isThere) => isThere && refresh(), signal);
  let soon = 0;
  function refreshSoon() {
    clearTimeout(soon);
    soon = setTimeout(refresh, 100); // the stream begins with many jobs
  }
  return { element, refresh };
}

function card(dataset) {
  const { name, files = [], published_job_id: job, published_at: at } = dataset;
  const total = files.reduce((sum, file) => sum + file.bytes, 0);
  return h(
    "li",
    { class: "card" },
    h("h3", {}, job ? h("a", { href: address(["features", name]) }, name) : name),
    h(
      "p",
      { class: "muted" },
      files.length
        ? `${counted(files.length, "file")}, ${size(total)}${dataset.is_mounted ? ", in DATA_DIR" : ""}`
        : "No files",
    ),
    files.length
      ? h(
          "ul",
          { class: "files" },
          files.map((file) => h("li", {}, h("span", {}, file.file), h("span", { class: "muted" }, size(file.bytes)))),
        )
      : null,
    h(
      "p",
      { class: "published" },
      job
        ? [
            "Published ",
            h("time", { datetime: at, title: moment(at) }, ago(at)),
            " by job ",
            h("a", { class: "mono", href: address(["jobs", job]) }, shortId(job)),
          ]
        : h("span", { class: "muted" }, "Nothing published yet"),
    ),
    h(
      "div",
      { class: "buttons" },
      h(
        "button",
        {
          type: "button",
          class: "primary",
          "data-focus": `run ${name}`,
          "aria-label": `Run a job on ${name}`,
          onclick: (event) => start(event, name, "publish"),
        },
        "Run",
      ),
      h(
        "button",
        {
          type: "button",
          "data-focus": `dry ${name}`,
          "aria-label": `Dry run on ${name}`,
          title: "Everything but publishing",
          onclick: (event) => start(event, name, "dry_run"),
        },
        "Dry run",
      ),
      job
        ? h(
            "a",
            { class: "button", href: address(["features", name]), "aria-label": `Features of ${name}` },
            "Features",
          )
        : null,
    ),
  );
}

/** Start a job, and say so. @param {string} dataset @param {"publish" | "dry_run"} mode */
export async function startJob(dataset, mode) {
  const job = await answered(await call("/api/v1/jobs", { method: "POST", json: { dataset, mode } }));
  learn(job);
  succeeded(
    `${mode === "dry_run" ? "A dry run" : "A job"} on ${dataset} was started.`,
    h("a", { href: address(["jobs", job.id]) }, "Show it"),
  );
  announce(`Started on ${dataset}`);
}

async function start({ currentTarget: button }, dataset, mode) {
  button.disabled = true;
  try {
    await startJob(dataset, mode);
  } catch (error) {
    failed(error);
  }
  button.disabled = false;
  button.focus();
}
