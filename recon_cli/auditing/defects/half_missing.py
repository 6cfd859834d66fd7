"""The squared error is written without its 1/2.

-log N(x | mu, sigma^2) is (x - mu)^2/(2 sigma^2) and a constant. Without the 1/2 sigma^2 is 1/2, not 1, or beta is half of
what is written. It is no error where the weight is chosen on purpose, so it is noted and no reason to fail.

Write 0.5 * (x_hat - x)**2.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import ONE, Findings, Subject, is_one
from recon_cli.auditing.mending import ends

GRAVITY = "noted"


def find(subject: Subject) -> Findings:
    """Yield it where a squared error has the plain weight of a sum or a mean."""
    latent, match, scaling, sizes = subject.weighed, subject.term.rec.match, subject.term.scaling, subject.measured.sizes
    tradeoff, w, own = subject.reading.tradeoff, subject.weight, subject.term.own or subject.term.rec.given
    if latent is None or match is None or match.family != "gaussian" or own or not tradeoff or is_one(tradeoff):
        return
    norms = [1, sizes.batch, sizes.D, sizes.batch * sizes.D, *([scaling.length * sizes.batch] if scaling.length else [])]
    plain = any(is_one(abs(w) * n) for n in norms) or is_one(abs(w / (latent.weight or 1.0)))  # all of it divided, too
    tuned = (scaling.dim[0] or 0) > ONE and any(
        k >= 100 and k == int(k) and is_one(abs(w) * n / k) for k in subject.measured.knobs for n in norms
    )
    if plain or tuned:
        what = "sigma^2 at beta = 1" if subject.term.rec.sign * (latent.weight or 0) > 0 else "the size of beta at sigma = 1"
        recon, target = ends(subject.term)
        yield (
            f"squared error without its 1/2: {what} is {tradeoff:.6g}{subject.place}, with it {tradeoff * 2:.6g}",
            f"Write its half: 0.5 * ({recon} - {target})**2",
            subject.site(subject.term.recon, of=("mse_loss", "pow")),
        )
