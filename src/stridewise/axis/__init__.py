"""Arithmetic of one axis: sizes, steps and fields of windows, resizes, crops. Exact, without any framework."""

from stridewise.axis.fields import MAX_PHASES as MAX_PHASES
from stridewise.axis.fields import SELF as SELF
from stridewise.axis.fields import Field as Field
from stridewise.axis.fields import join_fields as join_fields
from stridewise.axis.fields import smallest_field as smallest_field
from stridewise.axis.maps import Adaptive as Adaptive
from stridewise.axis.maps import Repeat as Repeat
from stridewise.axis.maps import Slice as Slice
from stridewise.axis.maps import Transposed as Transposed
from stridewise.axis.maps import Whole as Whole
from stridewise.axis.maps import Window as Window
from stridewise.axis.maps import same_padding as same_padding
from stridewise.axis.resize import IDENTITY as IDENTITY
from stridewise.axis.resize import AxisMap as AxisMap
from stridewise.axis.resize import Computed as Computed
from stridewise.axis.resize import Phased as Phased
from stridewise.axis.resize import Resize as Resize
from stridewise.axis.resize import Table as Table
