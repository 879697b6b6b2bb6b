"""Which strides a data set permits, without training: objects, labels and detail against the grid of a stride."""

from stridewise.findings import Finding as Finding
from stridewise.fit.result import FitResult as FitResult
from stridewise.fit.result import Limits as Limits
from stridewise.fit.rules import findings as findings
from stridewise.fit.run import fit as fit
from stridewise.fit.strides import stride_set as stride_set
