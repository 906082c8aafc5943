// Drawing: Apache ECharts, as SVG and in the page's colours. It is loaded with the first chart.

import { h } from "./elements.js";
import { cell } from "./format.js";

export const HEIGHT = 260;

/** @type {Promise<object> | null} */
let library = null;

export function echarts() {
  library ??= new Promise((resolve, reject) => {
    const script = h("script", { src: new URL("echarts.min.js", import.meta.url).href });
    script.onload = () => resolve(window.echarts);
    script.onerror = () => {
      library = null;
      reject(new Error("the charts could not be loaded"));
    };
    document.head.append(script);
  });
  return library;
}

/** @param {object} library @param {HTMLElement} element @param {{option: object, height?: number}} chart */
export function chartIn(library, element, chart) {
  element.style.height = `${chart.height ?? HEIGHT}px`;
  const drawn = library.init(element, null, { renderer: "svg" });
  const draw = () => drawn.setOption(coloured(chart.option), true);
  draw();
  return { redraw: draw, resize: () => drawn.resize(), dispose: () => drawn.dispose() };
}

/** In the colours that the page has now. */
function coloured(option) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const text = { color: colour("muted"), fontFamily: style.fontFamily };
  const axis = (one) => ({
    ...one,
    nameTextStyle: { ...text, ...one.nameTextStyle },
    axisLabel: { color: text.color, hideOverlap: true, ...one.axisLabel },
    axisLine: { lineStyle: { color: colour("line") } },
    splitLine: { lineStyle: { color: colour("line") }, ...one.splitLine },
  });
  const axes = (given) => (Array.isArray(given) ? given.map(axis) : axis(given));
  return {
    ...option,
    animation: false,
    textStyle: text,
    color: [colour("accent"), colour("second")],
    grid: {
      left: 8,
      right: 20,
      top: option.yAxis.type === "category" ? 8 : 36,
      bottom: option.legend ? 32 : option.xAxis.type === "category" && option.xAxis.name ? 24 : 8,
      containLabel: true,
    },
    legend: option.legend && { textStyle: text, bottom: 0 },
    tooltip: {
      trigger: "axis",
      confine: true,
      formatter: told,
      backgroundColor: colour("surface"),
      borderColor: colour("line"),
      textStyle: { color: colour("text") },
    },
    xAxis: axes(option.xAxis),
    yAxis: axes(option.yAxis),
  };
}

/** As an element: markup in text would be read as such, and its inline styles be refused. */
function told(points) {
  return h(
    "div",
    {},
    h("strong", {}, String(points[0].name)),
    points.map((point) => h("div", {}, `${point.seriesName}: ${cell(point.value)}`)),
  );
}
