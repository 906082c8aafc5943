// Where the visitor is: `#/features/lab?sort=-user_id`, so that links and the back button work.

/** @typedef {{page: string, parts: string[], query: URLSearchParams}} Route */

/** @returns {Route} */
export function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...parts] = decoded(path.split("/"));
  return { page: page || "overview", parts: parts.filter(Boolean), query: new URLSearchParams(query) };
}

/** What cannot be read, as `100%`, names no page. @param {string[]} parts */
function decoded(parts) {
  try {
    return parts.map(decodeURIComponent);
  } catch {
    return ["%"];
  }
}

/**
 * An address of this page; what is empty in the query is left out.
 * @param {string[]} parts
 * @param {Record<string, unknown>} [query]
 */
export function address(parts, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
}

/** Go there; with `replace` the back button does not lead here again. */
export function go(to, { replace = false } = {}) {
  if (!replace) location.hash = to;
  else {
    history.replaceState(null, "", to);
    dispatchEvent(new HashChangeEvent("hashchange"));
  }
}
