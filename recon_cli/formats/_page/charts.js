/* What every drawing shares: elements, numbers in words, colours of the page, and charts by uPlot. */

const drawn = []; // what is to be drawn anew where colours or widths change

/* An element with attributes and children; words become text, never markup. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/* A number as people read it. */
function spell(value, digits = 6) {
  if (value == null || Number.isNaN(value)) return "\u2013";
  if (!Number.isFinite(value)) return value > 0 ? "\u221e" : "-\u221e";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString("en");
  const short = Number(value.toPrecision(digits)), size = Math.abs(short);
  return size >= 1e6 || size < 1e-4 ? short.toExponential().replace("e+", "e") : String(short);
}

/* A number in the page: as people read it, and whole in its value. */
function number(value, digits) {
  return element("data", { value: value == null ? "" : String(value) }, spell(value, digits));
}

function put(place, value, digits) {
  place.value = value == null ? "" : String(value);
  place.textContent = spell(value, digits);
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/* Numbers evenly spread between two, on a logarithmic scale or not. */
function spread(low, high, count, logarithmic) {
  const [a, b] = logarithmic ? [Math.log(low), Math.log(high)] : [low, high];
  return Array.from({ length: count }, (_, at) => {
    const value = a + ((b - a) * at) / (count - 1);
    return logarithmic ? Math.exp(value) : value;
  });
}

const PALETTE = ["a", "b", "c", "d", "e"];
const SHAPES = {
  line: () => ({ width: 2 }),
  dashes: () => ({ width: 2, dash: [7, 5] }),
  bars: (stroke) => ({ fill: stroke, width: 0, paths: uPlot.paths.bars({ size: [0.8, 60] }), points: { show: false } }),
  points: (stroke) => ({ paths: () => null, points: { show: true, size: 5, width: 0, fill: stroke } }),
};

function ticks(scale) {
  const back = (value) => (scale === "signed-log" ? Math.sign(value) * (10 ** Math.abs(value) - 1) : value);
  return (_, values) => values.map((value) => (value == null ? "" : spell(back(value), scale === "signed-log" ? 2 : 4)));
}

/* The range of a scale; of a logarithmic one from a round number, from which uPlot counts its ticks. */
function rounded([low, high], scale) {
  if (scale !== "log") return [low, high];
  const decade = 10 ** Math.floor(Math.log10(low) + 1e-9);
  return [Number((Math.max(1, Math.floor(low / decade + 1e-9)) * decade).toPrecision(12)), high];
}

/* Which ticks of a logarithmic axis have a number: 1, 2 and 5 of a decade where there are few of them, else 1. */
function decades(_, values) {
  const known = values.filter((value) => value != null), many = Math.log10(known[known.length - 1] / known[0]) > 2.2;
  return values.map((value) => (value != null && (many ? /^1(\.0+\d?)?e|^9\.9+\d*e/ : /^[125](\.0+\d?)?e|^[149]\.9+\d*e/).test(value.toExponential()) ? value : null));
}

/* A chart in a place. `options` is a function, for colours may change:
   {x, series: [{name, values, kind, side, colour}], titles: [x, y, side], scales: [x, y], ranges: {x, y, side}, marks, drag, height}
   marks(u, context) draws over it; drag(x, y) hears of a pointer that is pulled over it. Returns what draws it anew. */
function chart(place, label, options) {
  let plot = null, width = 0, kept = null;
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", label);

  function build() {
    const given = options(), [xScale, yScale] = given.scales ?? ["linear", "linear"];
    const ink = colour("muted"), line = colour("line"), ranges = given.ranges ?? {};
    const axis = (more) => ({ stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, size: 4 }, font: "12px system-ui", labelFont: "12px system-ui", labelSize: 18, ...more });
    const isSided = given.series.some((each) => each.side);
    const names = given.titles ?? ["", "", ""];
    const scales = {
      x: { time: false, distr: xScale === "log" ? 3 : 1, ...(ranges.x && { range: () => rounded(ranges.x, xScale) }) },
      y: { distr: yScale === "log" ? 3 : 1, ...(ranges.y && { range: () => rounded(ranges.y, yScale) }) },
      ...(isSided && { side: { ...(ranges.side && { range: () => ranges.side }) } }),
    };
    const axes = [
      axis({ scale: "x", label: names[0] || " ", size: 34, values: ticks(xScale), ...(xScale === "log" && { filter: decades }) }),
      axis({ scale: "y", show: !given.bare, label: names[1] || undefined, size: 58, values: ticks(yScale), ...(yScale === "log" && { filter: decades }) }),
    ];
    if (isSided) axes.push(axis({ scale: "side", side: 1, label: names[2] || undefined, size: 58, grid: { show: false }, values: ticks("linear") }));
    const back = (scale, value) => (value != null && scale === "signed-log" ? Math.sign(value) * (10 ** Math.abs(value) - 1) : value);
    const series = [
      { label: (names[0] || "x").split(",")[0], value: (_, value) => spell(back(xScale, value), 4) },
      ...given.series.map((each, at) => {
        const stroke = colour(each.colour ?? PALETTE[at % PALETTE.length]);
        return { label: each.name, stroke, scale: each.side ? "side" : "y", points: { show: given.x.length < 3 }, value: (_, value) => spell(value, 5), ...SHAPES[each.kind ?? "line"](stroke) };
      }),
    ];
    const marks = (u) => {
      if (!given.marks) return;
      u.ctx.save();
      u.ctx.beginPath();
      u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
      u.ctx.clip();
      options().marks(u, u.ctx);
      u.ctx.restore();
    };
    width = Math.max(220, place.clientWidth);
    kept = { width, height: given.height ?? 250, scales, axes, series, padding: [10, isSided ? 0 : 12, 0, 0], cursor: { drag: { x: !given.drag, y: false }, points: { size: 6 } }, legend: { show: !given.bare, live: true }, hooks: { draw: [marks] } };
    place.replaceChildren();
    plot = new uPlot(kept, [given.x, ...given.series.map((each) => each.values)], place);
    if (given.drag) {
      const move = (event) => {
        if (event.buttons !== 1) return;
        const box = plot.over.getBoundingClientRect();
        given.drag(plot.posToVal(event.clientX - box.left, "x"), plot.posToVal(event.clientY - box.top, "y"));
      };
      plot.over.classList.add("draggable");
      plot.over.addEventListener("pointerdown", (event) => { plot.over.setPointerCapture(event.pointerId); move(event); });
      plot.over.addEventListener("pointermove", move);
    }
  }

  build();
  const self = {
    build,
    update() {
      const given = options(), [x, y] = given.scales ?? [];
      for (const [key, range] of Object.entries(given.ranges ?? {})) plot.scales[key].range = () => rounded(range, { x, y }[key]);
      plot.setData([given.x, ...given.series.map((each) => each.values)]);
    },
    fit() { if (place.clientWidth && Math.max(220, place.clientWidth) !== width) build(); },
  };
  drawn.push(self);
  return self;
}

/* Lines and dots over a chart. */
const ratio = () => window.devicePixelRatio || 1;

function upright(u, context, x, name, dashed = true) {
  const at = u.valToPos(x, "x", true);
  context.strokeStyle = colour(name);
  context.lineWidth = 1.6 * ratio();
  context.setLineDash(dashed ? [5 * ratio(), 4 * ratio()] : []);
  context.beginPath();
  context.moveTo(at, u.bbox.top);
  context.lineTo(at, u.bbox.top + u.bbox.height);
  context.stroke();
}

function levelLine(u, context, y, name, words) {
  const at = u.valToPos(y, "y", true);
  context.strokeStyle = context.fillStyle = colour(name);
  context.lineWidth = 1.6 * ratio();
  context.setLineDash([]);
  context.beginPath();
  context.moveTo(u.bbox.left, at);
  context.lineTo(u.bbox.left + u.bbox.width, at);
  context.stroke();
  if (words) {
    context.font = `${12 * ratio()}px system-ui`;
    context.textAlign = "right";
    const wide = context.measureText(words).width, right = u.bbox.left + u.bbox.width - 6 * ratio(), foot = at + (at - u.bbox.top < 20 * ratio() ? 16 : -6) * ratio();
    context.fillStyle = colour("card");
    context.globalAlpha = 0.85;
    context.fillRect(right - wide - 4 * ratio(), foot - 12 * ratio(), wide + 8 * ratio(), 15 * ratio());
    context.globalAlpha = 1;
    context.fillStyle = colour(name);
    context.fillText(words, right, foot);
  }
}

function dot(u, context, x, y, name, words = "") {
  const [left, top] = [u.valToPos(x, "x", true), u.valToPos(y, "y", true)];
  context.fillStyle = colour(name);
  context.beginPath();
  context.arc(left, top, 5.5 * ratio(), 0, 2 * Math.PI);
  context.fill();
  if (words) {
    context.font = `${12 * ratio()}px system-ui`;
    context.textAlign = left + context.measureText(words).width + 12 * ratio() > u.bbox.left + u.bbox.width ? "right" : "left";
    context.fillText(words, left + (context.textAlign === "right" ? -9 : 9) * ratio(), top - 8 * ratio());
  }
}

/* A labelled slider over numbers: {name, low, high, logarithmic, steps, value, digits}; hear(value) is called as it moves. */
function slider(given, hear) {
  const { low, high, logarithmic = false, whole = false, digits = 4 } = given;
  const steps = whole ? high - low : (given.steps ?? 1000);
  const [a, b] = logarithmic ? [Math.log(low), Math.log(high)] : [low, high];
  const id = `slider-${document.querySelectorAll("input[type=range]").length}-${given.key}`;
  const input = element("input", { type: "range", id, min: 0, max: steps, step: 1, "data-name": given.key });
  const output = element("output", { for: id });
  const box = element("div", { class: "slider" }, element("label", { for: id }, given.name), output, input);
  const at = (position) => {
    const value = a + ((b - a) * position) / steps;
    return whole ? low + Number(position) : logarithmic ? Math.exp(value) : value;
  };
  const self = {
    box,
    value: given.value,
    show() {
      const short = spell(self.value, digits);
      output.replaceChildren(number(self.value, digits));
      input.setAttribute("aria-valuetext", short);
    },
    set(value) {
      self.value = Math.min(high, Math.max(low, value));
      input.value = Math.round(whole ? self.value - low : (((logarithmic ? Math.log(self.value) : self.value) - a) / (b - a)) * steps);
      self.show();
    },
  };
  input.addEventListener("input", () => {
    const value = at(input.valueAsNumber);
    self.value = whole ? value : Number(value.toPrecision(5)); // a number that can be written down
    self.show();
    hear();
  });
  self.set(given.value);
  return self;
}

/* A button that copies what a code says. */
function copyable(code) {
  const button = element("button", { type: "button", class: "copy", "aria-label": "copy" }, "copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code); // for the reader's own copy
    }
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
  code.after(button);
}

function card(title, note, ...children) {
  const plot = element("div", { class: "plot" });
  return { plot, box: element("figure", { class: "card" }, element("figcaption", {}, title), plot, ...children, ...(note ? [element("p", { class: "note" }, note)] : [])) };
}

const EXHIBITS = {}; // by the class of what is shown: a function of its place, its numbers and the whole report
