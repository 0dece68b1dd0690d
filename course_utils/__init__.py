"""The package of the open course "Attention in CNNs", one room per kind of thing.

A room imports only rooms that stand above it in this list:

- `core`: checks, evaluation mode, boxes, files, costs, bootstrap intervals
- `plots`: figures and tables
- `attention`: scores, alignments, and the layers built from them
- `data`: images, with the true position of the object where it is known
- `models`: the networks of the sources, and their controls
- `explain`: maps of a trained network, and the scores of maps
- `training`: fit, recipes, evaluation
- `studies`: the experiments of the chapters, and the trained networks that the package ships
- `widgets`, `exercises`: what readers move, and what checks their answers
- `shipped`: the files of those networks and results
- `cli`: ``python -m course_utils``

Importing a room loads nothing until it is used.
"""
