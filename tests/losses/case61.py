"""61: a closure on (logits, kl), the second argument ignored, a dict back."""

from torch.nn import functional as F


def reproduce():
    def loss_fn(x, _, preds):
        logits, kl = preds
        recon_loss = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=(1, 2, 3))
        elbo = recon_loss + kl
        return {"recon_loss": recon_loss.mean(), "kl_div": kl.mean(), "loss": elbo.mean()}

    return loss_fn
