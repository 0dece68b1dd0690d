"""A web server on this machine that can be as slow, silent and forgetful as real ones, and data sets in miniature.

The sets have the layout, the file formats and the quirks of the real ones: torchvision's own classes read them.
"""

import hashlib
import pickle
import re
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from course_utils.data import torchvision_sets

CIFAR = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}


class Server(ThreadingHTTPServer):
    """Answers each path as told, and notes what was asked: (path, first byte)."""

    daemon_threads = True

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.asked, self.over = answers, [], threading.Event()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, *_): ...  # a client that has gone is nothing to print


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.removeprefix("/")
        start = int(re.sub(r"\D", "", self.headers.get("Range", "0")))
        self.server.asked.append((path, start))
        self.close_connection = True
        self.server.answers.get(path, status(404))(self, start)

    def head(self, code, *, length=None, **headers):
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", length)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_): ...


@contextmanager
def served(**answers):
    """A server with an answer for each name; underscores in it stand for dots."""
    server = Server({path.replace("_", "."): answer for path, answer in answers.items()})
    (thread := threading.Thread(target=server.serve_forever, args=(0.05,))).start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def status(code, **headers):
    return lambda request, _: request.head(code, length=0, **headers)


def web_page(request, _):
    request.head(200, length=5, Content_Type="text/html; charset=utf-8")
    request.wfile.write(b"login")


def whole(body, *, ranges=True, at_most=None, then=None):
    """The body from the byte asked for; only so many bytes of it, after which ``then`` decides what happens."""

    def answer(request, start):
        if start and ranges:
            if start >= len(body):
                return request.head(416, length=0)
            request.head(
                206,
                length=len(body) - start,
                Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}",
            )
        else:
            start = 0
            request.head(200, length=len(body))
        request.wfile.write(body[start:][:at_most])
        if then:
            request.wfile.flush()
            then(request)

    return answer


def silence(request, *_):
    """Nothing, until the test is over."""
    request.server.over.wait(60)


def chunked_and_cut(request, _):
    """One chunk of 5 bytes, the beginning of another, and an end."""
    request.head(200, Transfer_Encoding="chunked")
    request.wfile.write(b"5\r\nhello\r\nff\r\nwor")


class Miniature(NamedTuple):
    """What `data.load` should find: the test images and labels, how many images there are in the parts, the classes."""

    images: np.ndarray
    labels: list
    sizes: tuple
    classes: tuple


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def make(name, root, monkeypatch):
    """A set of that name, unpacked as torchvision leaves it."""
    match name:
        case "aircraft":
            return aircraft(root)
        case "oxford_pets":
            return pets(root)
        case "svhn":
            return svhn(root, monkeypatch)
        case _:
            return cifar(root, CIFAR[name], monkeypatch)


def publish(name, root, server, monkeypatch):
    """Make a server the home of the set that lies in ``root``, and of its archives."""

    def host(file, folder=None):
        archive = root / file
        if folder:
            with tarfile.open(archive, "w:gz") as tar:
                tar.add(folder, folder.name)
        server.answers[file] = whole(archive.read_bytes())
        return server.url(file), md5(archive)

    match name:
        case "aircraft":
            url, checksum = host("fgvc-aircraft-2013b.tar.gz", root / "fgvc-aircraft-2013b")
            monkeypatch.setattr(datasets.FGVCAircraft, "_URL", url)
            monkeypatch.setattr(torchvision_sets, "AIRCRAFT_MD5", checksum)
        case "oxford_pets":
            base = root / "oxford-iiit-pet"
            resources = [host(f"{part}.tar.gz", base / part) for part in ("images", "annotations")]
            monkeypatch.setattr(datasets.OxfordIIITPet, "_RESOURCES", resources)
        case "svhn":
            for split in ("train", "test"):
                url, checksum = host(file := datasets.SVHN.split_list[split][1])
                monkeypatch.setitem(datasets.SVHN.split_list, split, [url, file, checksum])
        case _:
            url, checksum = host(CIFAR[name].filename, root / CIFAR[name].base_folder)
            monkeypatch.setattr(CIFAR[name], "url", url)
            monkeypatch.setattr(CIFAR[name], "tgz_md5", checksum)
            monkeypatch.setitem(torchvision_sets.MIRRORS, name, ())


def cifar(root, kind, monkeypatch):
    """CIFAR-10 or CIFAR-100: pickled rows of 3,072 bytes, red first, and torchvision with the checksums of these."""
    ten = kind is datasets.CIFAR10
    rng, folder, key = (
        np.random.default_rng(0),
        root / kind.base_folder,
        "labels" if ten else "fine_labels",
    )
    names = [f"kind {i}" for i in range(10 if ten else 100)]
    folder.mkdir(parents=True)
    rows, labels = {}, {}
    for file, _ in kind.train_list + kind.test_list:
        n = 4 if ten or file == "test" else 20
        rows[file] = rng.integers(0, 256, (n, 3072), np.uint8)
        labels[file] = rng.integers(0, len(names), n).tolist()
        content = {
            "data": rows[file],
            key: labels[file],
            "batch_label": file,
            "filenames": [f"{i}.png" for i in range(n)],
        }
        if not ten:
            content["coarse_labels"] = [label // 5 for label in labels[file]]
        (folder / file).write_bytes(pickle.dumps(content, protocol=2))
    meta = (
        {"label_names": names}
        if ten
        else {"fine_label_names": names, "coarse_label_names": names[:20]}
    )
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps(meta, protocol=2))
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(
            kind, part, [[file, md5(folder / file)] for file, _ in getattr(kind, part)]
        )
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(folder / kind.meta["filename"])})
    test = kind.test_list[0][0]
    return Miniature(rows[test].reshape(-1, 3, 32, 32), labels[test], (18, 2, 4), tuple(names))


def svhn(root, monkeypatch):
    """SVHN: MATLAB files with X (32, 32, 3, N) and y (N, 1), where the digit 0 has the label 10."""
    rng, split_list = np.random.default_rng(0), {}
    root.mkdir(parents=True, exist_ok=True)
    for split, n in (("train", 20), ("test", 4)):
        pixels, y = (
            rng.integers(0, 256, (32, 32, 3, n), np.uint8),
            rng.integers(1, 11, (n, 1)).astype(np.uint8),
        )
        y[0] = 10
        url, file, _ = datasets.SVHN.split_list[split]
        savemat(root / file, {"X": pixels, "y": y})
        split_list[split] = [url, file, md5(root / file)]
    monkeypatch.setattr(datasets.SVHN, "split_list", split_list)
    return Miniature(
        pixels.transpose(3, 2, 0, 1), (y[:, 0] % 10).tolist(), (18, 2, 4), tuple("0123456789")
    )


def aircraft(root):
    """FGVC-Aircraft: lists of numbers and variants, photographs with a banner of 20 rows at the bottom (here white)."""
    data, variants = root / "fgvc-aircraft-2013b" / "data", ("707-320", "A340-200", "Cessna 172")
    (data / "images").mkdir(parents=True)
    (data / "variants.txt").write_text("".join(f"{name}\n" for name in variants))
    number, kept = 1_025_794, {}
    for split in ("train", "val", "test"):
        lines, kept = [], {}
        for label, name in enumerate(variants):
            number += 1
            pixels = np.full((52, 48, 3), 40 * label + 10, np.uint8)
            pixels[-20:] = 255
            Image.fromarray(pixels).save(data / "images" / f"{number}.jpg", quality=95)
            lines.append(f"{number} {name}\n")
            kept[number] = np.full((3, 32, 32), 40 * label + 10, np.uint8)
        (data / f"images_variant_{split}.txt").write_text("".join(lines))
    return Miniature(np.stack(list(kept.values())), [0, 1, 2], (3, 3, 3), variants)


def pets(root):
    """Oxford-IIIT Pet: photographs, lists with the species, trimaps: 1 the animal, 2 the rest, 3 its outline."""
    base = root / "oxford-iiit-pet"
    for folder in ("images", "annotations/trimaps"):
        (base / folder).mkdir(parents=True)
    trimap = np.full((40, 60), 2, np.uint8)
    trimap[10:20, 20:40], trimap[12:18, 22:38] = 3, 1
    for split, n in (("trainval", 10), ("test", 1)):
        lines = []
        for i in range(n):
            for breed, species in (("Abyssinian", 1), ("english_cocker_spaniel", 2)):
                name = f"{breed}_{i}{split}"
                Image.fromarray(np.full((40, 60, 3), 100 * species, np.uint8)).save(
                    base / "images" / f"{name}.jpg"
                )
                Image.fromarray(trimap).save(base / "annotations" / "trimaps" / f"{name}.png")
                lines.append(f"{name} {species} {species} 1\n")
        (base / "annotations" / f"{split}.txt").write_text("".join(lines))
    images = np.stack([np.full((3, 40, 40), 100 * species, np.uint8) for species in (1, 2)])
    return Miniature(images, [0, 1], (18, 2, 2), ("cat", "dog"))
