// The page: which view is shown, and what stands around it.

import { h } from "./elements.js";
import { showFeatures } from "./features.js";
import { ago } from "./format.js";
import { showJob } from "./job.js";
import { listen, onService } from "./live.js";
import { announce } from "./notices.js";
import { showOverview } from "./overview.js";
import { route } from "./router.js";
import { forget, token } from "./token.js";
import { showUser } from "./explanation.js";

/**
 * A view fills `main` for a route, until the signal. It returns its title, and how to take another query of its own
 * without being made anew.
 * @typedef {{title: string, update?: (route: import("./router.js").Route) => void}} View
 */

const main = document.querySelector("#main");
/** @type {{key: string, view: View, leave: AbortController} | null} */
let shown = null;

/** @param {import("./router.js").Route} to */
function viewOf({ page, parts }) {
  if (page === "overview" && !parts.length) return showOverview;
  if (page === "jobs" && parts.length === 1) return showJob;
  if (page === "features" && parts[1] === "users" && parts.length === 3) return showUser;
  if (page === "features" && parts.length <= 2) return showFeatures;
  return showNothing;
}

/** @returns {View} */
function showNothing(element) {
  element.replaceChildren(
    h("h2", { tabindex: "-1" }, "There is no such page"),
    h("p", {}, h("a", { href: "#/" }, "To the overview")),
  );
  return { title: "Not found" };
}

function show() {
  const to = route();
  const key = [to.page, ...to.parts, to.query.get("job")].join("/");
  if (shown?.key === key && shown.view.update) {
    shown.view.update(to);
    return;
  }
  shown?.leave.abort();
  const leave = new AbortController();
  const isFirst = !shown;
  main.replaceChildren();
  shown = { key, leave, view: viewOf(to)(main, to, leave.signal) };
  document.title = `${shown.view.title} – Experiment ETL`;
  for (const link of document.querySelectorAll("[data-page]")) {
    const isHere = link.dataset.page === to.page;
    isHere ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  if (isFirst) return;
  scrollTo(0, 0);
  (main.querySelector("h2") ?? main).focus({ preventScroll: true }); // who does not see is told where they are
  announce(shown.view.title);
}

function showService() {
  const line = document.querySelector("#service");
  onService((isThere) => {
    line.textContent = isThere ? "" : "No answer from the service; trying again …";
    line.classList.toggle("away", !isThere);
    if (isThere) announce("The service answers again");
  });
}

function showToken() {
  document.querySelector("#token").hidden = !token();
}

function tellTime() {
  for (const time of document.querySelectorAll("time:not([data-exact])")) time.textContent = ago(time.dateTime);
}

document.querySelector("#token").addEventListener("click", forget);
addEventListener("token", showToken);
setInterval(tellTime, 10_000);
addEventListener("hashchange", show);
showToken();
showService();
show();
listen();
