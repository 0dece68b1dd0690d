"""Widgets: a class and an ES module each, which computes what it shows from its traits and never calls Python.

So the same widget runs in Jupyter, in Colab, in VS Code, and in the static book where no kernel is.
"""

from course_utils.widgets.alignment_explorer import AlignmentExplorer
from course_utils.widgets.attention_explorer import AttentionExplorer
from course_utils.widgets.attention_player import AttentionPlayer
from course_utils.widgets.best_epoch_explorer import BestEpochExplorer
from course_utils.widgets.compare_maps import CompareMaps
from course_utils.widgets.does_g_matter import DoesGMatter
from course_utils.widgets.gate_explorer import GateExplorer
from course_utils.widgets.gradcam_explorer import GradcamExplorer
from course_utils.widgets.kinds_explorer import KindsExplorer
from course_utils.widgets.label_explorer import LabelExplorer
from course_utils.widgets.live_model import LiveModel
from course_utils.widgets.quiz import Question, Quiz
from course_utils.widgets.schedule_explorer import ScheduleExplorer
from course_utils.widgets.score_explorer import ScoreExplorer
from course_utils.widgets.seeds_explorer import SeedsExplorer
from course_utils.widgets.threshold_explorer import ThresholdExplorer

__all__ = [
    "AlignmentExplorer",
    "AttentionExplorer",
    "AttentionPlayer",
    "BestEpochExplorer",
    "CompareMaps",
    "DoesGMatter",
    "GateExplorer",
    "GradcamExplorer",
    "KindsExplorer",
    "LabelExplorer",
    "LiveModel",
    "Question",
    "Quiz",
    "ScheduleExplorer",
    "ScoreExplorer",
    "SeedsExplorer",
    "ThresholdExplorer",
]
