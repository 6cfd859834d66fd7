"""Handwritten Japanese characters, downloaded once."""

from __future__ import annotations

from recon_cli.sources.mnist import Mnist


class Kmnist(Mnist):
    """``kmnist``, ``kmnist:train``, as ``mnist``: Clanuwat and others (2018), arXiv:1812.01718, CC BY-SA 4.0."""

    what = "cursive Japanese characters (Clanuwat and others, CC BY-SA 4.0)"
    homes = ("http://codh.rois.ac.jp/kmnist/dataset/kmnist",)
    checksums = {
        "test": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "train": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "test-labels": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        "train-labels": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
    }
