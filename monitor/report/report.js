"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");
const swaps = JSON.parse(document.getElementById("dark").textContent);
const charts = [...document.querySelectorAll(".chart")];
const settings = { displayModeBar: false, responsive: true, showTips: false, doubleClick: "reset" };
// The charts count media time from the second day of 1970.
const day = 86400000;
const milliseconds = (v) =>
  (typeof v === "number" ? v : Date.parse(v.length > 10 ? v.replace(" ", "T") + "Z" : v)) - day;

function figure(chart) {
  const text = document.getElementById(chart.dataset.figure).textContent;
  const drawn = JSON.parse(dark.matches ? text.replace(/#[0-9a-f]{6}/g, (c) => swaps[c] || c) : text);
  // A finger that drags across a chart means to scroll the page.
  if (matchMedia("(pointer: coarse)").matches) drawn.layout.dragmode = false;
  return drawn;
}

function filmOf(chart) {
  return chart.closest(".panel").querySelector(".film ol");
}

function follow(chart) {
  const film = filmOf(chart);
  const button = chart.closest(".panel").querySelector(".whole");
  const [start, end] = chart.layout.xaxis.range.map(milliseconds);
  const whole = Number(chart.dataset.span);
  button.hidden = Math.abs(end - start - whole) < 1 && Math.abs(start) < 1;
  if (!film) return;
  film.style.width = (100 * whole) / (end - start) + "%";
  film.parentElement.classList.toggle("close", whole / (end - start) > 3);
  film.style.left = (-100 * start) / (end - start) + "%";
}

function point(chart, at) {
  const film = filmOf(chart);
  if (!film) return;
  for (const cell of film.children) {
    cell.classList.toggle("now", at >= Number(cell.dataset.start) && at < Number(cell.dataset.end));
  }
}

function draw(chart) {
  const drawn = figure(chart);
  if (chart.dataset.drawn) return Plotly.react(chart, drawn.data, drawn.layout, settings);
  chart.dataset.drawn = "yes";
  return Plotly.newPlot(chart, drawn.data, drawn.layout, settings).then(() => {
    if (!chart.dataset.span) return; // a chart without an axis of time
    chart.on("plotly_relayout", () => follow(chart));
    chart.on("plotly_hover", (event) => point(chart, milliseconds(event.points[0].x)));
    chart.on("plotly_clickannotation", ({ annotation }) => {
      if (annotation.name) location.hash = annotation.name;
    });
    chart.on("plotly_unhover", () => point(chart, -1));
  });
}

function show(chart, start, end) {
  return draw(chart).then(() => Plotly.relayout(chart, { "xaxis.range": [day + start, day + end] }));
}

const near = new IntersectionObserver(
  (entries) => entries.filter((e) => e.isIntersecting && !e.target.dataset.drawn).forEach((e) => draw(e.target)),
  { rootMargin: "800px" },
);
charts.forEach((chart) => near.observe(chart));
dark.addEventListener("change", () => charts.filter((chart) => chart.dataset.drawn).forEach(draw));
addEventListener("beforeprint", () => charts.filter((chart) => !chart.dataset.drawn).forEach(draw));

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-chart]");
  if (!button) return;
  const chart = document.getElementById(button.dataset.chart);
  const whole = Number(chart.dataset.span);
  const start = Number(button.dataset.start ?? 0);
  const end = Number(button.dataset.end ?? whole);
  const room = button.dataset.start === undefined ? 0 : Math.max(end - start, 2000);
  show(chart, Math.max(start - room, 0), Math.min(end + room, whole));
  if (room) chart.closest(".panel").scrollIntoView({ block: "nearest" });
});
