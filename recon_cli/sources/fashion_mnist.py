"""Pictures of clothes, downloaded once."""

from __future__ import annotations

from recon_cli.sources.mnist import Mnist


class FashionMnist(Mnist):
    """``fashion-mnist``, ``fashion-mnist:train``, as ``mnist``: Xiao, Rasul and Vollgraf (2017), arXiv:1708.07747, MIT."""

    what = "clothes (Xiao, Rasul and Vollgraf, MIT)"
    homes = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",)
    checksums = {
        "test": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "train": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "test-labels": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "train-labels": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    }
