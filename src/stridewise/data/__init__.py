"""Data sets: readers of the usual formats to one record, and data that needs no download. No torch here."""

from stridewise.data.builtin import digit_scenes as digit_scenes
from stridewise.data.builtin import digits as digits
from stridewise.data.mask import IGNORE as IGNORE
from stridewise.data.mask import Codes as Codes
from stridewise.data.mask import Mask as Mask
from stridewise.data.picture import Picture as Picture
from stridewise.data.picture import PictureError as PictureError
from stridewise.data.reading import FORMATS as FORMATS
from stridewise.data.reading import open_dataset as open_dataset
from stridewise.data.records import Boxes as Boxes
from stridewise.data.records import Dataset as Dataset
from stridewise.data.records import Sample as Sample
from stridewise.data.records import Task as Task
from stridewise.data.records import hold_out as hold_out
from stridewise.data.report import Dropped as Dropped
from stridewise.data.report import Report as Report
