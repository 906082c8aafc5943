// Uploading a dataset: the three files, dropped or chosen, with how far they are.

import { authorization, described } from "./api.js";
import { startJob } from "./datasets.js";
import { fill, h } from "./elements.js";
import { size } from "./format.js";
import { announce, failed, sentence, succeeded } from "./notices.js";
import { ask, token } from "./token.js";

const WANTED = ["users.csv", "user_experiments.csv", "compounds.csv"];
const NAME = "[a-z0-9][a-z0-9_\\-]{0,62}";

/** @param {() => void} uploaded called when a dataset is there */
export function uploadForm(uploaded) {
  /** @type {Map<string, File>} by the contract's name */
  const files = new Map();
  const name = h("input", {
    id: "upload-name",
    required: true,
    pattern: NAME,
    maxlength: "63",
    autocomplete: "off",
    spellcheck: "false",
    autocapitalize: "none",
    placeholder: "lab",
    "aria-describedby": "upload-name-hint",
  });
  const input = h("input", {
    id: "upload-files",
    type: "file",
    multiple: true,
    accept: ".csv,.gz",
    onchange: () => take(input.files),
  });
  const list = h("ul", { class: "files wanted" });
  const run = h("input", { id: "upload-run", type: "checkbox", checked: true });
  const bar = h("progress", { max: "1", value: "0", "aria-label": "Upload" });
  const far = h("span", { class: "muted" });
  const progress = h("p", { class: "uploading", hidden: true }, bar, far);
  const complaint = h("p", { class: "complaint", role: "alert" });
  const send = h("button", { class: "primary" }, "Upload");
  const cancel = h("button", { type: "button", hidden: true }, "Cancel");
  const drop = h(
    "div",
    { class: "drop", ondragover: over, ondragleave: out, ondrop: dropped },
    h("label", { for: "upload-files" }, "Drop the three files here, or choose them (.csv or .csv.gz)"),
    input,
  );
  const element = h(
    "form",
    {
      id: "upload",
      class: "panel",
      hidden: true,
      novalidate: true,
      "aria-label": "Upload a dataset",
      onsubmit: submit,
    },
    drop,
    list,
    h(
      "div",
      { class: "field" },
      h("label", { for: "upload-name" }, "Name of the dataset"),
      name,
      h("span", { id: "upload-name-hint", class: "muted" }, "a–z, 0–9, _ and -; one of that name is replaced"),
    ),
    h("div", { class: "field line" }, run, h("label", { for: "upload-run" }, "Run a job when the files are there")),
    complaint,
    progress,
    h("div", { class: "buttons" }, send, cancel),
  );
  draw();

  /** @param {Iterable<File>} given */
  function take(given) {
    const strange = [];
    for (const file of given) {
      const contract = file.name.replace(/\.gz$/, "");
      if (WANTED.includes(contract)) files.set(contract, file);
      else strange.push(file.name);
    }
    complaint.textContent = strange.length ? `Not one of the three files: ${strange.join(", ")}.` : "";
    input.value = "";
    draw();
    announce(`${files.size} of 3 files`);
  }

  function draw() {
    fill(
      list,
      WANTED.map((wanted) => {
        const file = files.get(wanted);
        return h(
          "li",
          { class: file ? "there" : null },
          h("span", {}, file?.name ?? wanted),
          h("span", { class: "muted" }, file ? size(file.size) : "missing"),
        );
      }),
    );
  }

  function over(event) {
    event.preventDefault();
    drop.classList.add("over");
  }

  function out() {
    drop.classList.remove("over");
  }

  function dropped(event) {
    event.preventDefault();
    out();
    take(event.dataTransfer.files);
  }

  async function submit(event) {
    event.preventDefault();
    const missing = WANTED.filter((wanted) => !files.has(wanted));
    if (missing.length) return complain(`Missing: ${missing.join(", ")}.`, input);
    if (!name.checkValidity())
      return complain("The name has 1 to 63 of a–z, 0–9, _ and -, and begins with a letter or a digit.", name);
    complaint.textContent = "";
    await upload();
  }

  function complain(text, field) {
    complaint.textContent = text;
    field.focus();
  }

  async function upload() {
    const dataset = name.value;
    send.disabled = true;
    progress.hidden = cancel.hidden = false;
    try {
      await put(dataset, files, cancel, (done, total) => {
        bar.value = done / total;
        far.textContent = done < total ? `${size(done)} of ${size(total)}` : "checking the files …";
      });
      succeeded(`The dataset ${dataset} was uploaded.`);
      files.clear();
      draw();
      uploaded();
      if (run.checked) await startJob(dataset, "publish");
    } catch (error) {
      if (error.name === "AbortError") complaint.textContent = "The upload was cancelled; the dataset is as it was.";
      else if (error.status) complaint.textContent = sentence(error);
      else failed(error);
    }
    send.disabled = false;
    progress.hidden = cancel.hidden = true;
  }

  return { element, focus: () => input.focus() };
}

/**
 * Send the files; fetch cannot tell how far it is.
 * @param {string} dataset
 * @param {Map<string, File>} files
 * @param {HTMLButtonElement} cancel
 * @param {(done: number, total: number) => void} progress
 */
async function put(dataset, files, cancel, progress) {
  for (;;) {
    const sent = token();
    const { status, text } = await transfer(dataset, files, cancel, progress);
    if (status >= 200 && status < 300) return;
    if (status === 401 && (await ask(sent))) continue;
    throw described(status, text);
  }
}

function transfer(dataset, files, cancel, progress) {
  const request = new XMLHttpRequest();
  const body = new FormData();
  for (const file of files.values()) body.append("f", file, file.name);
  return new Promise((resolve, reject) => {
    const abort = () => request.abort();
    cancel.addEventListener("click", abort);
    request.upload.onprogress = (event) => progress(event.loaded, event.total);
    request.onload = () => resolve({ status: request.status, text: request.responseText });
    request.onerror = () => reject(new Error("the upload broke off; the dataset is as it was"));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.onloadend = () => cancel.removeEventListener("click", abort);
    request.open("PUT", `/api/v1/datasets/${encodeURIComponent(dataset)}`);
    for (const [header, value] of Object.entries(authorization())) request.setRequestHeader(header, value);
    request.send(body);
  });
}
