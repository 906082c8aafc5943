// Which version of a dataset is published, and publishing another one: releasing what is held, rolling back.

import { answered, call } from "./api.js";
import { fill, h } from "./elements.js";
import { moment, shortId } from "./format.js";
import { failed, failure, succeeded } from "./notices.js";

/**
 * The published version and all that are kept, with the tag for If-Match. Throws Problem `not_published`.
 * @param {string} dataset
 * @param {AbortSignal} [signal]
 */
export async function publicationOf(dataset, signal) {
  const response = await call(`/api/v1/datasets/${encodeURIComponent(dataset)}/publication`, { signal });
  return { ...(await answered(response)), tag: response.headers.get("ETag") };
}

/**
 * The button that publishes the job's version, where it is not published and may be.
 * @param {object} job
 * @param {AbortSignal} signal
 * @param {() => void} changed
 */
export function publicationPart(job, signal, changed) {
  const element = h("div", { class: "publication" });

  async function draw() {
    if (!["published", "held"].includes(job.outcome)) return;
    try {
      const publication = await publicationOf(job.dataset, signal);
      const version = publication.versions.find(({ job_id: id }) => id === job.id);
      const published = publication.versions.find((other) => other.published);
      if (!version) return fill(element, h("p", { class: "callout plain" }, "This version is not kept any more."));
      if (version.published)
        return fill(element, h("p", { class: "callout good" }, `This version is what readers of ${job.dataset} see.`));
      const word =
        job.outcome === "held" ? "Release" : version.computed_at < published.computed_at ? "Roll back to" : "Publish";
      fill(
        element,
        h(
          "p",
          { class: "callout plain" },
          `Published is the version of job ${shortId(published.job_id)}, ${moment(published.computed_at)}. `,
          h(
            "button",
            {
              type: "button",
              class: "primary",
              "data-focus": "publish",
              onclick: () => confirm(word, version, published, publication.tag),
            },
            `${word} this version`,
          ),
        ),
      );
    } catch (error) {
      if (error.name !== "AbortError" && error.code !== "not_published") fill(element, failure(error, draw));
    }
  }

  function confirm(word, version, published, tag) {
    const dialog = h(
      "dialog",
      { "aria-labelledby": "confirm-title" },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "confirm-title" }, `${word} this version?`),
        h("p", {}, `Readers of ${job.dataset} will see ${named(version)} in place of ${named(published)}, at once.`),
        word === "Roll back to"
          ? h("p", { class: "muted" }, "The files stay as they are: the next job publishes them again.")
          : null,
        h(
          "div",
          { class: "buttons" },
          h("button", { value: "", autofocus: true }, "Leave it as it is"),
          h("button", { class: "primary", value: "yes" }, word === "Roll back to" ? "Roll back" : word),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (dialog.returnValue === "yes") publish(tag);
    });
  }

  async function publish(tag) {
    try {
      await call(`/api/v1/datasets/${encodeURIComponent(job.dataset)}/publication`, {
        method: "PUT",
        json: { job_id: job.id },
        headers: { "If-Match": tag },
      });
      succeeded(`${job.dataset} now shows the version of job ${shortId(job.id)}.`);
      changed();
    } catch (error) {
      failed(
        error.code === "precondition_failed"
          ? new Error("Somebody else published another version meanwhile; nothing was changed. Look again")
          : error,
      );
    }
    await draw();
  }

  draw();
  return element;
}

const named = (version) => `the version of ${moment(version.computed_at)} (job ${shortId(version.job_id)})`;
