"""17: a policy that runs its model inside and returns a dict; without actions the same call acts."""

from torch import nn
from torch.nn import functional as F


def kl_divergence(mu, logvar):
    klds = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp())
    total_kld = klds.sum(1).mean(0, True)
    return total_kld, klds.mean(0), klds.mean(1).mean(0, True)


class ACTPolicy(nn.Module):
    def __init__(self, args_override):
        super().__init__()
        self.model = build(args_override)  # noqa: F821
        self.kl_weight = args_override["kl_weight"]

    def __call__(self, qpos, image, actions=None, is_pad=None):
        env_state = None
        if actions is not None:
            actions = actions[:, : self.model.num_queries]
            is_pad = is_pad[:, : self.model.num_queries]
            a_hat, is_pad_hat, (mu, logvar) = self.model(qpos, image, env_state, actions, is_pad)
            total_kld, dim_wise_kld, mean_kld = kl_divergence(mu, logvar)
            loss_dict = {}
            all_l1 = F.l1_loss(actions, a_hat, reduction="none")
            l1 = (all_l1 * ~is_pad.unsqueeze(-1)).mean()
            loss_dict["l1"] = l1
            loss_dict["kl"] = total_kld[0]
            loss_dict["loss"] = loss_dict["l1"] + loss_dict["kl"] * self.kl_weight
            return loss_dict
        a_hat, _, (_, _) = self.model(qpos, image, env_state)
        return a_hat
