"use strict";
/* The arithmetic of recon_cli/numerics/spectrum.py, calibration/weights.py and the Gaussian, once more: a test holds the two together. */

const LOG_2PI = Math.log(2 * Math.PI);
const EPSILON = Number.EPSILON;

/* The sum of numbers, its roundings kept and added at the end (Neumaier). */
function sum(values) {
  let total = 0, lost = 0;
  for (const value of values) {
    const next = total + value;
    lost += Math.abs(total) >= Math.abs(value) ? total - next + value : value - next + total;
    total = next;
  }
  return total + lost;
}

/* How many of the first `most` eigenvalues are above the level by more than rounding. */
function above(data, level, most) {
  const values = data.eigenvalues, least = level + (values.length ? data.dimensions * EPSILON * values[0] : 0);
  const end = Math.min(most ?? values.length, values.length);
  let count = 0;
  while (count < end && values[count] > least) count += 1;
  return count;
}

/* The sum of all eigenvalues but the `count` largest, the unknown ones by the trace. */
function tail(data, count) {
  const rest = data.eigenvalues.length === data.dimensions ? 0 : Math.max(0, data.trace - sum(data.eigenvalues));
  return sum(data.eigenvalues.slice(count)) + rest;
}

/* The optimum of a linear model at a water level, in nats per sample; nulls where the eigenvalues that are known do not say. */
function point(data, level, most) {
  const active = above(data, level, most), known = data.eigenvalues.length;
  if (known < data.dimensions && active === known && (most == null || most > active)) {
    return { active: null, rate: null, distortion: null, logLikelihood: null };
  }
  const logs = sum(data.eigenvalues.slice(0, active).map(Math.log)), rest = tail(data, active), d = data.dimensions;
  const nll = d * LOG_2PI + logs + (d - active) * Math.log(level) + active + rest / level;
  return { active, rate: (logs - active * Math.log(level)) / 2, distortion: active * level + rest, logLikelihood: -nll / 2 };
}

/* The ELBO of a linear model trained with beta, whose water level is beta sigma^2; log p(x) where beta is 1. */
function elbo(data, sigma, beta, most) {
  const best = point(data, beta * sigma * sigma, most);
  if (best.active === null) return null;
  return beta === 1 ? best.logLikelihood : -best.rate - gaussian(data.dimensions, best.distortion, sigma);
}

/* -log p of a sample under a Gaussian, from its squared error. */
function gaussian(dimensions, error, sigma) {
  return (dimensions * (LOG_2PI + 2 * Math.log(sigma)) + error / (sigma * sigma)) / 2;
}

/* A weight number * B^b D^d K^k with the sizes put in that are known: its number, and the powers left open. */
function weightAt(number, powers, sizes) {
  const open = {};
  for (const size of ["B", "D", "K"]) {
    if (sizes[size]) number *= sizes[size] ** powers[size];
    else if (powers[size]) open[size] = powers[size];
  }
  return { number, open };
}

/* The logarithm of the gamma function (Lanczos, g = 7, nine terms). */
function logGamma(x) {
  if (x < 0.5) return Math.log(Math.PI / Math.abs(Math.sin(Math.PI * x))) - logGamma(1 - x);
  const terms = [676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905,
    -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7];
  const t = x + 6.5, series = terms.reduce((total, term, at) => total + term / (x + at), 0.99999999999980993);
  return LOG_2PI / 2 + (x - 0.5) * Math.log(t) - t + Math.log(series);
}

const FUNCTIONS = {
  "+": (...parts) => parts.reduce((total, part) => total + part, 0),
  "*": (...parts) => parts.reduce((total, part) => total * part, 1),
  "^": (base, power) => (power === 0.5 ? Math.sqrt(base) : power === -1 ? 1 / base : base === 0 && power === 0 ? 1 : base ** power),
  log: Math.log, exp: Math.exp, Abs: Math.abs, sign: Math.sign, sin: Math.sin, cos: Math.cos, tan: Math.tan, sinh: Math.sinh,
  cosh: Math.cosh, tanh: Math.tanh, loggamma: logGamma, gamma: (x) => Math.exp(logGamma(x)),
  factorial: (x) => Math.round(Math.exp(logGamma(x + 1))),
  binomial: (n, k) => Math.exp(logGamma(n + 1) - logGamma(k + 1) - logGamma(n - k + 1)),
  Heaviside: (x) => (x > 0 ? 1 : x < 0 ? 0 : 0.5),
};
const RELATIONS = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b };

/* The value of a formula, a tree of [function, part, ...], names and numbers, where the names have these values. */
function evaluate(tree, values) {
  if (typeof tree === "number") return tree;
  if (typeof tree === "string") return values[tree];
  const [name, ...parts] = tree;
  if (name === "cases") {
    const found = parts.find(([, condition]) => condition === true || RELATIONS[condition[0]](...condition.slice(1).map((part) => evaluate(part, values))));
    return found ? evaluate(found[0], values) : NaN;
  }
  if (name === "*") { // 0 log 0 = 0, as x log mu has it
    const factors = parts.map((part) => evaluate(part, values));
    return factors.includes(0) ? 0 : FUNCTIONS["*"](...factors);
  }
  return FUNCTIONS[name](...parts.map((part) => evaluate(part, values)));
}
