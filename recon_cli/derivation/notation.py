"""The three spellings of a formula: for programs, for a terminal and for a paper."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import sympy
from sympy import Basic, Expr
from sympy.printing.latex import LatexPrinter
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from recon_cli.derivation.algebra import as_expr, names_of, substitute
from recon_cli.formats.latex import words
from recon_cli.identity.regions import Region
from recon_cli.report import Formula

Part: TypeAlias = "Basic | Formula | str | float"  # of a formula; a text is a name, or a sign

NUMBERED = r"\b(mu|sigma|scale|weight|r)(\d+)\b"
BELOW = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

# name: (on a terminal, in a paper). Whatever is not here is spelled alike everywhere.
NAMES = {
    "mu": ("μ", r"\mu"),
    "sigma": ("σ", r"\sigma"),
    "delta": ("δ", r"\delta"),
    "kappa": ("κ", r"\kappa"),
    "eta": ("η", r"\eta"),
    "theta": ("θ", r"\theta"),
    "beta": ("β", r"\beta"),
    "eps": ("ε", r"\varepsilon"),
    "log p(x)": ("log p(x)", r"\log p(x)"),
    "E_q[log p(x|z)]": ("E_q[log p(x|z)]", r"\mathbb{E}_{q(z\mid x)}[\log p(x\mid z)]"),
    "E_q[f(z)]": ("E_q[f(z)]", r"\mathbb{E}_{q(z\mid x)}[f(z)]"),
    "E_eps[f(m + s*eps)]": ("E_ε[f(m + s·ε)]", r"\mathbb{E}_{\varepsilon\sim\mathcal{N}(0,1)}[f(m+s\varepsilon)]"),
    "sum_l f(m + s*eps_l)/L": ("Σ_l f(m + s·ε_l)/L", r"\tfrac{1}{L}\sum_l f(m+s\varepsilon_l)"),
    "KL(q||p(z))": ("KL(q‖p(z))", r"\mathrm{KL}(q(z\mid x)\,\|\,p(z))"),
    "KL(q||p(z|x))": ("KL(q‖p(z|x))", r"\mathrm{KL}(q(z\mid x)\,\|\,p(z\mid x))"),
    "KL": ("KL", r"\mathrm{KL}"),
    "p(x|z)": ("p(x|z)", r"p(x\mid z)"),
    "p(x|mu)": ("p(x|μ)", r"p(x\mid\mu)"),
    "log p(x|mu)": ("log p(x|μ)", r"\log p(x\mid\mu)"),
    "-log p(x|mu)": ("−log p(x|μ)", r"-\log p(x\mid\mu)"),
    "sum_d -log p(x_d|mu_d)": ("Σ_d −log p(x_d|μ_d)", r"\sum_{d=1}^{D} -\log p(x_d\mid\mu_d)"),
    "-log p(x_1...x_D|mu)": ("−log p(x_1…x_D|μ)", r"-\log p(x_1,\dots,x_D\mid\mu)"),
    "integral p dx": ("∫ p dx", r"\int p\,dx"),
    "sum p": ("Σ p", r"\sum_x p"),
    "log integral p dx": ("log ∫ p dx", r"\log\int p\,dx"),
    "decoder(z)": ("decoder(z)", r"\mathrm{decoder}(z)"),
    **{f"decoder_{k}(z)": (f"decoder_{k}(z)", rf"\mathrm{{decoder}}_{k}(z)") for k in range(1, 31)},
    "d nll/d theta": ("∂nll/∂θ", r"\partial_\theta\,\mathrm{nll}"),
    "d loss/d theta": ("∂loss/∂θ", r"\partial_\theta\,\ell"),
    "(d nll/d mu)/(d loss/d mu)": ("(∂nll/∂μ)/(∂loss/∂μ)", r"\frac{\partial_\mu\,\mathrm{nll}}{\partial_\mu\,\ell}"),
    "(d2 nll/dx dmu)/(d2 loss/dx dmu)": (
        "(∂²nll/∂x∂μ)/(∂²loss/∂x∂μ)",
        r"\frac{\partial_x\partial_\mu\,\mathrm{nll}}{\partial_x\partial_\mu\,\ell}",
    ),
    "d log p/d mu": ("∂log p/∂μ", r"\partial_\mu\log p"),
    "d loss/d mu": ("∂loss/∂μ", r"\partial_\mu\,\ell"),
    "d MEAN(loss)/d mu": ("∂MEAN(loss)/∂μ", r"\partial_\mu\,\mathrm{mean}(\ell)"),
    "(d nll/d mu)/(d (loss/2)/d mu)": ("(∂nll/∂μ)/(∂(loss/2)/∂μ)", r"\frac{\partial_\mu\,\mathrm{nll}}{\partial_\mu\,(\ell/2)}"),
    "loss": ("loss", r"\ell"),
    "var": ("var", r"\mathrm{var}"),
    "r": ("r", "r"),
    "code": ("code", r"\mathrm{code}"),
    "formulas": ("formulas", r"\mathrm{formulas}"),
    "mu(-oo)": ("μ(−∞)", r"\mu(-\infty)"),
    "mu(oo)": ("μ(∞)", r"\mu(\infty)"),
    "var(-oo)": ("var(−∞)", r"\mathrm{var}(-\infty)"),
    "var(oo)": ("var(∞)", r"\mathrm{var}(\infty)"),
    "sum_k mu[k]": ("Σ_k μ_k", r"\sum_k \mu_k"),
    "sum_k mu[k]**2": ("Σ_k μ_k²", r"\sum_k \mu_k^2"),
    "sum offset b(x)": ("Σ b(x)", r"\sum b(x)"),
    "sum gap c(mu)": ("Σ c(μ)", r"\sum c(\mu)"),
    "SUM(loss)": ("SUM(loss)", r"\mathrm{sum}(\ell)"),
    "MEAN(loss)": ("MEAN(loss)", r"\mathrm{mean}(\ell)"),
    "BATCHMEAN(loss)": ("BATCHMEAN(loss)", r"\mathrm{batchmean}(\ell)"),
    "sum_{batch} -log p": ("Σ_batch −log p", r"\sum_{\mathrm{batch}} -\log p"),
    "mu[k]": ("μ_k", r"\mu_k"),
    "d2/d(var) d(mu)": ("∂²/∂var ∂μ", r"\partial_{\mathrm{var}}\partial_\mu"),
    "d2/d(mu) d(var)": ("∂²/∂μ ∂var", r"\partial_\mu\partial_{\mathrm{var}}"),
    "ELBO": ("ELBO", r"\mathrm{ELBO}"),
    "constant": ("constant", r"\mathrm{const}"),
    "offset b(x)": ("b(x)", r"b(x)"),
    "gap c(mu)": ("c(μ)", r"c(\mu)"),
    "slope a": ("a", r"a"),
    "step(g, eps)": ("step(g, ε)", r"\mathrm{step}(g,\varepsilon)"),
    "step(a*g, a*eps)": ("step(a·g, a·ε)", r"\mathrm{step}(a g, a\varepsilon)"),
    " = ": (" = ", " = "),
    " + ": (" + ", " + "),
    " - ": (" − ", " - "),
    "*": ("·", r"\,"),
    "*(": ("·(", r"\,("),
    "(": ("(", "("),
    ")": (")", ")"),
    ", ": (", ", r",\allowbreak\quad "),
    " ~ ": (" ≈ ", r" \approx "),
    " != ": (" ≠ ", r" \neq "),
    " -> ": (" → ", r" \to "),
    "pi": ("π", r"\pi"),
    "oo": ("∞", r"\infty"),
}
FLAT = re.compile(r"\\left\(((?:(?!\\left|\\frac|\\begin|\\sum|\\prod|\^|\\right).)*?) ?\\right\)")
FUNCTION = r"(\\(?:log|exp|cosh|sinh|tanh|sin|cos|Gamma|operatorname\{[a-z]+\}))"
POWERS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


class Readable:
    """What both printers share: terms in the order people write them, and ``x - mu`` rather than ``mu - x``."""

    def _as_ordered_terms(self, expression: Expr, order: str | None = None) -> list[Expr]:
        terms = sympy.Add.make_args(expression) if order == "none" else map(as_expr, expression.as_ordered_terms())
        return sorted(terms, key=lambda term: term.could_extract_minus_sign())

    @staticmethod
    def data_first(base: Expr) -> Expr:
        """Return ``base`` or its negative, the one in which the data have a positive sign."""
        return -base if base.is_Add and as_expr(base.coeff(sympy.Symbol("x", real=True))).is_negative else base

    def even_power(self, expression: sympy.Pow) -> sympy.Pow:
        """Return a power, the data first in its base where its exponent is even."""
        base, exponent = map(as_expr, expression.args)
        if not (exponent.is_integer and exponent.is_even):
            return expression
        power: Any = sympy.Pow(self.data_first(base), exponent, evaluate=False)
        return power


class Plain(Readable, StrPrinter):  # type: ignore[misc]  # sympy has no types
    """For programs: sympy's own spelling, which it can read back."""

    def _print_Pow(self, expression: sympy.Pow, rational: bool = False) -> str:
        text: str = super()._print_Pow(self.even_power(expression), rational)
        return text

    def _print_Abs(self, expression: sympy.Abs) -> str:
        return f"Abs({self._print(self.data_first(as_expr(expression.args[0])))})"


class Paper(Readable, LatexPrinter):  # type: ignore[misc]  # sympy has no types
    """For a paper: minus signs in front, no power with a fraction on a fraction in it."""

    def _print_Pow(self, expression: sympy.Pow) -> str:
        text: str = super()._print_Pow(self.even_power(expression))
        return text

    def _print_Abs(self, expression: sympy.Abs, exp: str | None = None) -> str:
        text: str = super()._print_Abs(sympy.Abs(self.data_first(as_expr(expression.args[0])), evaluate=False), exp)
        return text

    def _print_Mul(self, expression: Expr) -> str:
        factors = [*factors_of(expression)] if expression.is_Mul else []  # a power of -1 comes here too
        rest = [factor for factor in factors if factor not in (1, -1)]
        sign = "- " * (factors.count(sympy.Integer(-1)) % 2)
        if len(rest) == 1:
            return f"{sign}{self.parenthesize(rest[0], PRECEDENCE['Mul'])}"
        divisors = [factor for factor in rest if factor.is_number and sympy.numer(factor) == 1 and factor.is_rational]
        others = [factor for factor in rest if factor not in divisors]
        has_one_divisor = len(divisors) == 1 and not any(factor.is_Add or sympy.denom(factor) != 1 for factor in others)
        if has_one_divisor and r"\frac" in (product := self._print(sympy.Mul(*others, evaluate=False))):
            return f"{sign}{self._print(divisors[0])} {product}"
        product = sympy.Mul(*rest, evaluate=False) if rest and len(rest) < len(factors) else expression
        return f"{sign}{super()._print_Mul(product)}"

    def _hprint_Function(self, name: str) -> str:
        """Return a function's name: a word with an underscore is that, not one with an index."""
        if "_" in name and not name.startswith("\\"):
            return rf"\operatorname{{{words(name)}}}"
        text: str = super()._hprint_Function(name)
        return text

    def _print_exp(self, expression: sympy.exp, exp: str | None = None) -> str:
        power = as_expr(expression.args[0])
        if exp is not None or (power.count_ops() < 3 and not power.has(sympy.Piecewise)):
            text: str = super()._print_ExpBase(expression, exp)
            return text
        return rf"\exp{{\left({self._print(power)}\right)}}"


def factors_of(product: Expr) -> Iterator[Expr]:
    """Yield the factors of a product, and for a factor that is a product its own."""
    for factor in map(as_expr, product.args):
        if factor.is_Mul:
            yield from factors_of(factor)
        else:
            yield factor


def formula(*parts: Part) -> Formula:
    """Return expressions and names, side by side, as one formula."""
    text, unicode, latex = zip(*(spellings(part) for part in parts), strict=True)
    return Formula("".join(text), "".join(unicode), "".join(latex))


def spellings(part: Part) -> tuple[str, str, str]:
    """Return the spellings of one expression or name: for programs, for a terminal and for a paper."""
    if isinstance(part, Formula):
        return part.text, part.unicode, part.latex
    if isinstance(part, str):
        return (part, *(NAMES.get(part) or named(part)))
    if isinstance(part, (int, float)):
        text = f"{part:.6g}"
        digits, _, power = text.partition("e")
        return text, text.replace("-", "−"), rf"{digits} \times 10^{{{int(power)}}}" if power else text
    symbols = {symbol: in_paper(name) for symbol, name in names_of(part).items()}
    is_divisor = isinstance(part, sympy.Pow) and as_expr(part.exp).could_extract_minus_sign() and not part.base.is_number
    text = f"1/{Plain().doprint(1 / as_expr(part))}" if is_divisor else Plain().doprint(part)
    printer = Paper(
        {"symbol_names": symbols, "ln_notation": False, "mul_symbol": r" \, " if has_words(symbols.values()) else None}
    )
    return text, terminal(text), open_line(printer.doprint(part))


def named(text: str) -> tuple[str, str]:
    """Return a name on a terminal and in a paper, which may have an index and go to a limit; any other text is that in both."""
    match = re.fullmatch(r"([a-zA-Z]\w*?)(?:_(\d+)|\[(\w+)\])?(?:\((-?)oo\))?", text)
    if not match:
        return text, rf"\text{{{words(text)}}}"
    name, number, index, minus = match.groups()
    on_terminal, on_paper = terminal(name), in_paper(name)
    if below := number or index:
        on_terminal, on_paper = f"{on_terminal}_{below}", f"{{{on_paper}}}_{{{below}}}"
    if minus is not None:
        on_terminal, on_paper = f"{on_terminal}({'−' * bool(minus)}∞)", rf"{on_paper}({minus}\infty)"
    return on_terminal, on_paper


def has_words(names: Iterable[str]) -> bool:
    """Return whether some names in LaTeX are words, which would run into their neighbours."""
    return any("mathrm" in name for name in names)


def open_line(latex: str) -> str:
    """Replace sized parentheses by plain ones where nothing high is in them, so that a line may break there."""
    before = ""
    while before != latex:
        before, latex = latex, FLAT.sub(r"(\1)", latex)
    latex = re.sub(rf"{FUNCTION}\{{(\([^(){{}}]*\))\}}", r"\1\2", latex)
    latex = re.sub(rf"{FUNCTION}\{{(\\left)?\(", r"\1{\\!\2(", latex)
    return latex.replace(r"\Gamma\left(", r"\Gamma\!\left(")


def in_paper(name: str) -> str:
    """Return a name in LaTeX: letters as they are, words upright."""
    if name in NAMES:
        return NAMES[name][1]
    if numbered := re.fullmatch(NUMBERED, name):
        return rf"{in_paper(numbered[1])}_{{{numbered[2]}}}"
    return name if len(name) == 1 else rf"\mathrm{{{name}}}".replace("_", r"\_")


def spoken(names: Iterable[str], word: str = "and") -> str:
    """Join names for a sentence, as formulas on a terminal spell them; return "" for none."""
    *most, last = [NAMES.get(name, (terminal(name) if re.fullmatch(NUMBERED, name) else name,))[0] for name in names] or [""]
    return f"{', '.join(most)} {word} {last}" if most else last


def range_of(region: Region) -> str:
    """Return the values of a region, for a sentence."""
    return str(region).replace("inf", "∞").replace(" - ", " − ").replace("...", "…")


def with_value(expression: Expr, values: Mapping[str, float]) -> list[Part]:
    """Return an expression as a part of a formula, and " = " its number if the noise parameters determine it."""
    number = in_numbers(expression, values)
    return [expression] if number is None else [expression, " = ", number]


def in_numbers(expression: Expr, values: Mapping[str, float]) -> float | None:
    """Return an expression's number, its symbols replaced by ``values``; None if it has other symbols, or none at all."""
    names = names_of(expression)
    if not values or not names or expression.has(sympy.Indexed) or not {*names.values()} <= {*values}:
        return None
    return float(substitute(expression, {symbol: values[name] for symbol, name in names.items()}))


def times(factor: Expr, values: Mapping[str, float], name: str) -> list[Part]:
    """Return the parts of ``factor * name``: numbers for the symbols that have ``values``, a sum in parentheses."""
    if factor == 1:
        return [name]
    factor = as_expr(sympy.factor(factor))
    names = names_of(factor)
    others = sorted((symbol for symbol, name in names.items() if name not in values), key=lambda symbol: names[symbol])
    number = in_numbers(substitute(factor, dict.fromkeys(others, 1)), values)
    if number is None:
        return ["(", factor, ")", "*", name] if factor.is_Add else [factor, "*", name]
    return [number, *(extra for part in others for extra in ("*", part)), "*", name]


def written(text: str, names: Mapping[str, Expr]) -> Formula:
    """Return a formula as its author wrote it, nothing rearranged."""
    parsed = sympy.parse_expr(text, local_dict=dict(names), evaluate=False)
    return Formula(text, terminal(text), spellings(parsed)[2])


def terminal(text: str) -> str:
    """Respell a formula of sympy's as people read it on a terminal: ``(x - mu)**2/2`` as ``(x − μ)²/2``."""
    text = re.sub(r"\b[a-zA-Z]+\b", lambda word: NAMES.get(word[0], (word[0],))[0], text)
    text = re.sub(NUMBERED, lambda word: NAMES.get(word[1], (word[1],))[0] + word[2].translate(BELOW), text)
    text = re.sub(r"\*\*(?:(\d+)\b(?![.(])|\((-\d+)\))", lambda power: (power[1] or power[2]).translate(POWERS), text)
    text = re.sub(r"\bAbs\(([^()]*)\)", r"|\1|", text)
    text = re.sub(r"(\w)\[(\w)\]", r"\1_\2", text)
    for name, sign in (("Sum", "Σ"), ("Product", "Π")):
        while match := re.search(rf"\b{name}\(", text):
            end = text.index(", (", match.end())
            index, _, rest = text[end + 3 :].partition("))")
            text = f"{text[: match.start()]}{sign}_{index.split(',')[0]} {text[match.end() : end]}{rest}"
    text = re.sub(r"\bsqrt\((\w+)\)", r"√\1", text).replace("sqrt(", "√(")
    text = re.sub(r"\bfactorial\((\w+)\)", r"\1!", text)
    text = re.sub(r"\bfactorial(\([^()]*\))", r"\1!", text)
    text = re.sub(r"\bbesseli\(([^,()]*), ", lambda order: f"I_{order[1] if order[1].isalnum() else f'({order[1]})'}(", text)
    text = in_cases(re.sub(r"\bgamma\(", "Γ(", text)).replace("<=", "≤").replace(">=", "≥")
    return text.replace("**", "^").replace("*", "·").replace("-", "−")


def in_cases(text: str) -> str:
    """Respell ``Piecewise((a, x < 1), (b, True))`` as ``{a if x < 1; b otherwise}``."""
    text = re.sub(r"\bEq\((\w+), (\w+)\)", r"\1 = \2", text)
    head, name, rest = text.partition("Piecewise(")
    if not name:
        return text
    level, start, parts = 0, 0, []
    for at, letter in enumerate(rest):
        level += (letter in "([") - (letter in ")]")
        if level < 0 or (level == 0 and letter == ","):
            parts.append(rest[start:at].strip())
            start = at + 1
        if level < 0:
            break
    pairs = [part[1:-1].rpartition(", ") for part in parts]
    cases = "; ".join(f"{in_cases(value)} {'otherwise' if where == 'True' else f'if {where}'}" for value, _, where in pairs)
    return f"{head}{{{cases}}}{in_cases(rest[start:])}"
