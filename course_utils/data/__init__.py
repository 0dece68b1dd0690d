"""Images, with the position of the object where it is known.

- `splits`: `load`, one call for every data set.
- `parts`: `Splits`, the images for training, validation and test, and their type, `SizedDataset`.
- `cluttered_digits`: one whole digit among fragments of others; needs no download.
- `several_digits`: one to three whole digits, for more than one label.
- `digit_pairs`: two digits far apart in a wide image: are they the same?
- `strokes`: the movements of a pen behind the image of a digit.
- `folder_parts`: your own folder of images, with ``train/``, ``test/`` and perhaps ``val/``.
- `image_folder`: the images of one part, with one sub-folder per class.
- `image_files`: which files are images, and how each is read; `image_formats` names the others.
- `copies`: images that appear twice.
- `stratified`: samples and hold-outs that keep every class.
- `class_names`: how two lists of classes differ.
- `fingerprint`: a record by which a resumed run knows that its images are the same.
- `in_memory`: square images kept in memory.
- `boxed_photographs`: photographs with boxes or masks, in a folder or an archive.
- `torchvision_sets`: CIFAR, SVHN, aircraft and pets, through torchvision.
- `elpv`: photographs of solar cells, from their package.
- `photographs`: photographs from scikit-image's package.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
