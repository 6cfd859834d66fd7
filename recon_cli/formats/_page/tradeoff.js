/* For which noise? Spectrum, valley and trade-off of a linear model, and the weights to write, at a sigma, a beta and a K. */

EXHIBITS.TradeOff = (place, given, report) => {
  const hasData = given.eigenvalues.length > 0, values = given.eigenvalues, d = given.dimensions;
  const scaled = given.family === "gaussian" || given.family === "laplace", isGaussian = given.family === "gaussian";
  const positive = values.filter((value) => value > 1e-7 * values[0]);
  const shown = values.slice(0, positive.length), most = hasData ? positive.length : Math.max(256, given.latent ?? 0);
  let low = given.noise / 100, high = given.noise * 100;
  if (hasData && isGaussian) [low, high] = [Math.min(Math.sqrt(positive[positive.length - 1]), given.noise / 2), Math.max(2.5 * Math.sqrt(values[0]), given.noise * 2)];

  const hear = () => update();
  const noise = scaled ? slider({ key: "noise", name: isGaussian ? "sigma" : "scale", low, high, logarithmic: true, value: given.noise }, hear) : null;
  const beta = slider({ key: "beta", name: "beta", low: Math.min(0.01, given.beta / 10), high: Math.max(100, given.beta * 10), logarithmic: true, steps: 800, value: given.beta }, hear);
  const latents = slider({ key: "latent", name: "latents K", low: 1, high: Math.max(2, most), whole: true, value: given.latent ?? Math.min(most, hasData ? most : 16) }, hear);
  const sliders = [noise, beta, latents].filter(Boolean);
  const command = element("code", { class: "command" });
  const back = element("button", { type: "button" }, "reset");
  back.addEventListener("click", () => { noise?.set(given.noise); beta.set(given.beta); latents.set(given.latent ?? Math.min(most, hasData ? most : 16)); update(); });
  const line = element("p", { class: "command-line" }, "to train that ", command);
  const bar = element("div", { class: "bar" }, ...sliders.map((each) => each.box));
  place.append(bar);

  const tiles = {};
  const board = element("div", { class: "tiles" });
  const tile = (key, words) => { tiles[key] = element("data", { "data-name": key }); board.append(element("div", {}, tiles[key], element("span", {}, words))); };
  tile("weight", `on the KL, ${given.loss} and KL summed`);
  if (hasData && isGaussian) {
    tile("active", "active latents, predicted");
    tile("rate", "rate R = KL, nats");
    tile("distortion", "distortion D");
    tile("likelihood", "log p(x), linear model");
    if (given.error != null) { tile("nll", "nll of the reconstruction"); tile("cost", "nats above its best sigma"); }
  }
  place.append(board, line);
  copyable(command);
  line.append(" ", back);

  /* Sums once for all, so that curves are quick; what is read is summed anew, to the last digit. */
  const logs = [0], tails = [0];
  for (const value of values) logs.push(logs[logs.length - 1] + Math.log(value));
  for (const value of [...values].reverse()) tails.push(tails[tails.length - 1] + value);
  const rest = Math.max(0, given.trace - tails[tails.length - 1]) * (values.length < d ? 1 : 0);
  const quick = (level, count) => {
    const active = above(given, level, count), left = tails[values.length - active] + rest;
    return { active, rate: (logs[active] - active * Math.log(level)) / 2, distortion: active * level + left };
  };

  const grid = element("div", { class: "grid three" });
  const charts = [];
  const here = () => ({ sigma: noise?.value ?? 1, beta: beta.value, count: latents.value, level: beta.value * (noise?.value ?? 1) ** 2 });
  if (hasData && isGaussian) {
    place.append(grid);
    const first = card("Which latents are worth their KL", "Bars above the line, beta times sigma squared, are active: what a linear model keeps. Predicted from the data alone; K cuts it short.");
    const index = shown.map((_, at) => at + 1), floor = positive[positive.length - 1];
    grid.append(first.box);
    charts.push(chart(first.plot, "The eigenvalues of the data's covariance as bars, those above beta times sigma squared active", () => {
      const { level, count } = here(), active = above(given, level, count);
      return {
        x: index, titles: ["direction", "eigenvalue"], scales: ["linear", "log"], ranges: { x: [0.3, index.length + 0.7], y: [Math.min(floor, level) / 2, Math.max(values[0], level) * 2] },
        series: [{ name: "active", values: shown.map((value, at) => (at < active ? value : null)), kind: "bars", colour: "a" }, { name: "off", values: shown.map((value, at) => (at < active ? null : value)), kind: "bars", colour: "off" }],
        marks: (u, context) => {
          levelLine(u, context, level, "b", `beta sigma\u00b2 = ${spell(level, 4)}`);
          if (count < index.length) upright(u, context, count + 0.5, "muted");
        },
      };
    }));

    const sigmas = spread(low, high, 240, true);
    const valley = given.error != null ? (sigma) => gaussian(d, given.error, sigma) : (sigma) => { const best = quick(sigma * sigma, here().count); return best.rate + gaussian(d, best.distortion, sigma); };
    const second = given.error != null
      ? card("The valley: nll of the reconstruction, by sigma", "The floor is the root of the mean squared error. sigma = 1 is a point on it like any other.")
      : card("The valley: \u2212log p(x) of a linear model, by sigma", "The floor is the best sigma for K latents (PPCA). Drag in it.");
    grid.append(second.box);
    charts.push(chart(second.plot, "The negative log-likelihood by sigma, with a valley", () => {
      const curve = sigmas.map(valley), floor = Math.min(...curve), { sigma } = here();
      const height = Math.max(valley(Math.min(high, 8 * sigmas[curve.indexOf(floor)])) - floor, valley(sigma) - floor, 1);
      return {
        x: sigmas, titles: ["sigma", "nats per sample"], scales: ["log", "linear"], ranges: { x: [low, high], y: [floor - 0.15 * height, floor + 1.15 * height] },
        series: [{ name: given.error != null ? "nll" : "\u2212log p(x)", values: curve }],
        marks: (u, context) => { upright(u, context, sigma, "b"); dot(u, context, sigma, valley(sigma), "b"); },
        drag: (x) => { noise.set(Number(x.toPrecision(5))); update(); },
      };
    }));

    const third = card("What a nat buys: rate against distortion", "The best that K latents can do, at every noise. More KL, less error: sigma and beta only choose the point.");
    grid.append(third.box);
    const levels = spread(low * low, Math.max(high * high, 1.2 * values[0]), 240, true);
    charts.push(chart(third.plot, "Rate against distortion of the best linear model, and the point that sigma and beta choose", () => {
      const { level, count } = here(), best = quick(level, count), points = levels.map((each) => quick(each, count));
      const kept = points.filter((each, at) => at === 0 || each.distortion > points[at - 1].distortion * (1 + 1e-9));
      return {
        x: kept.map((each) => each.distortion), titles: ["distortion D, squared error per sample", "rate R, nats"], scales: [given.trace > 100 * kept[0].distortion ? "log" : "linear", "linear"],
        ranges: { x: [kept[0].distortion * 0.85, given.trace * 1.08], y: [-0.04 * kept[0].rate, 1.05 * kept[0].rate] },
        series: [{ name: "R", values: kept.map((each) => each.rate) }],
        marks: (u, context) => {
          if (given.model) dot(u, context, given.model[0], given.model[1], "c", "the model");
          dot(u, context, best.distortion, best.rate, "b", `sigma ${spell(here().sigma, 4)}`);
        },
      };
    }));
  }

  const reductions = [...new Set(given.conventions.map(([reduction]) => reduction))], divergences = [...new Set(given.conventions.map(([, divergence]) => divergence))];
  const cells = new Map();
  const rows = reductions.map((reduction) => element("tr", {}, element("th", { scope: "row" }, reduction), ...divergences.map((divergence) => {
    const value = element("data", { "data-name": `${reduction}/${divergence}` });
    cells.set(`${reduction}/${divergence}`, value);
    return element("td", { class: "n" }, value);
  })));
  const head = element("tr", {}, element("th", { scope: "col" }, given.loss), ...divergences.map((name) => element("th", { scope: "col", class: "n" }, name === "sum" ? "KL sum" : name)));
  const open = element("p", { class: "note" });
  const weights = element("figure", { class: "card" }, element("figcaption", {}, "The weight to write on the KL, in every convention"), element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "weights" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows))), open);
  place.append(weights);

  function spelled({ number: value, open: powers }) {
    const power = (size) => (Math.abs(powers[size]) === 1 ? size : `${size}^${Math.abs(powers[size])}`);
    const above = Object.keys(powers).filter((size) => powers[size] > 0).map(power), below = Object.keys(powers).filter((size) => powers[size] < 0).map(power);
    const under = below.length > 1 ? `/(${below.join(" ")})` : below.length ? `/${below[0]}` : "";
    return [spell(value, 5), ...above].join(" ") + under;
  }

  const quoted = (word) => (/^[\w@%+=:,.\/-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);
  function toTrain() {
    const { sigma, beta: weight, count } = here(), asked = report.arguments;
    const words = ["recon train"];
    if (isGaussian) words.push(`--sigma ${Number(sigma.toPrecision(6))}`);
    else words.push(`--likelihood ${scaled ? `laplace:scale=${Number(sigma.toPrecision(6))}` : given.family}`);
    if (weight !== 1) words.push(`--beta ${Number(weight.toPrecision(6))}`);
    words.push(`--latent ${count}`);
    if (asked.data ?? !hasData) words.push(`--data ${quoted(asked.data ?? "FILE")}`);
    for (const name of ["scale", "binarize"]) if (asked[name] != null) words.push(`--${name} ${quoted(String(asked[name]))}`);
    return words.join(" ");
  }

  function update() {
    const { sigma, beta: weight, count, level } = here();
    const t = (isGaussian ? 2 * sigma * sigma : scaled ? sigma : given.noise) * weight, sizes = { B: given.sizes.B, D: given.sizes.D, K: count };
    put(tiles.weight, t, 5);
    if (tiles.active) {
      const best = point(given, level, count);
      put(tiles.active, best.active);
      tiles.active.append(` of ${spell(count)}`);
      put(tiles.rate, best.rate, 5);
      put(tiles.distortion, best.distortion, 5);
      put(tiles.likelihood, elbo(given, sigma, weight, count), 6);
      tiles.likelihood.nextSibling.textContent = weight === 1 ? "log p(x), linear model" : "ELBO of that model";
      if (tiles.nll) {
        const own = gaussian(d, given.error, sigma), floor = gaussian(d, given.error, Math.sqrt(given.error / d));
        put(tiles.nll, own, 6);
        put(tiles.cost, own - floor, 4);
      }
      board.classList.toggle("collapsed", best.active === 0);
    }
    const left = new Set();
    for (const [reduction, divergence, factor, B, D, K] of given.conventions) {
      const value = weightAt(factor * t, { B, D, K }, sizes), cell = cells.get(`${reduction}/${divergence}`);
      cell.value = String(value.number);
      cell.textContent = spelled(value);
      Object.keys(value.open).forEach((size) => left.add(size));
    }
    const names = { B: "B is the batch size", D: "D the number of elements of a sample", K: "K the number of latents" };
    open.textContent = [`Between sums it is ${spell(t, 5)}.`, ...[...left].map((size) => `${names[size]}.`)].join(" ");
    command.textContent = toTrain();
    for (const each of charts) each.update();
  }
  update();
};
