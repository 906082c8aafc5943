// What has happened: seen in a corner, and heard by who does not see.

import { h } from "./elements.js";
import { allow } from "./token.js";

const SHOWN_MS = 6000;

/** Say it to screen readers only. @param {string} text */
export function announce(text) {
  document.querySelector("#announcer").textContent = text;
}

/** It goes away by itself; what failed stays until it is closed. @param {string} text @param {unknown} [link] */
export function succeeded(text, link = null) {
  const notice = show("good", "status", text, link);
  setTimeout(() => notice.remove(), SHOWN_MS);
}

/** @param {unknown} error */
export function failed(error) {
  if (error?.name === "AbortError") return;
  show("bad", "alert", sentence(error), null);
}

/** @param {unknown} error */
export function sentence(error) {
  const text = String(error?.message ?? error);
  return text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

/**
 * In the place of what could not be shown.
 * @param {unknown} error
 * @param {() => void} again
 */
export function failure(error, again) {
  const retry = () => {
    allow();
    again();
  };
  return h(
    "div",
    { class: "empty bad", role: "alert" },
    h("p", {}, error?.status === 401 ? "This service answers only with its token." : sentence(error)),
    h("button", { type: "button", onclick: retry }, error?.status === 401 ? "Enter the token" : "Try again"),
  );
}

function show(kind, role, text, link) {
  const close = h(
    "button",
    { type: "button", class: "quiet", "aria-label": "Close", onclick: () => notice.remove() },
    "✕",
  );
  const notice = h("div", { class: `notice ${kind}`, role }, h("p", {}, text, link ? " " : null, link), close);
  const region = document.querySelector("#notices");
  for (const old of [...region.children]) if (old.firstChild.textContent === text) old.remove();
  region.append(notice);
  return notice;
}
