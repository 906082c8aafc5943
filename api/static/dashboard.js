// Shows what the JSON API says, and again every two seconds.

const message = document.querySelector("#message");

async function get(path) {
  const response = await fetch(path);
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail);
  return body.items;
}

function fill(table, rows) {
  table.tBodies[0].replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    for (const cell of cells) row.insertCell().textContent = cell ?? "–";
    return row;
  }));
}

async function refresh() {
  try {
    const [datasets, jobs] = await Promise.all([get("api/v1/datasets"), get("api/v1/jobs?limit=20")]);
    fill(document.querySelector("#datasets"), datasets.map((d) => [d.name, d.published_at, d.published_job_id]));
    fill(document.querySelector("#jobs"), jobs.map((j) => [j.id, j.dataset, j.state, j.outcome ?? j.error?.code, j.created_at]));
    message.textContent = jobs.length ? "" : "No job yet: curl -X POST " + new URL("api/v1/jobs", location);
  } catch (error) {
    message.textContent = String(error.message);
  }
}

refresh();
setInterval(refresh, 2000);
