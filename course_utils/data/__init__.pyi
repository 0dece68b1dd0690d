from . import cluttered_digits as cluttered_digits
from . import elpv as elpv
from . import strokes as strokes
from .cluttered_digits import ClutteredDigits as ClutteredDigits
from .photographs import photograph as photograph
from .several_digits import SeveralDigits as SeveralDigits
from .splits import Splits as Splits
from .splits import load as load
