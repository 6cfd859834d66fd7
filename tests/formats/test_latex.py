"""What ``--format latex`` writes compiles, with the packages that its first line names and no others."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from recon_cli import formats, likelihoods
from recon_cli.cli import main
from recon_cli.derivation.case import Case
from recon_cli.derivation.notation import formula, written
from recon_cli.derivation.practice import reductions, torch_call
from recon_cli.derivation.proof import prove
from recon_cli.derivation.words import words
from recon_cli.formats import SIGNS, latex
from recon_cli.formats._wide import fitted
from recon_cli.report import Column, Formula, Report, Table

SEEN = 5.0  # points by which a line is too long for anybody not to notice
TEX = shutil.which("pdflatex")
needs_tex = pytest.mark.skipif(TEX is None, reason="there is no pdflatex on this machine to set the pages with")

# What the packages of the first line, and LaTeX itself, have.
KNOWN = f"""
    usepackage begin end item paragraph par mbox noindent medskip raggedright toprule midrule bottomrule emph quad allowbreak
    emergencystretch left right frac tfrac sqrt sum prod int log exp cosh sinh tanh cos sin operatorname text mathrm mathbb
    mathcal displaystyle begingroup endgroup
    binom partial mid dots infty cdot times to approx neq ne leq le geq ge in pm surd Vert circ textsuperscript textsubscript
    textbackslash textbar textless textgreater textasciitilde textasciicircum varepsilon ell sim ss o O ae oe l c u r v H big
    {latex.SMALL} {latex.CAPITAL}
"""

LOSS = """
def loss_fn(x_hat, x, mu, log_var):
    kl = -0.5 * (1 + log_var - mu**2 - log_var.exp()).sum(1).mean()
    return ((x_hat - x)**2).mean() + 0.001 * kl
"""
COMMANDS = {
    "all": ["derive", "--list"],
    "shape": ["derive", "categorical", "von-mises-fisher:kappa=4", "student-t:df=3", "--shape", "4x5x3"],
    "compare": ["compare", "--likelihood", "laplace:scale=0.1", "--likelihood", "student-t:df=3"],
    "calibrate": ["calibrate"],
    "audit": ["audit", "loss.py:loss_fn"],
    "data": ["data", "digits"],
    "train": ["train", "--data", "digits", "--epochs", "1", "--likelihood", "laplace:scale=0.25", "--against", "l1"],
}


def fragment(*arguments: str) -> str:
    """What a command writes."""
    result = CliRunner().invoke(main, [*arguments, "--format", "latex"])
    assert result.exit_code in (0, 1), result.output
    return result.stdout


def strange(body: str) -> set[str]:
    """What is in a fragment that LaTeX may not know: letters beyond ASCII, unknown commands."""
    commands = set(re.findall(r"\\([A-Za-z]+)", body.replace(r"\\", " "))) - set(KNOWN.split())
    return {letter for letter in body if not letter.isascii()} | commands


def complaints(body: str, folder: Path, most: float = SEEN) -> list[str]:
    """What pdflatex has against the smallest document around a fragment."""
    packages = re.findall(r"^% (\\usepackage.*)$", body, re.MULTILINE)
    page = "\n".join([r"\documentclass{article}", *packages, r"\begin{document}", body, r"\end{document}", ""])
    (folder / "page.tex").write_text(page, encoding="ascii")
    options = ["-halt-on-error", "-interaction=nonstopmode", "page.tex"]
    ran = subprocess.run([str(TEX), *options], cwd=folder, capture_output=True, timeout=100, check=False)
    log = (folder / "page.log").read_text(errors="replace")
    found = re.findall(r"^!.*$|^Missing character.*$", log, re.MULTILINE)
    found += [f"{wide}pt too wide" for wide in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log) if float(wide) > most]
    return found + [f"exit {ran.returncode}"] * bool(ran.returncode)


def formulas_of(*names: str) -> list[Formula]:
    """The densities of likelihoods."""
    kinds = [words(likelihoods.find(name)) for name in names]
    return [written(kind.likelihood.density, kind.names) for kind in kinds]


def grown(random: Random, depth: int) -> str:
    """A formula that somebody's density might have, of so many floors."""
    if not depth:
        names = ("x", r"\mu", r"\mathrm{dispersion}", r"{\mathrm{row1}}_{2}", r"\sigma_{k}", "12", r"\frac{1}{2}")
        return random.choice(names)
    one, two, three = (grown(random, depth - random.choice((1, 1, 2)) if depth > 1 else 0) for _ in range(3))
    return random.choice(
        (
            f"{one} + {two} - {three}",
            rf"{one} \, {two}",
            rf"\frac{{{one}}}{{{two} + {three}}}",
            rf"\left({one} - {two}\right)^{{2}}",
            rf"\exp{{\!\left(- {one}\right)}} \, \left|{{{two}}}\right|",
            rf"\log{{\!\left(\frac{{{one}}}{{{two}}}\right)}}",
            rf"\sqrt{{{one} + {two}}}",
            rf"\sum_{{k=1}}^{{K}} {one}",
            rf"\begin{{cases}} {one} & \text{{for}}\: x < {two} \\{three} & \text{{otherwise}} \end{{cases}}",
            rf"\operatorname{{bessel}}{{\left({one},0,{two} \right)}}",
        )
    )


def together(several: Iterable[str]) -> str:
    """What a derivation of these formulas is, step by step."""
    steps = [{"likelihood": "a", "statement": Formula("", "", each), "because": "So.", "checked": True} for each in several]
    file = io.StringIO()
    formats.write(Report("derive", [Table("steps", [], steps, layout="steps")]), "latex", file)
    return file.getvalue()


@needs_tex
@pytest.mark.parametrize("count", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_whatever_the_formula_its_lines_fit_the_page(count: int, tmp_path: Path) -> None:
    random = Random(3)
    several = [f"p(x) = {grown(random, 1 + i % 5)}" for i in range(count)]
    wide = [*formulas_of("discretized-logistic-mixture", "tweedie"), Formula("", "", "x + ".join("abcdefgh" * 20)),
            Formula("", "", r" \, ".join([r"\mathrm{dispersion}"] * 12)), Formula("", "", "".join("abcdefgh" * 20))]  # fmt: skip
    body = together([*several, *(one.latex for one in wide)])
    assert strange(body) == set()
    assert complaints(body, tmp_path) == []


def test_what_is_named_is_written_below_and_all_else_as_it_was() -> None:
    (formula,) = formulas_of("discretized-logistic-mixture")
    first, *rest = fitted(formula.latex, 320.0)
    assert (
        first == r"\frac{\mathrm{weight}_{1} \, A_{1} + \mathrm{weight}_{2} \, A_{2}}{\mathrm{weight}_{1} + \mathrm{weight}_{2}}"
    )
    assert [each.partition(" = ")[0] for each in rest] == [f"A_{{{k}}}" for k in range(1, len(rest) + 1)]
    assert fitted(first, 320.0) == [first]
    together, names = first, rest
    for each in names:
        name, _, meaning = each.partition(" = ")
        together = together.replace(name, meaning)

    def plain(latex: str) -> str:
        return re.sub(r"\s|\\(left|right)[()]|\\displaystyle|\[1ex\]", "", latex)

    assert plain(together) == plain(formula.latex)


def page() -> str:
    """Formulas of several likelihoods, every sign, and tables too wide for a line, in one fragment."""
    names = ("huber", "student-t", "von-mises-fisher", "discretized-logistic", "binomial")
    signs = "".join(SIGNS) + "x̂ é ñ ß α ω Ω ₂ 中 \x07 “quoted” --sigma _#&%$~^\\{}<>|"
    steps = [{"likelihood": name, "statement": one, "because": f"{signs} E_q[log p(x|z)] at x = μ.", "checked": False}
             for name, one in zip(names, formulas_of(*names), strict=True)]  # fmt: skip
    columns = [Column(key, key) for key in ("likelihood", "statement", "because", "checked")]
    tables = [Table("t", [Column("name", "name", "*"), *(Column(f"c{i}", f"c {i}") for i in range(12))],
                   [{"name": "a_b", **{f"c{i}": 1e-20 * i for i in range(12)}}] * 5),
             Table("u", [Column("name", "name", "*"), Column("said", "said_")],
                   [{"name": "a", "said": "so it is " * 30}]),]  # fmt: skip
    file = io.StringIO()
    formats.write(Report("derive", [Table("steps", columns, steps, layout="steps"), *tables], [signs], signs), "latex", file)
    return file.getvalue()


def test_every_sign_is_spelled_in_commands_that_the_packages_have() -> None:
    assert strange(page()) == set()
    assert not re.search(r"\[U\+", latex.words("".join(SIGNS)))


@needs_tex
def test_a_page_of_everything_compiles(tmp_path: Path) -> None:
    assert complaints(page(), tmp_path, most=80) == []  # of signs that are no sentence


@needs_tex
def test_what_does_not_compile_is_noticed(tmp_path: Path) -> None:
    assert complaints(r"\nothing", tmp_path) != []
    assert complaints(r"\noindent\mbox{" + "wide " * 99 + "}", tmp_path) != []


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("-((x - mu)/sigma)**2/2", r"- \frac{1}{2} \left(\frac{x - \mu}{\sigma}\right)^{2}"),
        ("1/(1 + sigma)", r"\frac{1}{\sigma + 1}"),
        ("exp(-mu)", r"e^{- \mu}"),
        ("exp(-x**2/(2*sigma**2))", r"\exp{\!\left(- \frac{x^{2}}{2 \sigma^{2}}\right)}"),
        ("log(2*pi)/2", r"\frac{\log(2 \pi)}{2}"),
    ],
)
def test_a_formula_is_set_as_people_write_it(text: str, meant: str) -> None:
    names = words(likelihoods.find("gaussian")).names
    assert written(text, names).latex == meant


def test_words_among_names_stand_apart_and_small_numbers_are_powers_of_ten() -> None:
    names = words(likelihoods.find("student-t")).names
    assert formula(names["df"] * names["scale"]).latex == r"\mathrm{df} \, \mathrm{scale}"
    assert formula(1.5e-7).latex == r"1.5 \times 10^{-7}"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("b does not depend on μ.", r"$b$ does not depend on $\mu$."),
        ("What is left of −log p − a·loss, taken at x.", r"What is left of $-\log p - a\,\ell$, taken at $x$."),
        ("as s → 0, it is f(m).", r"as $s \to  0$, it is $f(m)$."),
        ("E_q[log p(x|z)] over B samples of D = 784", r"$\mathbb{E}_q[\log p(x\mid z)]$ over $B$ samples of $D = 784$"),
        ("in 3 s, x.npy, -m, a 28x28 F.mse_loss", r"in 3 s, x.npy, -m, a 28x28 F.mse\_loss"),
        ("--sigma 0.5", r"-{}-sigma 0.5"),
    ],
)
def test_symbols_in_a_sentence_are_set_as_such(said: str, meant: str) -> None:
    assert latex.prose(said) == meant


@needs_tex
@pytest.mark.slow
@pytest.mark.parametrize("name", likelihoods.names())
def test_every_derivation_compiles(name: str, tmp_path: Path) -> None:
    body = fragment("derive", name)
    assert strange(body) == set()
    assert complaints(body, tmp_path) == []


@needs_tex
@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_compiles(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loss.py").write_text(LOSS)
    monkeypatch.chdir(tmp_path)
    body = fragment(*COMMANDS[command])
    assert strange(body) == set()
    assert complaints(body, tmp_path) == []


def test_markdown_has_no_command_that_is_punctuation_and_calls_a_choice_a_choice() -> None:
    shown = formulas_of("huber", "student-t")
    steps = [{"likelihood": "a", "step": 1, "statement": one, "because": "So.", "checked": None, "by": "choice"} for one in shown]
    file = io.StringIO()
    formats.write(Report("derive", [Table("steps", [Column("step", "step")], steps, layout="steps")]), "markdown", file)
    assert not re.search(r"\\[^A-Za-z]", file.getvalue())
    assert r"\begin{cases}" in file.getvalue()
    assert file.getvalue().count("(chosen)") == 2


def test_the_loss_on_the_left_of_the_sum_is_less_what_is_dropped() -> None:
    """No constant at the end of a chain of equals: what the loss leaves out is taken off the sum."""
    for name, left in (
        ("gaussian", "- sum offset b(x) ="),
        ("continuous-bernoulli", "- sum gap c(mu) ="),
        ("bernoulli", "log p ="),
    ):
        case = Case(likelihoods.find(name), prove(likelihoods.find(name)), {}, None, [], list)
        assert left in reductions(case).statement.text
        assert not reductions(case).statement.text.endswith("constant")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("huber", "what F.huber_loss does, given delta = δ·scale, not its default of 1"),
        ("student-t", "log1p(((x - mu)/width)**2), with its width = √df·scale, then .mean()"),
        ("asymmetric-laplace", "q the quantile and e = x - mu"),
        ("gaussian", "what F.mse_loss does by default"),
    ],
)
def test_the_call_says_what_its_letters_are(name: str, said: str) -> None:
    assert said in torch_call(words(likelihoods.find(name)).likelihood.loss)
