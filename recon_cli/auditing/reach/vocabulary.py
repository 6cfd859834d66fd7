"""The names that people give to arguments, and the roles that they have."""

from __future__ import annotations

import re

DATA, LATENT = ("recon", "target", "spread"), ("mu", "scale", "probs")
ROLES = {  # what --args may say of an argument
    "recon": "the reconstruction, or its logits",
    "target": "the data",
    "spread": "the noise that a decoder gives for every element",
    "mu": "the latents' mean",
    "scale": "their log variance, logarithm, deviation or variance, which is found out (or one of logvar, log_std, std, var)",
    "probs": "probabilities or logits of categorical latents",
    "posterior": "a pair (mean, log variance), or a distribution",
    "decoder": "the distribution that a decoder returns",
    "kl": "a KL that is computed outside",
    "z": "a sample of the latents",
    "mask": "which elements count",
    "prior": "the prior's mean or scale",
    "length": "how long each sample is",
    "compared": "one of two that are compared with one another and are no data: codes, scores",
    "density": "log q(z|x) or log p(z) of a sample, computed outside",
    "extra": "another term, left at 0",
    "skip": "nothing that matters: None is passed",
}
SCALE_WORDS = {
    "log_variance": r"(log_?var(iance)?|logv|lv|ln_?var|log_?sigma_?x?2|log_?sigma_?sq(uared)?|log_?std2|log_cov)",
    "log_std": r"(log_?sigmas?|log_?std|log_?scale|logs|ln_?sigma|log_?sd|ln_?std)",
    "std": r"(sigmas?|stds?|stddev|std_?dev|scale|sd)",
    "variance": r"(vars?|variances?|sigma2|sigma_sq)",
}
LATENT_SIDE = r"(_?(z|q|enc|latent|post|posterior|latents|hat|x|t))?"
SCALES = {
    meaning: re.compile(rf"((z|q|enc|encoder|latent|post|posterior|mu|en|ls)_?)?{words}{LATENT_SIDE}s?$", re.I)
    for meaning, words in SCALE_WORDS.items()
}
WHOSE = r"pred(icted)?|true|target|gt|model"
QUALIFIED = re.compile(rf"^({WHOSE})_|_({WHOSE}|theta|out)$", re.I)
SPREAD = re.compile(
    rf"(x|rec|recon|dec|decoder|out|output|pred|y|recon_x|x_?hat|x_?dec|x_?rec)_?({'|'.join(SCALE_WORDS.values())})$", re.I
)
MATRIX = re.compile(
    r"(\w+_)?(scale_?tril|tril|chol(esky)?(_factor)?|cov(ariance)?(_?matrix)?|precision_?matrix|prec_?mat)(_x)?$", re.I
)
# What a name must be, whole, to have a role: regular expressions, the first role that fits.
NAMED = {
    "recon": r"""
        recon\w*  rec  recs  recon_?x  x_?rec\w*  x_?re  \w+_recon\w*  reconstruct\w*  \w*x_?hat  xhat  hat_x  \w+_hat
        \w*_out  x_?out  outs?  outputs?  x_?partial  preds?  predictions?  \w*_pred  pred_\w+  y_?pred\w*  y_?hat  logp
        logits?  decoded  decodings?  decoder_out\w*  generated  gen  fake  x_?tilde  x_?prime  mu_?x  x_?mu  x_?mean
        x_?dec\w*  dec\w*_mean  dec_x  x_?logits  probs?_x  x_?decoded\w*  estimates?  synth\w*  x_?bar  xr  rx  re_x
        model_output  \w+_theta  log_?w  log_?weights?  log_?iw\w*
    """,
    "mu": r"""
        mus?  mu_?[zq]  [zq]_?mus?  means?  mean_?[zq]  [zq]_?means?  z_?m  zm  latent_?(mean|mu)  (mean|mu)_?latent
        enc(oder)?_?(mean|mu)  (mean|mu)_?enc  q_?mean  posterior_?(mean|mu|loc)  [zq]_?loc  mu_?hat  mu_?posterior  post_?mean
        en_?mu
    """,
    "probs": r"""
        q_?y  qy_?logits?  logits_?[yz]  probs_?[yz]  prob_?[yz]  q_?c  alpha_?z  cat_?probs
    """,
    "posterior": r"""
        posteriors?  latent_dist\w*  q_?dist  [qz]_?dist  dist_?[qz]  q  qz  q_?z  qz_?x  q_?z_?x  q_?z_?given_?x
        latent_sample_dist
    """,
    "decoder": r"""
        decoder  p_?x  px_?z  p_?x_?z  x_?dist  dec_?dist  likelihood  output_?dist  recon_?dist  px
    """,
    "kl": r"""
        (?!kl[ds]?_?(w|coef|scal|beta|lamb|bal|ann|fac|target|max|min|start|tol|warm|cost|rate|red|type|mode))kl[ds]?(_?\w+)?
        latent_?loss
    """,
    "extra": r"""
        \w+_loss  loss_(?!mask)\w+  commit\w*  reg(ular\w*)?  penalty
    """,
    "z": r"""
        z  zs  z_?samples?  sampled?_?z  latents?  (latent_)?samples?  sampled_latents?  encoded  codes?
    """,
    "mask": r"""
        masks?  \w+_mask  is_?pad\w*  pads?  padding\w*  weights?  (sample|pixel|element)_?w(eights?)?  w  valid
    """,
    "length": r"""
        lengths?  seq_?len\w*  lens
    """,
    "target": r"""
        x  xs  x_?true  true_?x  x_?orig\w*  x_?in  \w+_in  inputs?  in_  input_\w+  x_?input  img  imgs  images?  \w+_images?
        data  datas  data_\w+  labels?  targets?  x_?targ\w*  y_?true  y  t  ys  originals?  orig\w*  gt  ground_?truth  truth
        real  reals  reality  actions?  tokens?  obs  observations?  batch  signal  true_?\w+  x_?0  pixels  frames?  expected
        ref  reference  actuals?  y_?actual  tgts?  trg  y_?obs\w*  y_?gt
    """,
}
OF_DATA = re.compile(r"(x_?(mu|mean|loc)|(mu|mean|loc)_?x)$", re.I)  # a mean of x, whose scale has the same letter
PRIORS = re.compile(r"_?(p|prior|pz|\d)$", re.I)  # what tells a prior's mean and scale from the posterior's
PRIOR_WORDS = re.compile(r"(p|p_?z|prior\w*|p_?dist)$", re.I)  # of a distribution of the latents that is no posterior
LIKELY = {  # which of two of one role is the other, where there is none: f(y, t), f(input, target), f(x, y)
    "recon": re.compile(r"(y|inputs?|outputs?)$", re.I),
    "target": re.compile(r"(out|outputs?|generated)$", re.I),
}
# Of arguments that move the loss in proportion and lean on no other.
DENSITY = re.compile(
    r"(log_p|log_?(p_?z|prior|q|posterior|prod|marg|agg)\w*|(p_?z?|q_?z?(_?x)?|prior|posterior)_?log_?p(rob\w*)?)$", re.I
)
READY = re.compile(r"(mi|tc|mutual_?info\w*|total_?corr\w*|dw_?kl|dimwise_?kl|\w+_(mi|tc)|(mi|tc|dw_?kl)_\w+)$", re.I)
PATTERNS = [(role, re.compile(f"(?:{'|'.join(words.split())})$", re.I)) for role, words in NAMED.items()]
TENSOR_WORDS = {
    "kl", "mean", "logvar", "std", "var", "sample", "mode", "rsample", "log_prob", "loc", "scale", "entropy", "stddev",
    "variance",
}  # fmt: skip
FLAGS = {
    **dict.fromkeys(("is_train", "training", "train", "is_training"), True),
    **dict.fromkeys(("optimizer_idx", "batch_idx", "global_step"), 0), "device": "cpu",
}  # fmt: skip
NUMBERS = re.compile(
    r"(beta|gamma|alpha|delta|lambd?a?_?\w*|lmbda|lam|capacity|steps?|epochs?|\w*_(weight|coeff?|coefficient|scale|factor|step|size|epochs?)|w_\w+"
    r"|iteration|n_\w+|num_\w+|temperature|temp|eps|epsilon|free_(bits|nats)|c_max|m_n)$", re.I
)  # fmt: skip
TIME = re.compile(r"ts?$", re.I)
NOISE = re.compile(r"(eps|epsilon)$", re.I)  # a small number, but in a diffusion
RECORDS = re.compile(r"(storer|logs?|log_dict|metrics|history)$")


def meaning_of(name: str) -> str | None:
    """Return what a name says of the latents' scale, whatever its number."""
    if MATRIX.match(name):
        return "matrix"
    names = (name, re.sub(r"(?<=[a-z])_?\d$", "", name, flags=re.I), QUALIFIED.sub("", name))
    return next((meaning for each in names for meaning, pattern in SCALES.items() if pattern.match(each)), None)


def role_of(name: str) -> str | None:
    """Return the role that a name has in the literature, or None."""
    bare = name.strip("_")
    if re.search(r"\w_(weight|weighting|coeff?|coefficient|factor|lambda|alpha|beta|gamma)$", bare, re.I):
        return None
    if "pad" in bare.lower():
        return "mask"
    if MATRIX.match(bare):
        return "spread"
    if SPREAD.match(bare) and not re.match(r"(log_?sigma_?x_?2)$", bare, re.I):
        return "spread"
    if meaning_of(bare):
        return "scale"
    role = next((role for role, pattern in PATTERNS if pattern.match(bare)), None)
    if role is None and (numbered := re.fullmatch(r"(\w+)_[A-Da-d0-9]|([A-Za-z_]+?)\d", bare)):
        of_one = role_of(numbered[1] or numbered[2])
        return of_one if of_one in (LATENT if numbered[2] else (*DATA, *LATENT)) else None
    return role
