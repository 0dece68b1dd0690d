"""Under pytest the notebooks run at the smoke preset: every cell, in seconds."""

import os

os.environ["COURSE_PRESET"] = "smoke"
os.environ["TQDM_DISABLE"] = "1"
