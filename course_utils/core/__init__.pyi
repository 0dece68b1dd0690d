from . import profiling as profiling
from .boxes import box_regions as box_regions
from .boxes import mask_boxes as mask_boxes
from .eval_mode import evaluating as evaluating
from .targets import Targets as Targets
from .targets import target_classes as target_classes
