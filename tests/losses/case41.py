"""41: three reconstructions of different kinds, a posterior of fixed scale, a beta that divides."""

import torch
from torch import nn


class VAE(nn.Module):
    def __init__(self, nsamples, ntnf=103, nlatent=32, alpha=0.15, beta=200.0):
        super().__init__()
        self.nsamples = nsamples
        self.ntnf = ntnf
        self.nlatent = nlatent
        self.alpha = alpha
        self.beta = beta

    def calc_loss(self, depths_in, depths_out, tnf_in, tnf_out, abundance_in, abundance_out, mu, weights):
        ab_sse = (abundance_out - abundance_in).pow(2).sum(dim=1)
        ce = -((depths_out + 1e-9).log() * depths_in).sum(dim=1)
        sse = (tnf_out - tnf_in).pow(2).sum(dim=1)
        kld = 0.5 * (mu.pow(2)).sum(dim=1)
        ce_weight = (1 - self.alpha) * (self.nsamples - 1) / (self.nsamples * torch.log(torch.tensor(float(self.nsamples))))
        ab_sse_weight = (1 - self.alpha) * (1 / self.nsamples)
        sse_weight = self.alpha / self.ntnf
        kld_weight = 1 / (self.nlatent * self.beta)
        weighed_ab, weighed_ce, weighed_sse, weighed_kld = (
            ab_sse * ab_sse_weight,
            ce * ce_weight,
            sse * sse_weight,
            kld * kld_weight,
        )
        reconstruction_loss = weighed_ce + weighed_ab + weighed_sse
        loss = (reconstruction_loss + weighed_kld) * weights
        return loss.mean(), weighed_ab.mean(), weighed_ce.mean(), weighed_sse.mean(), weighed_kld.mean()
