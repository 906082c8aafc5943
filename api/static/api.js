// The JSON API: every request of the page goes through here.

import { ask, token } from "./token.js";

const AGAIN_MS = 300;

/** What went wrong, as the API says it (RFC 9457), or that it says nothing. */
export class Problem extends Error {
  /** @param {number} status 0 where there was no answer @param {string} code @param {string} detail */
  constructor(status, code, detail) {
    super(detail);
    this.name = "Problem";
    this.status = status;
    this.code = code;
  }
}

/** @param {unknown} error */
export const isAway = (error) =>
  error instanceof Problem && (error.status === 0 || error.code === "database_unavailable");

export function authorization() {
  return token() ? { Authorization: `Bearer ${token()}` } : {};
}

/**
 * Send a request and return its answer. Throws Problem for every answer that is none of success.
 * @param {string} path
 * @param {{method?: string, json?: unknown, headers?: Record<string, string>, signal?: AbortSignal}} [options]
 */
export async function call(path, { method = "GET", json, headers = {}, signal } = {}) {
  for (;;) {
    const sent = token();
    const response = await reach(path, {
      method,
      signal,
      headers: {
        ...authorization(),
        ...(json === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: json === undefined ? undefined : JSON.stringify(json),
    });
    if (response.ok) return response;
    if (response.status === 401 && (await ask(sent))) continue;
    throw await problem(response);
  }
}

/** The JSON of an answer. @param {string} path @param {Parameters<typeof call>[1]} [options] */
export async function get(path, options) {
  return answered(await call(path, options));
}

/** @param {Response} response */
export const answered = async (response) => parsed(await response.text());

/**
 * JSON in which a whole number that is no safe one, as ids can be, stays as it is written: a text. Browsers that do not
 * tell how it is written round it.
 * @param {string} text
 */
export const parsed = (text) =>
  JSON.parse(text, (_key, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source)
      ? context.source
      : value,
  );

/** A path with a query; what is empty is left out. @param {string} path @param {Record<string, unknown>} query */
export function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : path;
}

/** What only reads is asked once more: a network that changes breaks off whatever is under way. */
async function reach(path, options) {
  for (let left = options.method === "GET" ? 1 : 0; ; left--) {
    try {
      return await fetch(path, options);
    } catch (error) {
      if (options.signal?.aborted) throw error;
      if (!left) throw unreachable();
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

const unreachable = () => new Problem(0, "unreachable", "the service does not answer at the moment");

/** @param {Response} response */
async function problem(response) {
  return described(response.status, await response.text());
}

/** @param {number} status @param {string} text what was answered */
export function described(status, text) {
  try {
    const { code, detail, request_id: id } = JSON.parse(text);
    return new Problem(status, code, id ? `${detail}: ${id}` : detail);
  } catch {
    return new Problem(status, "no_problem", `the service answered ${status}, and no reason`);
  }
}
