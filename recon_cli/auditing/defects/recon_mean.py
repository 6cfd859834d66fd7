"""The reconstruction is averaged over the elements of a sample, and the KL is not.

Beside a KL summed over the latents, a mean over D elements is 1/D of the log-likelihood: the same as beta = D, or, for a
squared error, sigma^2 = D/2. It grows with the image, so that a weight tuned at 28x28 is another one at 64x64, and the
posterior collapses sooner on larger images.

Sum over the elements of a sample and average over the batch: the finding gives the line.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import ONE, Findings, Subject, is_one
from recon_cli.auditing.formulas import number, summed
from recon_cli.auditing.mending import mended_reconstruction
from recon_cli.auditing.scaling import product

GRAVITY = "moving"


def find(subject: Subject) -> Findings:
    """Yield it where the trade-off grows with D because the reconstruction's weight falls."""
    grows, latent, sizes = subject.term.scaling.dim[0], subject.weighed, subject.measured.sizes
    if latent is None or subject.measured.broadcast or subject.term.scaling.literal is not None:
        return
    if grows is None or grows <= ONE or not subject.averaged:
        return
    other = f"the KL over the {sizes.K} latents" if (subject.term.scaling.latent[2] or 0.0) < -ONE else "the KL is not"
    yield (
        f"the reconstruction is averaged over {subject.elements[0]} and {other}: {beside_sums(subject)}{subject.place}",
        f"Sum over a sample's elements: {mended_reconstruction(subject)}",
        subject.reconstruction_site,
    )


def beside_sums(subject: Subject) -> str:
    """Return how the trade-off compares with that of sums, half the squared error where a half is written."""
    match, w, b = subject.term.rec.match, subject.weight, subject.signed[1]
    match = match if subject.term.rec.quadratic is None else None  # whose weight is the matrix's
    n, batch = subject.elements[1], subject.measured.sizes.batch
    half = match is not None and match.family == "gaussian" and any(is_one(2 * abs(w) * n * size) for size in (1, batch))
    if match is None:  # of no known slope, so by the sizes that it is divided by alone
        factor: float | None = product((batch, n, subject.measured.sizes.K), subject.term.scaling.tradeoff)
    else:
        factor = b / abs(w) / (2 if half else 1) if w else None
    parts = () if match is None else match.parts or ((match.family, w),)
    each = [f"{'' if is_one(part / w) else f'{number(part / w)}·'}{summed(match, family)}" for family, part in parts if match]
    what = f"{'0.5·' * half}{' + '.join(each) or 'the summed reconstruction'} + KL"
    if factor is None:
        return f"it grows with the size of a sample, which that of sums, {what}, does not,"
    if is_one(abs(factor)):
        return f"the trade-off is the one of sums, {what}, at this size and no other,"
    return f"the trade-off is {number(abs(factor))} times that of sums, {what},"
