// The API's token: asked for in a form when the API wants it, kept for as long as the tab is open.

import { h } from "./elements.js";

const KEY = "token";

/** @type {Promise<boolean> | null} one form, however many requests wait for it */
let asking = null;
let isDeclined = false;

export const token = () => sessionStorage.getItem(KEY);

/** Ask for the token; false when the visitor does not give one. @param {string | null} refused the one that was sent */
export function ask(refused) {
  if (token() !== refused) return Promise.resolve(true); // somebody gave another one meanwhile
  if (isDeclined) return Promise.resolve(false);
  asking ??= form(refused !== null).finally(() => (asking = null));
  return asking;
}

/** Who did not want to give it has thought again. */
export function allow() {
  isDeclined = false;
}

export function forget() {
  sessionStorage.removeItem(KEY);
  location.reload();
}

function keep(given) {
  sessionStorage.setItem(KEY, given);
  dispatchEvent(new Event("token"));
}

/** @param {boolean} wasWrong */
function form(wasWrong) {
  const input = h("input", {
    id: "token-input",
    name: "token",
    type: "password",
    required: true,
    autocomplete: "current-password",
    autofocus: true,
    "aria-describedby": "token-hint",
  });
  const dialog = h(
    "dialog",
    { "aria-labelledby": "token-title" },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id: "token-title" }, "API token needed"),
      h(
        "p",
        { id: "token-hint", role: wasWrong ? "alert" : null },
        wasWrong ? "This is not the token of this service." : "This service answers only with its token (API_TOKEN).",
      ),
      h("label", { for: "token-input" }, "Token"),
      input,
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "button", onclick: () => dialog.close() }, "Not now"),
        h("button", { class: "primary", value: "given" }, "Continue"),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "given" && input.value.trim();
      isDeclined = !given;
      if (given) keep(given);
      dialog.remove();
      resolve(Boolean(given));
    });
  });
}
