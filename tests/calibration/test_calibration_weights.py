"""Weights on the KL: every convention has the gradients of the likelihood that it stands for; and published numbers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from recon_cli import calibrate, likelihoods
from recon_cli.calibration import Choices, Convention, calibrate_sources, judge, weights
from recon_cli.calibration.reported import PublishedNll, reported
from recon_cli.calibration.weights import CONVENTIONS, DIVERGENCES, RECONSTRUCTIONS, Monomial, converted_weight, implied
from recon_cli.errors import ReconError

B, D, K = 5, 7, 3
SIZES = {"B": B, "D": D, "K": K}
GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(B, D, generator=GENERATOR, dtype=torch.float64)
SIDES = ["gaussian:sigma=0.37", "laplace:scale=0.23", "huber:scale=0.4,delta=0.5", "asymmetric-laplace:scale=0.3,quantile=0.2"]

# How each is written in a script, from torch alone: elementwise losses in, one number out.
WRITTEN = {
    "sum": lambda loss: loss.sum(),
    "mean": lambda loss: loss.mean(),
    "batch-mean": lambda loss: loss.sum() / len(loss),
    "mean-elements": lambda loss: loss.mean(dim=1).sum(),
}
WRITTEN |= {f"half-{name}": lambda loss, how=how: 0.5 * how(loss) for name, how in WRITTEN.items()}
WRITTEN_KL = {
    "sum": lambda kl: kl.sum(),
    "batch-mean": lambda kl: kl.sum(dim=1).mean(),
    "mean-latents": lambda kl: kl.mean(dim=1).sum(),
    "mean": lambda kl: kl.mean(),
}


class Toy(torch.nn.Module):
    """A VAE of three matrices, the same for the same seed; the noise of its one draw is fixed."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.parts = torch.nn.ParameterList(
            torch.randn(*size, generator=generator, dtype=torch.float64) / 2 for size in ((D, K), (D, K), (K, D))
        )
        self.eps = torch.randn(B, K, generator=generator, dtype=torch.float64)

    def gradients(self, objective) -> torch.Tensor:
        """Of ``objective`` of reconstruction and elementwise KL, at every parameter, end to end."""
        mean, log_variance = X @ self.parts[0], X @ self.parts[1]
        kl = (mean**2 + log_variance.exp() - log_variance - 1) / 2
        mu = (mean + (log_variance / 2).exp() * self.eps) @ self.parts[2]
        return torch.cat([part.flatten() for part in torch.autograd.grad(objective(mu, kl), [*self.parts])])


def test_the_words_of_the_tests_are_those_of_the_tables() -> None:
    assert {*WRITTEN} == {*RECONSTRUCTIONS}
    assert {*WRITTEN_KL} == {*DIVERGENCES}
    assert len(CONVENTIONS) == len(WRITTEN) * len(WRITTEN_KL) == 32


@pytest.mark.parametrize("word", SIDES)
def test_each_literal_has_the_gradients_of_the_negative_elbo(word: str) -> None:
    side, toy = likelihoods.parse(word), Toy()
    truth = toy.gradients(lambda mu, kl: side.nll(X, mu).sum() + kl.sum())
    found = weights(side, SIZES)
    assert len(found) == (32 if side.loss.convention != 1 else 16)
    for row in found:
        loss = {
            "gaussian": lambda mu: functional.mse_loss(mu, X, reduction="none"),
            "laplace": lambda mu: functional.l1_loss(mu, X, reduction="none"),
        }.get(side.name, lambda mu: side.loss(X, mu))
        how, how_kl = WRITTEN[row.reduction], WRITTEN_KL[row.kl_reduction]
        mine = toy.gradients(lambda mu, kl: how(loss(mu)) + row.kl_weight * how_kl(kl))  # noqa: B023
        cosine = (mine @ truth) / (mine.norm() * truth.norm())
        assert 1 - cosine < 1e-13, row.convention
        back, beta = implied(side.loss, Convention(row.reduction, row.kl_reduction), row.kl_weight, SIZES)
        assert beta is None
        assert float(back.slope) == pytest.approx(float(side.slope), rel=1e-12)


def test_a_loss_without_a_scale_has_a_beta() -> None:
    side, beta = implied(likelihoods.loss("bce"), Convention("mean", "mean"), 0.3, SIZES)
    assert side.name == "bernoulli"
    assert beta == pytest.approx(0.3 * D / K)
    toy, mu = Toy(), lambda raw: raw.sigmoid()
    truth = toy.gradients(lambda raw, kl: functional.binary_cross_entropy(mu(raw), X.round(), reduction="sum") + beta * kl.sum())
    for row in weights(side, SIZES, beta):
        how, how_kl = WRITTEN[row.reduction], WRITTEN_KL[row.kl_reduction]
        mine = toy.gradients(
            lambda raw, kl: (
                how(functional.binary_cross_entropy(mu(raw), X.round(), reduction="none")) + row.kl_weight * how_kl(kl)  # noqa: B023
            )
        )
        assert 1 - (mine @ truth) / (mine.norm() * truth.norm()) < 1e-13, row.convention


@pytest.mark.parametrize(
    ("reduction", "divergence", "variance"),
    [
        ("sum", "sum", 1 / 2),
        ("half-sum", "sum", 1),
        ("mean", "batch-mean", D / 2),
        ("mean", "mean", D / (2 * K)),
        ("mean", "sum", B * D / 2),
    ],
)
def test_the_known_reductions_at_weight_one(reduction: str, divergence: str, variance: float) -> None:
    side, _ = implied(likelihoods.loss("mse"), Convention.parse(reduction, divergence), 1.0, SIZES)
    assert side.sigma**2 == pytest.approx(variance, rel=1e-14)


@pytest.mark.parametrize(
    ("loss", "reduction", "divergence", "weight", "sizes", "value"),
    [  # public losses, and what each was found to assume: sigma^2, or Laplace's scale
        ("mse", "mean", "batch-mean", 0.00025, {"D": 3 * 64 * 64}, 1.536),
        ("mse", "mean", "batch-mean", 1.0, {"D": 3 * 64 * 64}, 6144),
        ("mse", "mean", "mean", 0.1, {"D": 3 * 128 * 128, "K": 512}, 4.8),
        ("mse", "sum", "sum", 1.0, {}, 0.5),
        ("mse", "half-batch-mean", "batch-mean", 4.0, {}, 4.0),
        ("l1", "mean", "batch-mean", 10.0, {"D": 100 * 14}, 14000),
        ("mse", "mean-elements", "sum", 1 / 1000, {"D": 784}, 0.392),
    ],
)
def test_public_losses(loss: str, reduction: str, divergence: str, weight: float, sizes: dict, value: float) -> None:
    side, _ = implied(likelihoods.loss(loss), Convention.parse(reduction, divergence), weight, sizes)
    assert (side.sigma**2 if loss == "mse" else side.scale) == pytest.approx(value, rel=1e-12)


def test_keeping_a_trade_off() -> None:
    before, after = Convention.parse("mean", "batch-mean"), Convention.parse("sum", "sum")
    formula, number = converted_weight(before, after, 0.00025, {"D": 12288})
    assert (formula, number) == ("0.00025 D", pytest.approx(3.072))
    assert converted_weight(after, before, 3.072, {"D": None})[1] is None
    for one in CONVENTIONS:
        for other in CONVENTIONS:
            _, there = converted_weight(one, other, 0.3, SIZES)
            assert converted_weight(other, one, there, SIZES)[1] == pytest.approx(0.3, rel=1e-13)


def test_formulas_compute_what_they_say() -> None:
    names = {"sigma": 0.37, "B": B, "D": D, "K": K}
    for row in weights(likelihoods.parse("gaussian:sigma=0.37"), SIZES):
        above, _, below = row.formula.replace("^", "**").partition("/")
        product = [eval(word, {}, names) for word in above.split()]
        under = [eval(word, {}, names) for word in below.strip("()").split()]
        assert math.prod(product) / math.prod(under) == pytest.approx(row.kl_weight, rel=1e-13)


def test_a_size_that_is_not_known_stays_in_the_formula() -> None:
    rows = {row.convention: row for row in weights(likelihoods.parse("gaussian:sigma=1"), {"D": 4})}
    assert rows["mse sum + KL batch-mean"].kl_weight is None
    assert rows["mse sum + KL batch-mean"].literal == "2 B"
    assert rows["mse mean + KL mean"].literal == "0.5 K"
    assert rows["mse mean + KL mean"].formula == "2 sigma^2 K/D"
    assert Monomial(0.5, -1, 2, -1).spell("sigma^2") == "0.5 sigma^2 D^2/(B K)"


@pytest.mark.parametrize(
    ("settings", "said", "hint"),
    [
        ({"reduction": "avg"}, "no reduction of the loss named 'avg'", "half-sum"),
        ({"kl_reduction": "average"}, "no reduction of the KL named 'average'", "mean-latents"),
        ({"kl_reduction": None}, "missing: --kl-reduction", "batch-mean"),
        ({"kl_weight": 0.0}, "must be a positive number; found 0.0", ""),
        ({"kl_weight": 1e306}, "is beyond the range of numbers: between sums it is inf", "units"),
        ({"kl_weight": 1e306, "loss": "bce"}, "is beyond the range of numbers: between sums it is inf", "units"),
        ({"kl_weight": 5e-324, "reduction": "sum", "batch_size": 9}, "between sums it is 0", "units"),
        ({"shape": None}, "depends on D", "--shape"),
        ({"kl_reduction": "sum"}, "depends on B", "--batch-size"),
        ({"kl_reduction": "mean"}, "depends on K", "--latent"),
        ({"loss": "smooth-l1"}, "no likelihood's own loss", "mse"),
        ({"sigma": 0.5}, "given twice", "Leave one"),
        ({"keep": "half"}, "no reduction of the loss named 'half'", "half-sum"),
        ({"latent": 20000}, "more latents than dimensions: 20,000 of 12,288", "1 to 12,288"),
        ({"batch_size": 0}, "--batch-size must be a whole number from 1 up", "128"),
    ],
)
def test_bad_weights_are_sentences(settings: dict, said: str, hint: str) -> None:
    good = {"loss": "mse", "reduction": "mean", "kl_weight": 0.00025, "kl_reduction": "batch-mean", "shape": (3, 64, 64)}
    with pytest.raises(ReconError) as caught:
        calibrate(**{**good, **settings})
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_the_way_back_on_data_predicts_the_latents() -> None:
    code = {"loss": "mse", "reduction": "sum", "kl_reduction": "sum"}
    found = calibrate_sources("digits", choices=Choices(kl_weight=0.2, latent=20, **code))
    assert found.sigma**2 == pytest.approx(0.1)
    assert found.predicted.active == 12
    assert found.report().holds
    mean = calibrate_sources(
        "digits", choices=Choices(kl_weight=1.0, **{**code, "reduction": "mean", "kl_reduction": "batch-mean"})
    )
    assert mean.sigma**2 == pytest.approx(32)
    assert mean.collapses
    assert not mean.report().holds
    assert "total posterior collapse" in mean.report().verdict


# Published numbers.


def readings(**settings: float) -> dict[tuple[str, str, str], object]:
    """Of one claim, by variance, constant and units."""
    return {(each.variance, each.constant, each.units): each for each in reported(PublishedNll(**settings)).readings}


def test_the_floor_is_reached_by_a_perfect_reconstruction() -> None:
    x = torch.rand(64, dtype=torch.float64)
    side = likelihoods.parse("gaussian:sigma=0.1")
    floor = side.nll(x, x).sum().item()
    assert readings(nll=floor, dim=64, sigma=0.1)["given", "kept", "x"].left == pytest.approx(0, abs=1e-12)
    mu = x + 0.03
    row = readings(nll=side.nll(x, mu).sum().item() + 5.0, dim=64, sigma=0.1)["given", "kept", "x"]
    assert row.left == pytest.approx(64 * 0.03**2 / (2 * 0.01) + 5)
    assert row.squared_error == pytest.approx(64 * 0.03**2 + 2 * 0.01 * 5)
    bytes_side = likelihoods.parse("gaussian:sigma=25.5")
    in_bytes = bytes_side.nll(255 * x, 255 * mu).sum().item() + 5.0
    assert readings(nll=in_bytes, dim=64, sigma=0.1)["given", "kept", "255 x"].left == pytest.approx(row.left)
    no_constant = torch.nn.functional.gaussian_nll_loss(mu, x, torch.full_like(x, 0.01), reduction="sum").item() + 5.0
    assert readings(nll=no_constant, dim=64, sigma=0.1)["given", "no log 2 pi", "x"].left == pytest.approx(row.left)
    dropped = ((x - mu) ** 2).sum().item() / 0.02 + 5.0
    assert readings(nll=dropped, dim=64, sigma=0.1)["given", "dropped", "x"].left == pytest.approx(row.left)


def test_a_beta_is_read_in_both_ways() -> None:
    rows = readings(nll=0.0, dim=10, beta=0.02)
    assert rows["beta", "kept", "x"].floor == pytest.approx(5 * math.log(2 * math.pi * 0.02))
    assert rows["beta/2", "kept", "x"].floor == pytest.approx(5 * math.log(2 * math.pi * 0.01))
    assert len(rows) == 14


def test_rounding_decides_at_the_edge() -> None:
    floor = 392 * math.log(2 * math.pi)
    edge = {"dim": 784, "sigma": 1.0}
    assert readings(nll=floor - 0.4, rounding=0.5, **edge)["given", "kept", "x"].feasible
    assert not readings(nll=floor - 0.6, rounding=0.5, **edge)["given", "kept", "x"].feasible
    assert not readings(nll=floor - 0.4, **edge)["given", "kept", "x"].feasible
    assert readings(nll=floor - 0.4, rounding=0.5, **edge)["given", "kept", "x"].squared_error is None


def test_a_noise_near_the_range_of_numbers_has_a_finite_floor() -> None:
    assert readings(nll=0.0, dim=2, sigma=1e154)["given", "kept", "x"].floor == pytest.approx(
        math.log(2 * math.pi) + 308 * math.log(10)
    )


def test_a_csv_of_claims(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    path.write_text("name,nll,D,sigma,beta\nA,-1200,784,,0.01\nB,-9000,784,0.1,\nC,720.5,,1,\n")
    found = judge(str(path), dim=784, rounding=0.5)
    assert [*dict.fromkeys(each.name for each in found.readings)] == ["A", "B", "C"]
    assert found.impossible == ["B"]
    assert not found.report().holds
    assert sum(each.name == "A" for each in found.readings) == 14


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x,y\n1,2\n", "has no column nll"),
        ("nll,dim,betta\n1,2,3\n", "column 'betta'"),
        ("nll,dim\n", "no row below"),
        ("nll,dim\nlow,2\n", "The reported number in line 2 of .* must be a finite number; found 'low'"),
        ("nll,dim\n1,2\n1,2.5\n", "--dim must be a whole number from 1 up; found 2.5 in line 3 of "),
        ("nll,dim,sigma\n1,2,0\n", "--sigma must be a positive number; found 0 in line 2 of "),
        ("nll,dim\n-1,200.5,784\n", "Line 2 of .* has more cells than the first line names"),
        ("nll,nll,dim\n1,2,3\n", "has 2 columns for nll"),
        ("D,nll,dim\n1,2,3\n", "has 2 columns for dim"),
        ("nll,sigma\n1,1\n", "How many elements a sample has is not known in line 2"),
        ("nll,dim,sigma,beta\n1,2,1,1\n", "given twice"),
        ("nll,dim\n,2\n", "There is no nll in line 2"),
    ],
)
def test_bad_claims_are_sentences(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    path.write_text(text)
    with pytest.raises(ReconError, match=said):
        judge(str(path))


@pytest.mark.parametrize(
    ("word", "settings", "said"),
    [
        ("lots", {"dim": 784}, "must be a finite number; found 'lots'"),
        ("nan", {"dim": 784}, "must be a finite number"),
        ("1", {}, "not known"),
        ("1", {"dim": 0}, "--dim must be a whole number"),
        ("1", {"dim": 2, "sigma": 0.0}, "--sigma must be a positive number; found 0"),
        ("1", {"dim": 2, "beta": -1.0}, "--beta must be a positive number"),
        ("1", {"dim": 2, "rounding": -1.0}, "--rounding must be a number from 0 up"),
        ("1", {"dim": 2, "sigma": 1e-200}, "--sigma 1e-200 is beyond the range of numbers: the variance, given, is 0"),
        ("1", {"dim": 2, "sigma": 1e200}, "--sigma 1e.200 is beyond the range of numbers: the variance, given, is inf"),
        ("1", {"dim": 2, "beta": 5e-324}, "is beyond the range of numbers: the variance, beta/2, is 0"),
        ("1", {"dim": 2, "latent": 3}, "--latent means nothing beside"),
        ("no.csv", {}, "There is no file 'no.csv'"),
    ],
)
def test_bad_numbers_are_sentences(word: str, settings: dict, said: str) -> None:
    with pytest.raises(ReconError, match=said):
        judge(word, **settings)
