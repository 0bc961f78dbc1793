"""SUNDAE: 3D Gaussians pruned by the spectrum of their graph, which needs no camera.

`spectrum(means)` gives every row's response to a high-pass filter on a graph of neighbours; `Spectrum.mask(keep,
ratio)` is the band-stop cut: of the share `keep` of the rows that stay, the share `ratio` (gamma) has the highest
responses, the rest the lowest. One spectrum answers every cut.
Source: Yang et al. 2024, "Spectrally Pruned Gaussian Fields with Neural Compensation", arXiv 2405.00676, section 3.2.
"""

from .cuts import Spectrum, cut_counts
from .responses import SpectrumOptions, Variant, band_stop, spectrum, spectrum_of
from .signals import Signal

__all__ = [
    "Signal",
    "Spectrum",
    "SpectrumOptions",
    "Variant",
    "band_stop",
    "cut_counts",
    "spectrum",
    "spectrum_of",
]
