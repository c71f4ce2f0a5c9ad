"""What a report cites: the sources of the accounts and methods that it used."""

from collections.abc import Iterable
from typing import NamedTuple


class Reference(NamedTuple):
    """Source that a report cites.

    Args:
        authors, year, title, where: as printed; where is a journal, or arXiv: and a number.
    """

    authors: str
    year: int
    title: str
    where: str

    @property
    def text(self) -> str:
        """Citation in one line."""
        title = f" “{self.title}”," if self.title else ""
        return f"{self.authors.replace(' and ', ', ')} ({self.year}),{title} {self.where}."

    def bibtex(self, key: str) -> str:
        """Citation as a BibTeX entry."""
        kind, _, number = self.where.partition(":")
        fields = {"author": self.authors, "year": str(self.year), "title": f"{{{self.title}}}"}
        if kind == "arXiv":
            fields |= {"eprint": number, "archiveprefix": "arXiv"}
        elif kind == "doi":
            fields |= {"doi": number}
        else:
            fields |= {"howpublished": self.where}
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        return f"@misc{{{key},\n{lines}\n}}"


REFERENCES = {
    "wurgaft2025": Reference(
        "Wurgaft, Daniel and Lubana, Ekdeep Singh and Park, Core Francisco and Tanaka, Hidenori "
        "and Reddy, Gautam and Goodman, Noah D.",
        2025,
        "In-Context Learning Strategies Emerge Rationally",
        "arXiv:2506.17859",
    ),
    "park2024": Reference(
        "Park, Core Francisco and Lubana, Ekdeep Singh and Pres, Itamar and Tanaka, Hidenori",
        2024,
        "Competition Dynamics Shape Algorithmic Phases of In-Context Learning",
        "arXiv:2412.01003",
    ),
    "carroll2025": Reference(
        "Carroll, Liam and Hoogland, Jesse and Farrugia-Roberts, Matthew and Murfet, Daniel",
        2025,
        "Dynamics of Transient Structure in In-Context Linear Regression Transformers",
        "arXiv:2501.17745",
    ),
    "nguyen2024": Reference(
        "Nguyen, Alex and Reddy, Gautam",
        2024,
        "Differential Learning Kinetics Govern the Transition from Memorization to "
        "Generalization during In-Context Learning",
        "arXiv:2412.00104",
    ),
    "gibson2026": Reference("Gibson and Cui and Reddy, Gautam", 2026, "", "arXiv:2604.12151"),
    "singh2025": Reference(
        "Singh, Aaditya K. and Moskovitz, Ted and Dragutinovic, Sara and Hill, Felix and Chan, "
        "Stephanie C. Y. and Saxe, Andrew M.",
        2025,
        "Strategy Coopetition Explains the Emergence and Transience of In-Context Learning",
        "arXiv:2503.05631",
    ),
    "zucchet2025": Reference(
        "Zucchet, Nicolas and d'Angelo, Francesco and Lampinen, Andrew K. and Chan, Stephanie "
        "C. Y.",
        2025,
        "The Emergence of Sparse Attention: Impact of Data Distribution and Benefits of Repetition",
        "arXiv:2505.17863",
    ),
    "reddy2023": Reference(
        "Reddy, Gautam",
        2023,
        "The Mechanistic Basis of Data Dependence and Abrupt Learning in an In-Context "
        "Classification Task",
        "arXiv:2312.03002",
    ),
    "ku2025": Reference(
        "Ku, Alexander Y. and Griffiths, Thomas L. and Chan, Stephanie C. Y.",
        2025,
        "Predictability Shapes Adaptation: An Evolutionary Perspective on Modes of Learning in "
        "Transformers",
        "arXiv:2505.09855",
    ),
    "hoffman2014": Reference(
        "Hoffman, Matthew D. and Gelman, Andrew",
        2014,
        "The No-U-Turn Sampler",
        "Journal of Machine Learning Research 15",
    ),
    "phan2019": Reference(
        "Phan, Du and Pradhan, Neeraj and Jankowiak, Martin",
        2019,
        "Composable Effects for Flexible and Accelerated Probabilistic Programming in NumPyro",
        "arXiv:1912.11554",
    ),
    "vehtari2021": Reference(
        "Vehtari, Aki and Gelman, Andrew and Simpson, Daniel and Carpenter, Bob and Bürkner, "
        "Paul-Christian",
        2021,
        "Rank-Normalization, Folding, and Localization: An Improved R-hat",
        "doi:10.1214/20-BA1221",
    ),
    "kumar2019": Reference(
        "Kumar, Ravin and Carroll, Colin and Hartikainen, Ari and Martin, Osvaldo",
        2019,
        "ArviZ a Unified Library for Exploratory Analysis of Bayesian Models in Python",
        "doi:10.21105/joss.01143",
    ),
    "yao2018": Reference(
        "Yao, Yuling and Vehtari, Aki and Simpson, Daniel and Gelman, Andrew",
        2018,
        "Using Stacking to Average Bayesian Predictive Distributions",
        "doi:10.1214/17-BA1091",
    ),
}
_OF_ACCOUNT = {
    "internal_selection": "carroll2025",
    "kinetic": "nguyen2024",
    "two_boundaries": "gibson2026",
    "coopetition": "singh2025",
    "emergence": "zucchet2025",
    "abrupt": "reddy2023",
    "relative_cost": "ku2025",
}
_OF_POSTERIOR = ("phan2019", "hoffman2014", "vehtari2021", "kumar2019")


def cited(accounts: Iterable[str], *, posterior: bool, comparison: bool) -> dict[str, Reference]:
    """Sources of what a report used, by key: the criterion, the accounts, and the methods.

    Args:
        accounts: names.
        posterior: whether one was sampled.
        comparison: whether accounts were compared.
    """
    keys = ["wurgaft2025", "park2024"]
    keys += [_OF_ACCOUNT[name] for name in accounts if name in _OF_ACCOUNT]
    keys += _OF_POSTERIOR if posterior else []
    keys += ["yao2018"] if comparison else []
    return {key: REFERENCES[key] for key in dict.fromkeys(keys)}
