"""13: sentences, their words as log-probabilities, a weight on the KL that grows; as a closure, and made by a factory."""

import numpy as np
import torch


def kl_anneal_function(anneal_function, step, k, x0):
    if anneal_function == "logistic":
        return float(1 / (1 + np.exp(-k * (step - x0))))
    return min(1, step / x0)


def main(pad_idx=0):
    NLL = torch.nn.NLLLoss(ignore_index=pad_idx, reduction="sum")

    def loss_fn(logp, target, length, mean, logv, anneal_function, step, k, x0):
        target = target[:, : torch.max(length).item()].contiguous().view(-1)
        logp = logp.view(-1, logp.size(2))
        NLL_loss = NLL(logp, target)
        KL_loss = -0.5 * torch.sum(1 + logv - mean.pow(2) - logv.exp())
        KL_weight = kl_anneal_function(anneal_function, step, k, x0)
        return NLL_loss, KL_loss, KL_weight

    return loss_fn


loss_fn = None


def wrapped():
    return main()
