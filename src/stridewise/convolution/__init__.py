"""The convolution itself, whole and step by step, in NumPy; and what it makes of a picture at each stride."""

from stridewise.convolution.drawing import picture as picture
from stridewise.convolution.figures import Cost as Cost
from stridewise.convolution.kernels import NAMED as NAMED
from stridewise.convolution.kernels import kernel_names as kernel_names
from stridewise.convolution.kernels import read_kernel as read_kernel
from stridewise.convolution.operation import Multiplications as Multiplications
from stridewise.convolution.operation import Step as Step
from stridewise.convolution.operation import convolve as convolve
from stridewise.convolution.operation import multiplications as multiplications
from stridewise.convolution.operation import walk as walk
from stridewise.convolution.reading import BUILTIN as BUILTIN
from stridewise.convolution.reading import read_picture as read_picture
from stridewise.convolution.sliding import Slide as Slide
from stridewise.convolution.sliding import slide as slide
from stridewise.convolution.sliding import slides as slides
from stridewise.convolution.sliding import to_json as to_json
from stridewise.convolution.window import Axis as Axis
from stridewise.convolution.window import axes as axes
