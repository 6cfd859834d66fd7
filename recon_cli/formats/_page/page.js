/* Everything begins here: the data of the page are drawn, and drawn anew where its colours or its width change. */

const report = JSON.parse(document.getElementById("data").textContent);

function stored(place, given) {
  const numbers = (values) => values.map((value) => (typeof value === "number" ? value : null));
  chart(place, [given.title, given.note].filter(Boolean).join(". "), () => ({
    x: given.x,
    series: given.series.map((each) => ({ ...each, values: numbers(each.values) })),
    titles: [given.x_title, given.y_title, given.side_title],
    scales: given.scales,
    ranges: ranges(given),
    marks: given.level == null ? null : (u, context) => levelLine(u, context, given.level, "b", `${given.named} ${spell(given.level, 4)}`),
  }));
}

/* Bars have room at both ends, and on a logarithmic scale a foot that is seen. */
function ranges({ x, series, scales, level }) {
  if (!series.some((each) => each.kind === "bars")) return {};
  const width = x.length > 1 ? (x[x.length - 1] - x[0]) / (x.length - 1) : 1, known = series.flatMap((each) => each.values).filter((value) => value > 0);
  const least = Math.min(...known), most = Math.max(...known);
  const y = scales[1] === "log" ? [Math.min(least / 2, most / 200), most * 2] : [0, 1.08 * Math.max(most, level ?? 0, 1e-300)];
  return { x: [x[0] - width, x[x.length - 1] + width], y };
}

function redraw() {
  for (const each of drawn) each.build();
}

for (const place of document.querySelectorAll("[data-exhibit]")) {
  const given = report.exhibits[Number(place.dataset.exhibit)];
  EXHIBITS[given.kind](place, given, report);
}
for (const place of document.querySelectorAll("[data-chart]")) stored(place.querySelector(".plot"), report.charts[Number(place.dataset.chart)]);
for (const code of document.querySelectorAll("code.copy")) copyable(code);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("resize", () => { for (const each of drawn) each.fit(); });
addEventListener("beforeprint", () => {
  document.documentElement.classList.add("printing");
  for (const each of document.querySelectorAll("details")) { each.dataset.open = each.open; each.open = true; }
  redraw();
});
addEventListener("afterprint", () => {
  document.documentElement.classList.remove("printing");
  for (const each of document.querySelectorAll("details")) each.open = each.dataset.open === "true";
  redraw();
});
