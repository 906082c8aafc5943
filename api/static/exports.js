// Exports. Without a token a link is enough: the browser writes the file as it comes. A link cannot send the token, so
// with one the answer is read here, and written to a file of the visitor's choice where the browser lets pages do so;
// elsewhere it has to be held in memory first.

import { call, withQuery } from "./api.js";
import { h } from "./elements.js";
import { size } from "./format.js";
import { announce, failed, succeeded } from "./notices.js";
import { token } from "./token.js";

const LABELS = { csv: "CSV", parquet: "Parquet", xlsx: "Excel" };

/**
 * @param {string} path
 * @param {Record<string, unknown>} query
 * @param {"csv" | "parquet" | "xlsx"} format
 * @param {string} name of the file
 */
export function exportLink(path, query, format, name) {
  const url = withQuery(path, { ...query, format });
  return h(
    "a",
    {
      class: "button",
      href: url,
      download: name,
      "aria-label": `Export as ${LABELS[format]}`,
      onclick: (event) => {
        if (!token()) return;
        event.preventDefault();
        save(event.currentTarget, url, name);
      },
    },
    LABELS[format],
  );
}

async function save(link, url, name) {
  if (link.getAttribute("aria-busy")) return;
  link.setAttribute("aria-busy", "true");
  try {
    const file = await chosenFile(name);
    announce(`Exporting ${name}`);
    const response = await call(url);
    if (file) await response.body.pipeTo(await file.createWritable());
    else keep(await response.blob(), name);
  } catch (error) {
    failed(error);
  }
  link.removeAttribute("aria-busy");
}

/** Null where the browser has no such thing; throws AbortError where the visitor chooses none. */
const chosenFile = (name) => window.showSaveFilePicker?.({ suggestedName: name }) ?? null;

function keep(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  succeeded(`${name} is saved (${size(blob.size)}).`);
}
