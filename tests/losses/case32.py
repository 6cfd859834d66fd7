"""32: an object that is called, target first, a tuple for the latents; it rescales to 255 and counts its steps."""

import abc

from torch.nn import functional as F


def linear_annealing(init, fin, step, annealing_steps):
    if annealing_steps == 0:
        return fin
    delta = fin - init
    return min(init + delta * step / annealing_steps, fin)


class BaseLoss(abc.ABC):
    def __init__(self, record_loss_every=50, rec_dist="bernoulli", steps_anneal=0):
        self.n_train_steps = 0
        self.record_loss_every = record_loss_every
        self.rec_dist = rec_dist
        self.steps_anneal = steps_anneal

    @abc.abstractmethod
    def __call__(self, data, recon_data, latent_dist, is_train, storer, **kwargs):
        """The loss."""

    def _pre_call(self, is_train, storer):
        if is_train:
            self.n_train_steps += 1
        return storer if not is_train or self.n_train_steps % self.record_loss_every == 1 else None


class BetaHLoss(BaseLoss):
    def __init__(self, beta=4, **kwargs):
        super().__init__(**kwargs)
        self.beta = beta

    def __call__(self, data, recon_data, latent_dist, is_train, storer, **kwargs):
        storer = self._pre_call(is_train, storer)
        rec_loss = _reconstruction_loss(data, recon_data, storer=storer, distribution=self.rec_dist)
        kl_loss = _kl_normal_loss(*latent_dist, storer)
        anneal_reg = linear_annealing(0, 1, self.n_train_steps, self.steps_anneal) if is_train else 1
        loss = rec_loss + anneal_reg * (self.beta * kl_loss)
        if storer is not None:
            storer["loss"].append(loss.item())
        return loss


def _reconstruction_loss(data, recon_data, distribution="bernoulli", storer=None):
    batch_size, n_chan, height, width = recon_data.size()
    if distribution == "bernoulli":
        loss = F.binary_cross_entropy(recon_data, data, reduction="sum")
    elif distribution == "gaussian":
        loss = F.mse_loss(recon_data * 255, data * 255, reduction="sum") / 255
    elif distribution == "laplace":
        loss = F.l1_loss(recon_data, data, reduction="sum") * 3
    loss = loss / batch_size
    if storer is not None:
        storer["recon_loss"].append(loss.item())
    return loss


def _kl_normal_loss(mean, logvar, storer=None):
    latent_dim = mean.size(1)
    latent_kl = 0.5 * (-1 - logvar + mean.pow(2) + logvar.exp()).mean(dim=0)
    total_kl = latent_kl.sum()
    if storer is not None:
        storer["kl_loss"].append(total_kl.item())
        for i in range(latent_dim):
            storer["kl_loss_" + str(i)].append(latent_kl[i].item())
    return total_kl
