// The first view: the datasets, an upload, the jobs.

import { datasetList } from "./datasets.js";
import { h } from "./elements.js";
import { jobList } from "./jobs.js";
import { uploadForm } from "./upload.js";

/** @returns {import("./app.js").View} */
export function showOverview(main, _route, signal) {
  const datasets = datasetList(signal);
  const upload = uploadForm(datasets.refresh);
  main.append(
    h(
      "div",
      { class: "head" },
      h("h2", { tabindex: "-1", id: "datasets-title" }, "Datasets"),
      h(
        "button",
        { type: "button", "aria-expanded": "false", "aria-controls": "upload", onclick: toggle },
        "Upload files",
      ),
    ),
    upload.element,
    datasets.element,
    h("div", { class: "head" }, h("h2", { id: "jobs-title" }, "Jobs")),
    jobList(signal),
  );

  function toggle(event) {
    const isOpen = upload.element.hidden;
    upload.element.hidden = !isOpen;
    event.currentTarget.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) upload.focus();
  }
  return { title: "Overview" };
}
