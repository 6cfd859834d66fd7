"""What a training run has come to, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from recon_cli.errors import ReconError
from recon_cli.identity.regions import listed
from recon_cli.report import Detail
from recon_cli.training.evaluation.predictions import coverage

if TYPE_CHECKING:
    from recon_cli.training.result import Training

MANY = 20  # epochs after which a run that gets better has had its time
PLAIN = 1.0  # nats a sample by which a model that ignores z may miss the mean alone, which it is all but
PARALLEL = 1e-5  # gradients whose cosine is nearer to 1 than this point one way, in float32
BITS = Detail(
    "bits/dim are the negative ELBO of 8-bit levels over their number: of a probability as it is; of a density less log2 of a "
    "level's width (+ 7.99435 for x/255, + 8 for x/256), its value at the level taken for the whole bin: that bounds the bits of "
    "the levels only where the data were dequantised."
)


def notes(training: Training) -> Iterator[str]:
    """Yield what it means, a sentence or two each."""
    result = training.result
    back = f"{result.rows_held_out:,} held out" if result.rows_held_out else "none held out: the result is on the same"
    checked = f"{result.rows_validation:,} for validation, " if result.rows_validation else ""
    yield f"{training.described}; {result.rows_trained:,} rows trained, {checked}{back}."
    yield from training.remarks
    yield from training_rows(training)
    if result.ratio is not None and result.cosine is not None:
        yield Detail(gradients(training, result.ratio, result.cosine))
    if result.sigma is not None:
        yield noise(training, result.sigma)
    if below := training.likelihood.below_zero(result.nll, training.model.elements):
        yield below
    if training.answers:
        yield error(training)
    if training.line:
        yield (
            f"The best that linear regression can do on the training rows (least squares) is an nll of {training.line.best:.6f}, "
            f"at sigma = {training.line.sigma:.4g}; this one is {training.line.gap:.3g} nats a sample above it."
        )
    if training.settings.loss:
        yield objective(training)
    which = "held-out" if result.rows_held_out else "training"
    if any(row.below is not None for row in training.answers):
        yield from coverage(training.answers, training.likelihood, which)
    elif training.calibration:
        yield training.calibration.words(training.likelihood, which)
    if result.bits_per_dimension is not None:
        yield BITS
    if training.network:
        yield (
            f"--sigma network: for each element of each sample the decoder gives {listed(training.likelihood.head)}, which "
            f"is the likelihood {training.likelihood.name}."
        )
    if training.still:
        yield training.still
    yield from of_latents(training)
    if training.collapsed:
        yield why(training)
    if training.worse and not (training.collapsed and training.alone and training.alone.cost < training.alone.nll + PLAIN):
        yield remedy(training)
    if training.folder:
        yield f"Written to {training.folder}. recon show {training.folder} shows it again."


def training_rows(training: Training) -> Iterator[str]:
    """Yield which epoch was chosen, what the model is, and whether the likelihood is one of these data."""
    if training.chosen:
        how = "Stopped" if training.chosen + training.settings.patience == len(training.epochs) else "Ended"
        yield (
            f"{how} after epoch {len(training.epochs)}, the best was {training.chosen}: there the validation rows are at "
            f"{short(training.result.validation or 0.0)} nats a sample, and the weights are those."
        )
    if training.model.description:
        yield training.model.description
    if training.grey:
        but = "negative ELBO is a bound on nothing" if training.model.has_kl else "nll is that of no density"
        yield (
            f"{training.likelihood.no_density(training.grey)}. "
            f"Binary cross-entropy on grey levels trains, but its {but}. Either use "
            f"--likelihood {training.likelihood.relaxation}, which is normalised there, or make the data 0 or 1: "
            f"--binarize threshold, or --binarize sample."
        )


def of_latents(training: Training) -> Iterator[str]:
    """Yield what there is to say of the KL, of the bounds on log p(x), and of the optimum."""
    if training.model.deterministic:
        yield (
            "With nothing on the KL the noise of q(z | x) would shrink to nothing, so this is a deterministic autoencoder: z "
            "is the encoder's mean, and nll alone is trained. It has no KL and no ELBO; active are the latents whose "
            "variance over the rows is above 0.01 of the largest one's."
        )
        if training.pca:
            yield (
                f"The best that a linear autoencoder can do on the training rows (PCA) is a squared error of "
                f"{training.pca[0]:.6g} a sample; this one's is {training.pca[1]:.6g}."
            )
    elif training.settings.beta != 1:
        yield weight(training)
    if training.bounds:
        yield (
            "Each bound on log p(x) is a Monte Carlo estimate of a lower bound, from draws of z; its standard error is that of "
            "the mean over the rows, and the draws' is part of it."
        )
    if training.bounds and training.width is None:
        yield (
            "Bits per dimension of a density are in the units of training; in those of levels k/255 they are log2 255 = 7.994 "
            "more, and they bound the bits of the levels only where the data were dequantised (uniform noise of a level's width "
            "added). A discretized likelihood's are of the levels themselves."
        )
    if training.optimum:
        yield (
            f"The best that a linear model can do on the training rows (PPCA) is an ELBO of "
            f"{training.optimum.predicted.elbo:.6f}; this one is {training.optimum.gap:.3g} nats a sample below it."
        )


def gradients(training: Training, ratio: float, cosine: float) -> str:
    """Return measured against predicted, in a sentence."""
    loss, name = training.loss.name, training.likelihood.name
    predicted = "nothing is predicted" if training.result.predicted is None else f"predicted {training.result.predicted:.6g}"
    sentence = (
        f"At the decoder's parameters the {name} likelihood's gradient is {ratio:.6g} times that of the summed {loss}; "
        f"{predicted}."
    )
    if training.whose == "per-element":
        return f"{sentence} Every element has a slope of its own, which no one weight on the loss is (cosine {cosine:.4f})."
    if 1 - cosine < PARALLEL:
        return sentence
    if training.likelihood.slope_of(training.loss) is None:
        return f"{sentence} They do not point one way (cosine {cosine:.4f})."
    return f"{sentence} They do not point one way (cosine {cosine:.4f}): the loss leaves out a gap that depends on μ."


def noise(training: Training, sigma: float) -> str:
    """Return the noise, where it comes from, and the one that the data would choose."""
    name = training.likelihood.level_name
    origin = {
        "fixed": "given",
        "learned": "learned with the network",
        "optimal": "the best of each batch in training, and here of the training rows",
        "per-element": "in root mean square, one for each element, learned with the network",
    }[training.whose]
    if training.settings.exact and training.whose != "fixed":
        origin = "the best in every round, errors expected over z"
    others = ", ".join(f"{key} = {float(value):.4g}" for key, value in training.likelihood.parameters.items() if key != name)
    if training.whose == "per-element":
        low, high = (float(value) for value in training.likelihood.parameters[name].aminmax())  # type: ignore[union-attr,index]
        origin += f": from {low:.4g} to {high:.4g}"
        sentence = f"{name} = {sigma:.4g}, {origin}{'; one for all of them is ' * bool(others)}{others}"
    else:
        sentence = f"{name} = {sigma:.4g}{', ' * bool(others)}{others}, {origin}"
    rule = training.likelihood.best_noise
    if not rule:
        return f"{sentence}."
    if training.whose == "per-element":
        return f"{sentence}; the best of each is {rule} of its element."
    if training.best is None or training.whose == "optimal":
        return f"{sentence}: {rule}."
    return f"{sentence}; {rule}, on the training rows, is {training.best:.4g}."


def error(training: Training) -> str:
    """Return how far off the predictions are."""
    result = training.result
    which = "held-out" if result.rows_held_out else "training"
    sentence = f"RMSE of the {which} rows = {result.rmse:.4g}, in the units of y"
    if training.likelihood.name != "gaussian" or training.whose == "per-element":
        return f"{sentence}."
    best = "at the best one, the RMSE, nll = log sigma + 1.4189 for each number predicted"
    return f"{sentence}; sigma is one for all of them, and {best}."


def objective(training: Training) -> str:
    """Return what was trained on in place of the nll."""
    loss, name = training.loss, training.likelihood.name
    kl = f" + {training.settings.beta:g} KL" * training.model.has_kl
    sentence = f"Trained on {training.settings.loss}{kl}; nll is measured."
    if training.likelihood.slope_of(loss) is not None:
        return f"{sentence} It is {name}'s own, but for the slope and what does not depend on μ."
    if loss.reason:
        return f"{sentence} It is no likelihood: {loss.reason}."
    return f"{sentence} It is another likelihood's, not {name}'s."


def weight(training: Training) -> str:
    """Return what the beta amounts to."""
    beta, likelihood = training.settings.beta, training.likelihood
    sentence = f"Trained on nll + {beta:g} KL; −ELBO above is nll + KL."
    if training.whose != "fixed":
        return sentence
    try:
        same = likelihood.with_slope(float(likelihood.slope) / beta, likelihood.loss)
    except ReconError:  # there is no noise in the slope
        return sentence
    return f"{sentence} The trade-off is that of {same} at beta = 1."


def why(training: Training) -> str:
    """Return why every latent is off, as far as that can be told."""
    sentence, beta = "Posterior collapse: every latent is off.", training.settings.beta
    if training.model.deterministic:
        return "The encoder gives every row the same code: train with another --lr or --seed."
    if training.eigenvalue is None or training.result.sigma is None:
        noise = ", or a smaller noise," if training.likelihood.noise else ""
        return f"{sentence} The KL costs more than the latents save: a smaller --beta{noise} makes them pay."
    most, variance = training.eigenvalue, training.result.sigma * training.result.sigma
    if not most:
        return f"{sentence} The training samples are all alike: there is nothing for a latent to tell."
    words = f"{'beta ' if beta != 1 else ''}sigma^2 = {beta * variance:.3g}"
    sentence += f" The largest eigenvalue of the training data's covariance is {short(most)}"
    if most > beta * variance:
        return f"{sentence}, above {words}, so latents would pay: train longer, or with another --lr or --seed."
    way = f"--sigma learned, or a smaller sigma (well below {math.sqrt(most / beta):.2g})"
    if training.whose != "fixed":
        way = f"a smaller --beta (well below {most / variance:.2g})"
    return (
        f"{sentence}, below {words}: with a linear decoder (PPCA; Lucas and others 2019) even along that direction a latent "
        f"would cost more KL than it saves in nll. Use {way}."
    )


def remedy(training: Training) -> str:
    """Return that the mean alone does better, and what to do about it."""
    beside, ends = training.alone, [one.nll + training.settings.beta * (one.kl or 0.0) for one in training.epochs]
    assert beside is not None
    sentence = (
        f"The mean of the training rows alone, one constant for every row, is at {short(beside.nll)} nats per "
        f"{sample(training)}, and this model at {short(beside.cost)}: nothing of use was learned."
    )
    if training.result.rows_held_out and ends[-1] < beside.nll:
        return (
            f"{sentence} It is at {short(ends[-1])} on the rows that it was trained on, so it has learned those by heart: give "
            f"more samples, or fewer --latent, or stop earlier, as in --validation 0.1 --patience 10."
        )
    if len(ends) < MANY and ends[-1] <= min(ends):
        return f"{sentence} It was getting better: give more --epochs."
    return f"{sentence} Lower --lr, which is {training.settings.lr:g}, let it fall (--schedule cosine), or take fewer --latent."


def sample(training: Training) -> str:
    """Return which rows the result is of."""
    return "held-out sample" if training.result.rows_held_out else "training sample"


def verdict(training: Training) -> str:
    """Return the verdict in one line."""
    result, latents = training.result, training.model.latents
    if training.collapsed:
        noise = "" if result.sigma is None else f" at {training.likelihood.level_name} = {result.sigma:.4g}"
        if result.kl is None:
            return f"defective: 0 of {latents} latents vary{noise}, so the model ignores x"
        return f"defective by posterior collapse: 0 of {latents} latents active{noise}, so the model ignores z"
    if training.grey:
        sentence = training.likelihood.no_density(training.grey)
        return f"refuted: {sentence}; trained on it all the same{reached(training, 'BCE + KL (on grey levels no ELBO)')}"
    if training.alone and training.worse:
        beta = training.settings.beta
        what = "negative ELBO" if beta == 1 else f"nll + {beta:g} KL" if beta else "nll"
        what = what if training.model.has_kl else "nll"
        return (
            f"defective: {what} {short(training.alone.cost)} nats per {sample(training)}, worse than the mean alone, "
            f"which has {short(training.alone.nll)}"
        )
    return f"trained{reached(training, 'negative ELBO')}"


def reached(training: Training, what: str) -> str:
    """Return how far it came."""
    result, latents = training.result, training.model.latents
    if result.negative_elbo is None:
        if latents:
            return f": nll {short(result.nll)} nats per {sample(training)}, {result.active} of {latents} latents vary"
        near = "" if result.rmse is None else f", RMSE {result.rmse:.4g}"
        near += "" if result.r2 is None else f", R² {result.r2:.4f}"
        return f": nll {short(result.nll)} nats per {sample(training)}{near}"
    return f": {what} {short(result.negative_elbo)} nats per {sample(training)}, {result.active} of {latents} latents active"


def short(value: float) -> str:
    """Return a number for a sentence: two decimals where they say something."""
    return f"{value:.2f}" if 0.1 <= abs(value) < 1e5 else f"{value:.3g}"
