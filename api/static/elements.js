// Elements from code. Data becomes text and attributes only, never markup.

/**
 * Make an element. Attributes that are functions are listeners (`onclick`), true and false switch one on and off, and
 * null leaves it out; children are nodes, texts, lists of both, or null for none.
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...unknown} children
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...nodes(children));
  return element;
}

/** @param {unknown[]} children */
function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/**
 * Put other children into an element. What had the focus keeps it, if there is one with the same `data-focus` again.
 * @param {Element} parent
 * @param {...unknown} children
 */
export function fill(parent, ...children) {
  const active = document.activeElement;
  const key = parent.contains(active) ? active.dataset?.focus : undefined;
  parent.replaceChildren(...nodes(children));
  if (key) parent.querySelector(`[data-focus="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

/**
 * A table that scrolls by itself where it is too wide.
 * @param {string} caption
 * @param {{label: unknown, number?: boolean, attributes?: Record<string, unknown>}[]} columns
 * @param {unknown[][]} rows each with its first cell as the row's header
 * @param {{hideCaption?: boolean, kind?: string}} [options]
 */
export function table(caption, columns, rows, { hideCaption = false, kind = "" } = {}) {
  const head = columns.map(({ label, number, attributes }) =>
    h("th", { scope: "col", class: number ? "number" : null, ...attributes }, label),
  );
  const body = rows.map((cells) =>
    h(
      "tr",
      {},
      cells.map((cell, index) => {
        const number = columns[index].number ? "number" : null;
        return index ? h("td", { class: number }, cell) : h("th", { scope: "row", class: number }, cell);
      }),
    ),
  );
  return h(
    "div",
    { class: `scroll ${kind}`, role: "region", "aria-label": caption, tabindex: "0" },
    h(
      "table",
      {},
      h("caption", { class: hideCaption ? "unseen" : null }, caption),
      h("thead", {}, h("tr", {}, head)),
      h("tbody", {}, body),
    ),
  );
}
