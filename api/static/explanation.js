// One user: each number, and the input lines that it comes from.

import { Problem, get, withQuery } from "./api.js";
import { fill, h, table } from "./elements.js";
import { cell, counted, heading } from "./format.js";
import { failure, sentence } from "./notices.js";
import { address } from "./router.js";
import { ABOUT } from "./users.js";

const COLUMNS = [{ label: "Feature" }, { label: "Value" }, { label: "Where it comes from" }];
const LINES_SHOWN = 12;
// Another explanation is being looked for: each takes a moment.
const TRIES = 3;
const PAUSE_MS = 1000;

/** @returns {import("./app.js").View} */
export function showUser(main, route, signal) {
  const [dataset, , id] = route.parts;
  const job = route.query.get("job");
  const which = job ? { job } : { dataset };
  const path = `/api/v1/features/${encodeURIComponent(id)}`;
  const title = h("h2", { tabindex: "-1" }, `User ${id}`);
  const body = h("div", {}, h("p", { class: "loading" }, "Loading …"));
  const why = h("p", { class: "why muted", role: "status" });
  main.append(
    h(
      "p",
      { class: "way" },
      h("a", { href: "#/features" }, "Features"),
      " / ",
      h("a", { href: address(["features", dataset], { job }) }, dataset),
      ` / user ${id}`,
    ),
    title,
    why,
    body,
  );

  async function load() {
    try {
      const user = await get(withQuery(path, which), { signal });
      title.textContent = `${user.name} (user ${user.user_id})`;
      draw(user, null);
      why.textContent = "Looking for the input lines …";
      const { explanation } = await explained();
      draw(user, explanation);
      why.textContent = "";
    } catch (error) {
      if (error.name === "AbortError") return;
      why.textContent = "";
      if (body.querySelector("table")) why.textContent = `The input lines cannot be named: ${sentence(error)}`;
      else fill(body, failure(error, load));
    }
  }

  async function explained() {
    for (let tried = 1; ; tried++) {
      try {
        return await get(withQuery(path, { ...which, explain: true }), { signal });
      } catch (error) {
        if (!(error instanceof Problem) || error.code !== "explanation_unavailable" || tried === TRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    }
  }

  function draw(user, explanation) {
    const names = Object.keys(user).filter((name) => !ABOUT.includes(name));
    fill(
      body,
      table(
        "Features of the user",
        COLUMNS,
        names.map((name) => [
          heading(name),
          h("strong", {}, cell(user[name], name)),
          explanation ? lines(explanation[name] ?? []) : "",
        ]),
        { hideCaption: true },
      ),
    );
  }

  load();
  return { title: `User ${id}` };
}

/** @param {{file: string, count: number, lines: number[]}[]} places */
function lines(places) {
  if (!places.some(({ count }) => count)) return h("span", { class: "muted" }, "no line");
  return h(
    "ul",
    { class: "changes" },
    places
      .filter(({ count }) => count)
      .map(({ file, count, lines: all }) => {
        const shown = all.slice(0, LINES_SHOWN).join(", ");
        const rest = count - Math.min(all.length, LINES_SHOWN);
        return h(
          "li",
          {},
          h("span", { class: "muted" }, file),
          ` ${count === 1 ? "line" : "lines"} ${shown}`,
          rest
            ? h(
                "details",
                {},
                h("summary", {}, `and ${counted(rest, "more", "more")}`),
                h("span", {}, all.slice(LINES_SHOWN).join(", "), count > all.length ? " …" : ""),
              )
            : null,
        );
      }),
  );
}
