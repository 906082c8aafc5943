// The charts of a dataset, and each as a table.

import { get, withQuery } from "./api.js";
import { HEIGHT, chartIn, echarts } from "./drawing.js";
import { fill, h, table } from "./elements.js";
import { cell, dated, moment, number, shortId } from "./format.js";
import { failure } from "./notices.js";

/**
 * @param {HTMLElement} element
 * @param {{dataset: string} | {job: string}} which
 * @param {AbortSignal} signal
 */
export async function drawCharts(element, which, signal) {
  const again = () => drawCharts(element, which, signal);
  try {
    const [library, statistics] = await Promise.all([
      echarts(),
      get(withQuery("/api/v1/statistics", which), { signal }),
    ]);
    if (signal.aborted) return;
    const charts = described(statistics);
    fill(element, charts.map(figure));
    const drawn = charts.map(
      (chart, index) => chart.rows.length && chartIn(library, element.children[index].querySelector(".chart"), chart),
    );
    const live = drawn.filter(Boolean);
    document.addEventListener("theme", () => live.forEach((one) => one.redraw()), { signal });
    const sizes = new ResizeObserver(() => live.forEach((one) => one.resize()));
    sizes.observe(element);
    signal.addEventListener("abort", () => {
      sizes.disconnect();
      live.forEach((one) => one.dispose());
    });
  } catch (error) {
    if (error.name !== "AbortError") fill(element, failure(error, again));
  }
}

/** What each chart shows: its words, its rows as a table, and its series. */
function described({ experiments_per_user: bins, top_compounds: compounds, signup_months: months, versions }) {
  const most = [...compounds].reverse(); // the axis begins at the bottom
  return [
    {
      title: "Experiments per user",
      text: "How many users ran how many experiments",
      columns: [{ label: "Experiments" }, { label: "Users", number: true }],
      rows: bins.map((bin) => [range(bin), number(bin.users)]),
      option: {
        xAxis: category(bins.map(range), "experiments"),
        yAxis: value("users"),
        series: [
          bars(
            "Users",
            bins.map((bin) => bin.users),
          ),
        ],
      },
    },
    {
      title: "Top compounds",
      text: "The most common compound of the most users",
      columns: [{ label: "Compound" }, { label: "Users", number: true }],
      rows: compounds.map((compound) => [compound.compound_name, number(compound.users)]),
      option: {
        xAxis: { ...value("users"), name: "" }, // the title says it
        yAxis: {
          ...category(most.map((compound) => compound.compound_name)),
          axisLabel: { width: 110, overflow: "truncate", interval: 0 },
        },
        series: [
          bars(
            "Users",
            most.map((compound) => compound.users),
          ),
        ],
      },
      height: Math.max(HEIGHT, 40 + 20 * compounds.length),
    },
    {
      title: "By signup month",
      text: "Experiments and mean run time of the users who signed up in a month",
      columns: [
        { label: "Month" },
        { label: "Users", number: true },
        { label: "Experiments", number: true },
        { label: "Mean run time", number: true },
      ],
      rows: months.map((month) => [
        month.month,
        number(month.users),
        number(month.experiments),
        cell(month.average_run_time),
      ]),
      option: {
        legend: {},
        xAxis: category(months.map((month) => month.month)),
        yAxis: [value("experiments"), { ...value("mean run time", "right"), splitLine: { show: false } }],
        series: [
          bars(
            "Experiments",
            months.map((month) => month.experiments),
          ),
          line(
            "Mean run time",
            months.map((month) => month.average_run_time),
            1,
          ),
        ],
      },
    },
    {
      title: "Average experiments per user, by version",
      text: "How the average of each published version differs from the one before",
      columns: [{ label: "Computed" }, { label: "Job" }, { label: "Experiments per user", number: true }],
      rows: versions.map((version) => [
        moment(version.computed_at),
        shortId(version.job_id),
        cell(version.average_experiments_per_user),
      ]),
      option: {
        xAxis: category(versions.map((version) => dated(version.computed_at))),
        yAxis: { ...value("experiments per user"), scale: true },
        series: [
          line(
            "Experiments per user",
            versions.map((version) => version.average_experiments_per_user),
            0,
          ),
        ],
      },
    },
  ];
}

const range = ({ from, to }) => (from === to ? number(from) : `${number(from)}–${number(to)}`);
const category = (data, name = "") => ({ type: "category", data, name, nameLocation: "middle", nameGap: 28 });
const value = (name, align = "left") => ({
  type: "value",
  name,
  nameTextStyle: { align },
  minInterval: name === "users" || name === "experiments" ? 1 : 0,
});
const bars = (name, data) => ({ type: "bar", name, data, barMaxWidth: 32 });
const line = (name, data, yAxisIndex) => ({ type: "line", name, data, yAxisIndex, symbolSize: 7, connectNulls: true });

function figure(chart) {
  return h(
    "figure",
    {},
    h("figcaption", {}, h("h3", {}, chart.title), h("p", { class: "muted" }, chart.text)),
    chart.rows.length
      ? h("div", {
          class: "chart",
          role: "img",
          "aria-label": `${chart.title}: ${chart.text}. The numbers are in the table below.`,
        })
      : h("p", { class: "empty" }, "Nothing to show."),
    chart.rows.length
      ? h(
          "details",
          {},
          h("summary", {}, "As a table"),
          table(chart.title, chart.columns, chart.rows, { hideCaption: true }),
        )
      : null,
  );
}
