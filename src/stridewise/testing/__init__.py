"""The contract every op keeps, as a test that anybody can run: `check_op(op)`."""

from stridewise.testing.broken import Broken as Broken
from stridewise.testing.contract import Kept as Kept
from stridewise.testing.contract import check_op as check_op
from stridewise.testing.contract import check_trial as check_trial
