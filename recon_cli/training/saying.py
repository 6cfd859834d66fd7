"""What a training run found, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from recon_cli.errors import ReconError
from recon_cli.identity.fitting import level

if TYPE_CHECKING:
    from recon_cli.training.result import Training

MANY = 20  # epochs after which a run that gets better has had its time
PLAIN = 1.0  # nats a sample by which a model that ignores z may miss the mean alone, which it is all but
PARALLEL = 1e-5  # gradients whose cosine is nearer to 1 than this point one way, in float32
BITS = (
    "bits/dim are the negative ELBO of 8-bit levels over their number: of a probability as it is; of a density less log2 of a "
    "level's width (+ 7.99435 for x/255, + 8 for x/256), its value at the level taken for the whole bin: that bounds the bits of "
    "the levels only where the data were dequantised."
)


def notes(found: Training) -> Iterator[str]:
    """What it means, a sentence or two each."""
    result = found.result
    back = f"{result.rows_held_out:,} held out" if result.rows_held_out else "none held out: the result is on the same"
    checked = f"{result.rows_validation:,} for validation, " if result.rows_validation else ""
    yield f"{found.described}; {result.rows_trained:,} rows trained, {checked}{back}."
    yield from found.remarks
    if found.chosen:
        how = "Stopped" if found.chosen + found.settings.patience == len(found.epochs) else "Ended"
        yield (
            f"{how} after epoch {len(found.epochs)}, the best was {found.chosen}: there the validation rows are at "
            f"{short(result.validation or 0.0)} nats a sample, and the weights are those."
        )
    if found.settings.own_model:
        count = sum(part.numel() for part in found.model.parameters())
        yield f"The model is {found.settings.model}: {count:,} parameters and {found.settings.latent} latents."
    if found.grey:
        but = "negative ELBO is a bound on nothing" if found.settings.bounded else "nll is that of no density"
        yield (
            f"{found.likelihood.no_density(found.grey)}. "
            f"Binary cross-entropy on grey levels trains, but its {but}. Either use "
            f"--likelihood {found.likelihood.relaxation}, which is normalised there, or make the data 0 or 1: "
            f"--binarize threshold, or --binarize sample."
        )
    if result.ratio is not None and result.cosine is not None:
        yield gradients(found, result.ratio, result.cosine)
    if result.sigma is not None:
        yield noise(found, result.sigma)
    if found.answers:
        yield error(found)
    if found.line:
        yield (
            f"The best that linear regression can do on the training rows (least squares) is an nll of {found.line.best:.6f}, "
            f"at sigma = {found.line.sigma:.4g}; this one is {found.line.gap:.3g} nats a sample above it."
        )
    if found.settings.loss:
        yield objective(found)
    if found.calibration:
        yield found.calibration.words(found.likelihood, "held-out" if result.rows_held_out else "training")
    if result.bits_per_dimension is not None:
        yield BITS
    if found.network:
        yield (
            f"--sigma network: for each element of each sample the decoder gives {' and '.join(found.likelihood.head)}, which "
            f"is the likelihood {found.likelihood.name}."
        )
    if found.still:
        yield found.still
    if found.settings.deterministic:
        yield (
            "With nothing on the KL the noise of q(z | x) would shrink to nothing, so this is a deterministic autoencoder: z "
            "is the encoder's mean, and nll alone is trained. It has no KL and no ELBO; active are the latents whose "
            "variance over the rows is above 0.01 of the largest one's."
        )
        if found.pca:
            yield (
                f"The best that a linear autoencoder can do on the training rows (PCA) is a squared error of "
                f"{found.pca[0]:.6g} a sample; this one's is {found.pca[1]:.6g}."
            )
    elif found.settings.beta != 1:
        yield weight(found)
    if found.bounds:
        yield (
            "Each bound on log p(x) is a Monte Carlo estimate of a lower bound, from draws of z; its standard error is that of "
            "the mean over the rows, and the draws' is part of it."
        )
    if found.bounds and found.width is None:
        yield (
            "Bits per dimension of a density are in the units of training; in those of levels k/255 they are log2 255 = 7.994 "
            "more, and they bound the bits of the levels only where the data were dequantised (uniform noise of a level's width "
            "added). A discretized likelihood's are of the levels themselves."
        )
    if found.optimum:
        yield (
            f"The best that a linear model can do on the training rows (PPCA) is an ELBO of "
            f"{found.optimum.predicted.elbo:.6f}; this one is {found.optimum.gap:.3g} nats a sample below it."
        )
    if found.collapsed:
        yield why(found)
    if found.worse and not (found.collapsed and found.alone and found.alone.cost < found.alone.nll + PLAIN):
        yield remedy(found)
    if found.folder:
        yield f"Written to {found.folder}."


def gradients(found: Training, ratio: float, cosine: float) -> str:
    """Measured against predicted."""
    loss, name = found.loss.name, found.likelihood.name
    said = f"At the decoder's parameters the {name} likelihood's gradient is {ratio:.6g} times that of the summed {loss}; " + (
        f"predicted {found.result.predicted:.6g}." if found.result.predicted is not None else "nothing is predicted."
    )
    if found.whose == "per-element":
        return f"{said} Every element has a slope of its own, which no one weight on the loss is (cosine {cosine:.4f})."
    if 1 - cosine < PARALLEL:
        return said
    if found.likelihood.slope_of(found.loss) is None:
        return f"{said} They do not point one way (cosine {cosine:.4f})."
    return f"{said} They do not point one way (cosine {cosine:.4f}): the loss leaves out a gap that depends on μ."


def noise(found: Training, sigma: float) -> str:
    """The noise, where it comes from, and the one the data would choose."""
    name = level(found.likelihood)
    origin = {
        "fixed": "given",
        "learned": "learned with the network",
        "optimal": "the best of each batch in training, and here of the training rows",
        "per-element": "in root mean square, one for each element, learned with the network",
    }[found.whose]
    others = ", ".join(f"{key} = {float(value):.4g}" for key, value in found.likelihood.parameters.items() if key != name)
    if found.whose == "per-element":
        low, high = (float(value) for value in found.likelihood.parameters[name].aminmax())  # type: ignore[union-attr,index]
        origin += f": from {low:.4g} to {high:.4g}"
        said = f"{name} = {sigma:.4g}, {origin}{'; one for all of them is ' * bool(others)}{others}"
    else:
        said = f"{name} = {sigma:.4g}{', ' * bool(others)}{others}, {origin}"
    rule = found.likelihood.best_noise
    if not rule:
        return f"{said}."
    if found.whose == "per-element":
        return f"{said}; the best of each is {rule} of its element."
    if found.best is None or found.whose == "optimal":
        return f"{said}: {rule}."
    return f"{said}; {rule}, on the training rows, is {found.best:.4g}."


def error(found: Training) -> str:
    """How far off the predictions are."""
    result = found.result
    which = "held-out" if result.rows_held_out else "training"
    said = f"RMSE of the {which} rows = {result.rmse:.4g}, in the units of y"
    if found.likelihood.name != "gaussian" or found.whose == "per-element":
        return f"{said}."
    return f"{said}; sigma is one for all of them, and at the best one nll = D (log sigma + 1.4189), sigma the RMSE."


def objective(found: Training) -> str:
    """What was trained on in place of the nll."""
    loss, name = found.loss, found.likelihood.name
    said = f"Trained on {found.settings.loss}{f' + {found.settings.beta:g} KL' * found.settings.bounded}; nll is measured."
    if found.likelihood.slope_of(loss) is not None:
        return f"{said} It is {name}'s own, but for the slope and what does not depend on μ."
    return f"{said} It is no likelihood: {loss.reason}." if loss.reason else f"{said} It is another likelihood's, not {name}'s."


def weight(found: Training) -> str:
    """What the beta amounts to."""
    beta, claim = found.settings.beta, found.likelihood
    said = f"Trained on nll + {beta:g} KL; −ELBO above is nll + KL."
    if found.whose != "fixed":
        return said
    try:
        same = claim.with_slope(float(claim.slope) / beta, claim.loss)
    except ReconError:  # there is no noise in the slope
        return said
    return f"{said} The trade-off is that of {same} at beta = 1."


def why(found: Training) -> str:
    """Why every latent is off, as far as that can be told."""
    said, beta = "Posterior collapse: every latent is off.", found.settings.beta
    if found.settings.deterministic:
        return "The encoder gives every row the same code: train with another --lr or --seed."
    if found.eigenvalue is None or found.result.sigma is None:
        noise = ", or a smaller noise," if found.likelihood.noise else ""
        return f"{said} The KL costs more than the latents save: a smaller --beta{noise} makes them pay."
    most, variance = found.eigenvalue, found.result.sigma * found.result.sigma
    if not most:
        return f"{said} The training samples are all alike: there is nothing for a latent to tell."
    words = f"{'beta ' if beta != 1 else ''}sigma^2 = {beta * variance:.3g}"
    said += f" The largest eigenvalue of the training data's covariance is {short(most)}"
    if most > beta * variance:
        return f"{said}, above {words}, so latents would pay: train longer, or with another --lr or --seed."
    way = f"--sigma learned, or a smaller sigma (well below {math.sqrt(most / beta):.2g})"
    if found.whose != "fixed":
        way = f"a smaller --beta (well below {most / variance:.2g})"
    return (
        f"{said}, below {words}: with a linear decoder (PPCA; Lucas and others 2019) even along that direction a latent "
        f"would cost more KL than it saves in nll. Use {way}."
    )


def remedy(found: Training) -> str:
    """That the mean alone does better, and what to do about it."""
    beside, ends = found.alone, [one.nll + found.settings.beta * (one.kl or 0.0) for one in found.epochs]
    assert beside is not None
    said = (
        f"The mean of the training rows alone, one constant for every row, is at {short(beside.nll)} nats per "
        f"{sample(found)}, and this model at {short(beside.cost)}: nothing of use was learned."
    )
    if found.result.rows_held_out and ends[-1] < beside.nll:
        return (
            f"{said} It is at {short(ends[-1])} on the rows that it was trained on, so it has learned those by heart: give more "
            f"samples, or fewer --latent, or stop earlier, as in --validation 0.1 --patience 10."
        )
    if len(ends) < MANY and ends[-1] <= min(ends):
        return f"{said} It was getting better: give more --epochs."
    return f"{said} Lower --lr, which is {found.settings.lr:g}, let it fall (--schedule cosine), or take fewer --latent."


def sample(found: Training) -> str:
    """Which rows the result is of."""
    return "held-out sample" if found.result.rows_held_out else "training sample"


def verdict(found: Training) -> str:
    """In one line."""
    result, latent = found.result, found.settings.latent
    if found.collapsed:
        noise = "" if result.sigma is None else f" at {level(found.likelihood)} = {result.sigma:.4g}"
        if result.kl is None:
            return f"defective: 0 of {latent} latents vary{noise}, so the model ignores x"
        return f"defective by posterior collapse: 0 of {latent} latents active{noise}, so the model ignores z"
    if found.grey:
        said = found.likelihood.no_density(found.grey)
        return f"refuted: {said}; trained on it all the same{reached(found, 'BCE + KL (on grey levels no ELBO)')}"
    if found.alone and found.worse:
        beta = found.settings.beta
        what = "negative ELBO" if beta == 1 else f"nll + {beta:g} KL" if beta else "nll"
        what = what if found.settings.bounded else "nll"
        return (
            f"defective: {what} {short(found.alone.cost)} nats per {sample(found)}, worse than the mean alone, "
            f"which has {short(found.alone.nll)}"
        )
    return f"trained{reached(found, 'negative ELBO')}"


def reached(found: Training, what: str) -> str:
    """How far it came."""
    result, latent = found.result, found.settings.latent
    if result.negative_elbo is None:
        if latent:
            return f": nll {short(result.nll)} nats per {sample(found)}, {result.active} of {latent} latents vary"
        near = "" if result.rmse is None else f", RMSE {result.rmse:.4g}"
        near += "" if result.r2 is None else f", R² {result.r2:.4f}"
        return f": nll {short(result.nll)} nats per {sample(found)}{near}"
    return f": {what} {short(result.negative_elbo)} nats per {sample(found)}, {result.active} of {latent} latents active"


def short(value: float) -> str:
    """A number for a sentence: two decimals where they say something."""
    return f"{value:.2f}" if 0.1 <= abs(value) < 1e5 else f"{value:.3g}"
