"""The pages in a real browser: sliders moved, numbers read back and set beside Python's, no message, no request."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import CHROMIUM, Browser

from recon_cli import formats, likelihoods
from recon_cli.calibration import calibrate
from recon_cli.calibration.noise import FittedNoise
from recon_cli.calibration.weights import CONVENTIONS, weights
from recon_cli.comparison import compare_sources
from recon_cli.derivation.proof import prove
from recon_cli.derivation.trees import movable
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.likelihoods.laplace import Laplace
from recon_cli.numerics.spectrum import Eigenvalues, point
from recon_cli.report import Report

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="there is no chromium here: apt-get install -y chromium"),
]
CLOSE = 1e-12
TO_READ = (
    """Object.fromEntries([...document.querySelectorAll("data[data-name]")].map((each) => [each.dataset.name, each.value]))"""
)
READ_SLIDERS = """Object.fromEntries([...document.querySelectorAll("input[type=range]")].map((each) =>
    [each.dataset.name, Number(each.parentNode.querySelector("output data").value)]))"""
LABELS = """[...document.querySelectorAll("input[type=range]")].map((each) =>
    [each.labels.length, each.labels[0]?.textContent, each.getAttribute("aria-valuetext"),
    document.querySelector(`output[for="${each.id}"]`) !== null])"""
BOX = "(({left, top, width, height}) => [left, top, width, height])(document.querySelector('.u-over').getBoundingClientRect())"
DRAWN = "new Promise((done) => setTimeout(() => done(document.querySelector('canvas').toDataURL()), 100))"
FIRST = ("gaussian", "laplace", "bernoulli")
OTHERS = ("poisson", "student-t", "continuous-bernoulli")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("browser"))
    yield started
    started.close()


def show(browser: Browser, report: Report, folder: Path, width: int = 1200) -> None:
    """Open the page of a report, and forget what was noted before."""
    file = io.StringIO()
    formats.write(report, "html", file)
    path = folder / "page.html"
    path.write_text(file.getvalue(), encoding="ascii")
    browser.look(width)
    browser.messages.clear()
    browser.requests.clear()
    browser.open(path)


def quiet(browser: Browser, folder: Path) -> None:
    """Nothing was said on the console, and nothing asked for but the page."""
    assert browser.messages == []
    own = (folder / "page.html").as_uri()
    assert {each for each in browser.requests if not each.startswith("data:")} <= {own}


def move(browser: Browser, name: str, share: float) -> None:
    """Put a slider at a share of its way, as a mouse would."""
    browser.run(
        f"""(() => {{ const each = document.querySelector('input[data-name="{name}"]');
        each.value = Math.round(each.max * {share}); each.dispatchEvent(new Event("input", {{ bubbles: true }})); }})()"""
    )


def near(read: str, wanted: float | None, size: float = 0.0) -> bool:
    """Whether a number of the page is Python's: to 1e-12 of itself, or of the ``size`` of the terms that cancel in it."""
    if wanted is None:
        return read == ""
    return math.isclose(float(read), wanted, rel_tol=CLOSE, abs_tol=CLOSE * size)


def check_trade_off(browser: Browser, spectrum: Eigenvalues, error: float | None, sizes: dict[str, int | None]) -> None:
    """Set every number that the page computes beside Python's."""
    at, read = browser.run(READ_SLIDERS), browser.run(TO_READ)
    sigma, beta, latent = at["noise"], at["beta"], int(at["latent"])
    d, level = spectrum.dimensions, beta * sigma**2
    best = point(spectrum, level, latent)
    assert near(read["active"], best.active)
    assert near(read["rate"], best.rate)
    assert near(read["distortion"], best.distortion)
    if best.rate is None or best.distortion is None:
        assert read["likelihood"] == ""
    else:
        normal = d * math.log(2 * math.pi * sigma**2) / 2
        elbo = -best.rate - best.distortion / (2 * sigma**2) - normal
        assert near(read["likelihood"], best.log_likelihood if beta == 1 else elbo, abs(normal) + best.rate)
    if error is not None:
        nll = d * math.log(2 * math.pi * sigma**2) / 2 + error / (2 * sigma**2)
        assert near(read["nll"], nll, abs(nll) + d)
    ways = {f"{each.reduction}/{each.divergence}": each.ratio.number for each in CONVENTIONS}
    literal = {row.convention: row for row in weights(Gaussian(sigma=math.sqrt(beta) * sigma), {**sizes, "K": latent})}
    for each in CONVENTIONS:
        row, name = literal[f"mse {each}"], f"{each.reduction}/{each.divergence}"
        shown = browser.run(f"""document.querySelector('[data-name="{name}"]').textContent""")
        assert ("B" in shown) == ("B" in row.literal)
        if row.kl_weight is not None:
            assert near(read[name], row.kl_weight), (name, ways[name])
    assert near(read["weight"], 2 * sigma**2 * beta)


def test_calibrate_moves_with_its_sliders(browser: Browser, tmp_path: Path) -> None:
    x = torch.randn(100, 64, generator=torch.Generator().manual_seed(1)) * torch.logspace(0, -2, 64)
    fitted = Gaussian.fit(x, 0.9 * x + 0.01)
    row = FittedNoise("gaussian", "density", 1, 0.0, 0.0, 0.0, None, fitted.parameters)
    result = replace(calibrate(x), noise=(row,), likelihood=fitted)
    spectrum = result.eigenvalues
    assert spectrum is not None
    show(browser, result.report(), tmp_path)
    error, sizes = spectrum.dimensions * fitted.sigma**2, {"B": None, "D": 64}
    assert browser.run(READ_SLIDERS)["noise"] == fitted.sigma
    check_trade_off(browser, spectrum, error, sizes)
    before = browser.run("document.querySelector('canvas').toDataURL()")
    for noise, beta, latent in ((0.2, 0.5, 1.0), (0.9, 0.5, 0.1), (0.55, 0.8, 0.4), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)):
        for name, share in (("noise", noise), ("beta", beta), ("latent", latent)):
            move(browser, name, share)
        check_trade_off(browser, spectrum, error, sizes)
    assert browser.run("document.querySelector('canvas').toDataURL()") != before  # the spectrum was drawn anew
    command = browser.run("document.querySelector('code.command').textContent")
    at = browser.run(READ_SLIDERS)
    assert command.startswith("recon train --sigma ")
    assert float(command.split()[3]) == pytest.approx(at["noise"], rel=1e-5)
    assert command.split()[command.split().index("--latent") + 1] == str(int(at["latent"]))
    browser.run("document.querySelector('input[data-name=latent]').focus()")
    for key, times, wanted in (("Home", 1, 1), ("ArrowRight", 3, 4), ("ArrowLeft", 1, 3)):
        browser.press(key, times)
        assert browser.run(READ_SLIDERS)["latent"] == wanted
        check_trade_off(browser, spectrum, error, sizes)
    for labels, text, value, output in browser.run(LABELS):
        assert (labels, output) == (1, True)
        assert text
        assert value
    for width, dark in ((360, True), (1200, False)):
        browser.look(width, dark)
        assert browser.run("document.documentElement.scrollWidth") <= width
    quiet(browser, tmp_path)


def test_a_part_of_a_spectrum_and_weights_without_data(browser: Browser, tmp_path: Path) -> None:
    rows = torch.randn(200, 60, generator=torch.Generator().manual_seed(0)) * torch.linspace(3, 0.1, 60)
    result = calibrate(rows, latent=5, batch_size=32, sigma=0.7)
    spectrum = result.eigenvalues
    assert spectrum is not None
    show(browser, result.report(), tmp_path)
    check_trade_off(browser, spectrum, None, {"B": 32, "D": 60})
    move(browser, "noise", 0.7)
    check_trade_off(browser, spectrum, None, {"B": 32, "D": 60})
    quiet(browser, tmp_path)
    words = {"reduction": "mean", "kl_weight": 0.001, "kl_reduction": "mean", "shape": (28, 28), "latent": 12}
    show(browser, calibrate(loss="l1", **words).report(), tmp_path)  # type: ignore[arg-type]
    at, read = browser.run(READ_SLIDERS), browser.run(TO_READ)
    for row in weights(Laplace(scale=at["noise"]), {"B": None, "D": 784, "K": 12}):
        assert row.kl_weight is None or near(read[f"{row.reduction}/{row.kl_reduction}"], row.kl_weight)
    quiet(browser, tmp_path)


def check_density(browser: Browser, at: int, name: str) -> None:
    """Set the identity of a likelihood, and both gradients, beside what its code gives in float64."""
    scope = f"document.querySelectorAll('.exhibit')[{at}]"
    moved = browser.run(READ_SLIDERS.replace("document", scope))
    read: dict[str, Any] = browser.run(TO_READ.replace("document", scope))
    kind = likelihoods.find(name)
    likelihood = kind(**{key: value for key, value in moved.items() if key not in ("x", "mu")})
    x = torch.tensor(float(moved["x"]), dtype=torch.float64)
    mu = torch.tensor(float(moved["mu"]), dtype=torch.float64, requires_grad=True)
    nll, loss = likelihood.nll(x, mu), likelihood.loss(x, mu)
    slope, offset, gap = (float(part) for part in (likelihood.slope, likelihood.offset(x), likelihood.gap(mu.detach())))
    size = abs(nll.item()) + abs(slope * loss.item()) + abs(offset) + abs(gap) + 1
    for key, value in (("nll", nll.item()), ("loss", loss.item()), ("slope", slope), ("offset", offset), ("gap", gap)):
        if key in read:
            assert near(read[key], value, size), (name, key, moved)
    parts = {key: torch.autograd.grad(side, mu)[0].item() for key, side in (("nll", nll), ("loss", loss))}
    for key, value in parts.items() if x != mu else ():  # at a kink each takes its own side
        assert near(read[f"{key}_gradient"], value, abs(value) + 1), (name, key, moved)


@pytest.mark.parametrize("names", [FIRST, OTHERS], ids=["usual", "others"])
def test_derive_moves_data_mean_and_noise(browser: Browser, tmp_path: Path, names: tuple[str, ...]) -> None:
    densities = [density for name in names if (density := movable(likelihoods.find(name), prove(likelihoods.find(name)), {}, []))]
    assert [each.likelihood for each in densities] == [*names]
    show(browser, Report("derive", [], exhibits=densities), tmp_path)
    for at, name in enumerate(names):
        check_density(browser, at, name)
        scope = f".exhibit:nth-of-type({at + 1}) "
        for share in (0.1, 0.45, 0.95):
            browser.run(
                f"""for (const each of document.querySelectorAll('{scope}input')) {{
                each.value = Math.round(each.max * {share}); each.dispatchEvent(new Event("input")); }}"""
            )
            check_density(browser, at, name)
    box = browser.run(BOX)
    browser.drag((box[0] + 0.2 * box[2], box[1] + 0.5 * box[3]), (box[0] + 0.75 * box[2], box[1] + 0.5 * box[3]))
    dragged = browser.run(READ_SLIDERS.replace("document", "document.querySelector('.exhibit')"))
    low, high = densities[0].x.low - 0.6 * densities[0].discrete, densities[0].x.high + 0.6 * densities[0].discrete
    assert dragged["mu"] == pytest.approx(low + 0.75 * (high - low), abs=0.05)
    check_density(browser, 0, names[0])
    quiet(browser, tmp_path)


def test_charts_are_drawn_in_light_dark_and_print_and_tables_need_no_script(browser: Browser, tmp_path: Path) -> None:
    report = compare_sources(noise_models=[Gaussian(sigma=0.5)], device="cpu").report()
    show(browser, report, tmp_path, 390)
    assert browser.run("document.querySelectorAll('.plot canvas').length") == len(report.charts) == 2
    light = browser.run("document.querySelector('canvas').toDataURL()")
    browser.look(390, dark=True)
    assert browser.run(DRAWN) != light
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("[...document.querySelectorAll('details')].every((each) => each.open)")
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert not browser.run("document.querySelector('details.rest').open")
    rows = browser.run("document.querySelectorAll('.answer tr, .rest tr').length")
    quiet(browser, tmp_path)
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    show(browser, report, tmp_path)
    tree = browser.ask("DOM.getDocument", depth=-1)["root"]
    browser.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert str(tree).count("'nodeName': 'TR'") == rows
    assert str(tree).count("'nodeName': 'CANVAS'") == 0
