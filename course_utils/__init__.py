"""Helpers of the open course "Attention in CNNs", one room per kind of thing; a room never imports the ones below it.

- `core`: checks, evaluation mode, boxes, files, costs
- `plots`: figures and tables
- `attention`: scores, alignments, and the layers built from them
- `data`: images, with the true place of the object where it is known
- `models`: the networks of the sources, and their controls
- `explain`: maps of a trained network, and scores of maps
- `training`: fit, recipes, evaluation
- `studies`: the experiments of the chapters
- `widgets`, `exercises`: what moves and what checks itself in the notebooks
- `cli`: ``python -m course_utils``

Importing a room loads nothing else until it is used.
"""
