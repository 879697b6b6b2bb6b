"""Which strides a data set permits, without training: objects, labels and detail against the grid of a stride."""

from stridewise.datafit.figures import Limits as Limits
from stridewise.datafit.result import FitResult as FitResult
from stridewise.datafit.result import findings as findings
from stridewise.datafit.run import fit as fit
from stridewise.datafit.strides import stride_set as stride_set
from stridewise.findings import Finding as Finding
