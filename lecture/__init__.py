"""The lecture: slides, their figures and numbers, and the handout."""
