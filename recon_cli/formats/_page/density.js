/* Where squared error comes from: a density with its data, mean and noise to move, its -log, its loss, and the two gradients. */

EXHIBITS.Density = (place, given) => {
  const texts = Object.fromEntries(given.texts);
  const values = { x: given.x.value, mu: given.mu.value };
  for (const each of given.noise) values[each.name] = each.value;
  const at = (tree, more = {}) => evaluate(tree, { ...values, ...more });
  const moved = [given.mu, given.x, ...given.noise];
  const sliders = moved.map((each) => slider({ key: each.name, name: each.title, low: each.low, high: each.high, logarithmic: each.logarithmic, whole: each.step === 1, value: each.value }, () => hear()));
  const p = given.discrete ? "P" : "p";

  place.append(element("h2", {}, `${given.likelihood}, and ${given.loss_name.replaceAll("-", " ")}`));
  place.append(element("div", { class: "bar" }, ...sliders.map((each) => each.box)));

  const dropped = texts.gap !== "0" ? "It drops a gap that \u03bc is in, too, and that no loss may drop." : texts.offset !== "0" ? "What is dropped has no \u03bc in it, so no gradient changes; the slope is the noise." : "Nothing is dropped.";
  const question = element("div", { class: "question" });
  if (given.likelihood === "gaussian") question.append(element("p", { class: "quoted" }, "\u201cMy reconstruction error is E[log p(x|z)], yet the code says square(y \u2212 t).mean(). Is the first just an idea and MSE the actual formula?\u201d"));
  question.append(element("p", {}, "They are one thing. p(x|z) is a choice; choose ", element("b", {}, given.likelihood), `, take \u2212log, and ${given.loss_name.replaceAll("-", " ")} `, element("span", { class: "formula" }, texts.loss), " is what is left to write. ", dropped));
  place.querySelector("h2").after(question);

  /* The identity, its numbers alive. */
  const parts = {};
  const term = (key, words, kind) => {
    parts[key] = element("data", { "data-name": key, ...(kind && { class: kind }) });
    return element("span", {}, parts[key], element("small", { class: "formula" }, words));
  };
  const equation = element("div", { class: "equation" }, term("nll", `\u2212log ${p}(x|\u03bc)`, "a"), "=", term("slope", `slope ${texts.slope}`, "b"), "\u00d7", term("loss", `loss ${texts.loss}`, "c"));
  if (texts.offset !== "0") equation.append("+", term("offset", `${texts.offset}: no \u03bc in it`));
  if (texts.gap !== "0") equation.append("+", term("gap", `gap ${texts.gap}: \u03bc is in it`, "d"));
  place.append(equation);

  const grid = element("div", { class: "grid" });
  place.append(grid);
  const charts = [], means = spread(given.mu.low, given.mu.high, 241, false);
  const span = given.x.high - given.x.low, edges = [given.discrete ? given.x.low : given.x.low, given.x.high];
  const data = given.discrete ? Array.from({ length: Math.round(span) + 1 }, (_, index) => given.x.low + index) : spread(...edges, 321, false);
  const finite = (value) => (Number.isFinite(value) ? value : null);
  const over = (tree, xs, name) => xs.map((value) => finite(at(tree, { [name]: value })));
  const highest = (numbers) => Math.max(...numbers.filter((value) => value !== null));
  const toMean = (value) => { set(0, value); hear(); };

  const first = card(`1. A distribution of x, which \u03bc moves: ${p}(x|\u03bc)`, `${texts.density}. The decoder gives \u03bc, the mean of a distribution; it is not subtracted from x until the logarithm is taken. Drag it.`);
  grid.append(first.box);
  charts.push(chart(first.plot, `The ${given.likelihood} density over x`, () => {
    const curve = over(given.density, data, "x"), top = highest(curve);
    return {
      x: data, titles: ["x", `${p}(x|\u03bc)`], ranges: { x: given.discrete ? [given.x.low - 0.6, given.x.high + 0.6] : edges, y: [0, 1.15 * top] },
      series: [{ name: `${p}(x|\u03bc)`, values: curve, kind: given.discrete ? "bars" : "line", colour: "a" }],
      marks: (u, context) => { upright(u, context, values.mu, "muted"); dot(u, context, values.x, at(given.density), "b", `x, ${p} = ${spell(at(given.density), 3)}`); },
      drag: toMean,
    };
  }));

  const second = card("2. Its \u2212log, seen from \u03bc: the loss, scaled and lifted", "Blue is \u2212log p; green the loss. Scaled by the slope it is the same curve, up to what has no \u03bc in it: the dashes are b(x) away.");
  grid.append(second.box);
  charts.push(chart(second.plot, "Minus log p and the loss over mu", () => {
    const nll = over(given.nll, means, "mu"), loss = over(given.loss, means, "mu");
    const scaled = means.map((mu, index) => (loss[index] === null ? null : finite(at(given.slope, { mu }) * loss[index])));
    const all = [...nll, ...scaled].filter((value) => value !== null).sort((a, b) => a - b), low = all[0], high = all[Math.floor(0.98 * (all.length - 1))];
    return {
      x: means, titles: ["\u03bc", "nats"], ranges: { x: [given.mu.low, given.mu.high], y: [low - 0.08 * (high - low), high + 0.05 * (high - low)] },
      series: [{ name: `\u2212log ${p}(x|\u03bc)`, values: nll, colour: "a" }, { name: "slope \u00d7 loss", values: scaled, kind: "dashes", colour: "b" }, { name: "loss", values: loss, colour: "c" }],
      marks: (u, context) => { upright(u, context, values.x, "muted"); dot(u, context, values.mu, at(given.nll), "a"); dot(u, context, values.mu, at(given.loss), "c"); },
      drag: toMean,
    };
  }));

  const third = card("3. The gradients point one way; the slope is all that is between them", "Arrows from \u03bc, the way that a step of gradient descent goes. A constant factor is a learning rate, or beta on a KL: choosing it is choosing the noise.");
  grid.append(third.box);
  const steps = { loss: element("data", { "data-name": "loss_gradient", class: "c" }), nll: element("data", { "data-name": "nll_gradient", class: "a" }), ratio: element("data", { "data-name": "ratio", class: "b" }) };
  third.box.insertBefore(element("div", { class: "equation" }, element("span", {}, steps.nll, element("small", {}, "\u2202nll/\u2202\u03bc")), "=", element("span", {}, steps.ratio, element("small", { class: "formula" }, texts.gap === "0" ? texts.slope : "their ratio")), "\u00d7", element("span", {}, steps.loss, element("small", {}, "\u2202loss/\u2202\u03bc"))), third.plot.nextSibling);
  charts.push(chart(third.plot, "The two gradients as arrows from mu", () => ({
    x: [given.mu.low, given.mu.high], height: 170, titles: ["\u03bc", ""], ranges: { x: [given.mu.low, given.mu.high], y: [0, 3] }, bare: true,
    series: [{ name: "", values: [null, null] }],
    marks: (u, context) => {
      upright(u, context, values.x, "b");
      upright(u, context, values.mu, "muted");
      const wide = (given.mu.high - given.mu.low) / 2, pulls = [at(given.loss_gradient), at(given.nll_gradient)];
      const unit = Math.min(1, (wide * 0.9) / Math.max(...pulls.map(Math.abs).filter(Number.isFinite), 1e-12));
      arrow(u, context, values.mu, -pulls[0] * unit, 2.1, "c", `\u2212\u2202loss/\u2202\u03bc = ${spell(-pulls[0], 4)}`);
      arrow(u, context, values.mu, -pulls[1] * unit, 0.9, "a", `\u2212\u2202nll/\u2202\u03bc = ${spell(-pulls[1], 4)}`);
    },
    drag: toMean,
  })));

  for (const misprint of given.misprints) {
    const fourth = card("4. The misprint, side by side", `Printed in an answer that many have read: ${misprint.printed}. ${given.discrete ? "It adds up to" : "The area under it is"} ${misprint.adds_up_to}, so it is no density, and no loss follows from it.`);
    const other = element("div", { class: "plot" }), pair = element("div", { class: "pair" });
    fourth.box.insertBefore(pair, fourth.plot);
    pair.append(fourth.plot, other);
    grid.append(fourth.box);
    const side = (plot, tree, name, ink, title) => charts.push(chart(plot, title, () => {
      const curve = over(tree, data, "x"), top = 1.6 * highest(over(given.density, data, "x"));
      return { x: data, height: 210, titles: ["x", ""], ranges: { x: edges, y: [0, top] }, series: [{ name, values: curve, colour: ink }], marks: (u, context) => upright(u, context, values.mu, "muted"), drag: toMean };
    }));
    side(fourth.plot, given.density, `${given.discrete ? "sum" : "area"} 1`, "a", "The density");
    side(other, misprint.density, `${given.discrete ? "sum" : "area"} ${misprint.adds_up_to}`, "b", "The misprinted density");
  }

  function set(index, value) {
    sliders[index].set(Number(value.toPrecision(4)));
  }
  function hear() {
    moved.forEach((each, index) => { values[each.name] = sliders[index].value; });
    for (const key of ["nll", "slope", "loss", "offset", "gap"]) if (parts[key]) put(parts[key], at(given[key]), 5);
    const [loss, nll] = [at(given.loss_gradient), at(given.nll_gradient)];
    put(steps.loss, loss, 5);
    put(steps.nll, nll, 5);
    put(steps.ratio, loss ? nll / loss : null, 5);
    for (const each of charts) each.update();
  }
  hear();
};

/* An arrow along x from a place, at a height, with words above it. */
function arrow(u, context, from, by, y, name, words) {
  const start = u.valToPos(from, "x", true), end = u.valToPos(from + by, "x", true), top = u.valToPos(y, "y", true), head = 9 * ratio();
  const way = Math.sign(end - start) || 1, long = Math.abs(end - start);
  context.strokeStyle = context.fillStyle = colour(name);
  context.lineWidth = 4 * ratio();
  context.setLineDash([]);
  context.beginPath();
  context.moveTo(start, top);
  context.lineTo(end - way * Math.min(head, long), top);
  context.stroke();
  context.beginPath();
  context.moveTo(end, top);
  context.lineTo(end - way * Math.min(head * 1.4, long), top - Math.min(head, long) * 0.8);
  context.lineTo(end - way * Math.min(head * 1.4, long), top + Math.min(head, long) * 0.8);
  context.fill();
  context.font = `${12.5 * ratio()}px system-ui`;
  const width = context.measureText(words).width, left = u.bbox.left + 4 * ratio(), right = u.bbox.left + u.bbox.width - width - 4 * ratio();
  context.textAlign = "left";
  context.fillText(words, Math.max(left, Math.min(right, (start + end - width) / 2)), top - 14 * ratio());
}
