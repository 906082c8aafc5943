// What a job rejected: each line, why, and the value that is at fault.

import { get, withQuery } from "./api.js";
import { fill, h, table } from "./elements.js";
import { exportLink } from "./exports.js";
import { number } from "./format.js";
import { announce, failure } from "./notices.js";
import { address, go } from "./router.js";

const PAGE = 50;
const COLUMNS = [
  { label: "File" },
  { label: "Line", number: true },
  { label: "Column" },
  { label: "Why" },
  { label: "Value" },
];

/**
 * @param {object} job
 * @param {URLSearchParams} query which of them: `file`, `code`
 * @param {AbortSignal} signal
 */
export function rejectionsPart(job, query, signal) {
  const codes = new Map();
  for (const file of job.inputs)
    for (const [code, count] of Object.entries(file.codes)) codes.set(code, (codes.get(code) ?? 0) + count);
  const total = [...codes.values()].reduce((sum, count) => sum + count, 0);
  const body = h("div", {});
  const file = choice(
    "rejection-file",
    "File",
    job.inputs.filter((input) => Object.keys(input.codes).length).map((input) => [input.file, input.file]),
  );
  const code = choice(
    "rejection-code",
    "Code",
    [...codes].map(([name, count]) => [name, `${name} (${number(count)})`]),
  );
  const element = h(
    "section",
    { "aria-labelledby": "rejections-title" },
    h(
      "div",
      { class: "head" },
      h("h3", { id: "rejections-title" }, `Rejections${total ? ` (${number(total)})` : ""}`),
      total
        ? h(
            "div",
            { class: "buttons" },
            exportLink(`/api/v1/jobs/${job.id}/rejections`, {}, "csv", `rejections-${job.id}.csv`),
          )
        : null,
    ),
    total ? h("div", { class: "filters" }, file.element, code.element) : null,
    body,
  );

  function choice(id, label, options) {
    const select = h(
      "select",
      { id, onchange: () => go(address(["jobs", job.id], { file: file.select.value, code: code.select.value })) },
      h("option", { value: "" }, "all"),
      options.map(([value, text]) => h("option", { value }, text)),
    );
    return { select, element: h("span", { class: "field" }, h("label", { for: id }, label), select) };
  }

  /** @param {URLSearchParams} wanted */
  async function update(wanted) {
    const only = { file: wanted.get("file"), code: wanted.get("code") };
    file.select.value = only.file ?? "";
    code.select.value = only.code ?? "";
    if (!total && job.outcome !== "unchanged")
      return fill(
        body,
        h("p", { class: "muted" }, job.inputs.length ? "Every line was accepted." : "No file was read."),
      );
    const rows = [];
    const more = h("button", { type: "button", "data-focus": "more rejections", onclick: () => load() }, "Show more");
    let cursor = "";

    async function load() {
      more.disabled = true;
      try {
        const page = await get(withQuery(`/api/v1/jobs/${job.id}/rejections`, { ...only, limit: PAGE, cursor }), {
          signal,
        });
        rows.push(...page.items.map(row));
        cursor = page.next_cursor;
        more.disabled = false;
        fill(
          body,
          rows.length
            ? table("Rejected lines and items", COLUMNS, rows, { hideCaption: true, kind: "wide" })
            : h("p", { class: "muted" }, "None of these."),
          cursor ? more : null,
        );
        announce(`${rows.length} rejections shown`);
      } catch (error) {
        if (error.name !== "AbortError")
          fill(
            body,
            failure(error, () => update(wanted)),
          );
      }
    }
    await load();
  }

  update(query);
  return { element, update };
}

function row({ file, line, column, code, message, value }) {
  return [
    file,
    number(line),
    column ?? "–",
    [h("span", { class: "mono" }, code), h("br"), h("span", { class: "muted" }, message)],
    value === null ? "–" : h("mark", { class: "mono" }, value),
  ];
}
