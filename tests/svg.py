"""What a drawing of the course holds: its text, its grids, and where each part lies."""

import itertools
import xml.etree.ElementTree as ET

from course_utils import plots

SVG = "{http://www.w3.org/2000/svg}"


def texts(drawing):
    return ["".join(node.itertext()) for node in drawing.svg.iter("text")]


def is_defined(drawing):
    """Whether no number or text is NaN; the data of pictures may have these letters by chance."""
    values = [node.text or "" for node in drawing.svg.iter()]
    values += [v for node in drawing.svg.iter() for k, v in node.items() if not k.endswith("href")]
    return not any("nan" in value for value in values)


def shades(drawing):
    """The opacities of the cells of each grid."""
    groups = [g for g in ET.fromstring(str(drawing)).iter(f"{SVG}g")]
    return [[float(cell.get("fill-opacity")) for cell in g] for g in groups]


def area(node):
    """Left, top, right and bottom of a rectangle or a group of them, or of a line of text."""
    if node.tag == "g":
        parts = [area(part) for part in node]
        return (
            *(min(p[i] for p in parts) for i in (0, 1)),
            *(max(p[i] for p in parts) for i in (2, 3)),
        )
    x, y = float(node.get("x")), float(node.get("y"))
    if node.tag == "rect":
        return x, y, x + float(node.get("width")), y + float(node.get("height"))
    size = float(node.get("font-size"))
    text = "".join(node.itertext())
    width = size * sum(0.2 if letter == "\u2009" else 0.52 for letter in text)  # about Arial's
    left = x - width * {"start": 0, "middle": 0.5, "end": 1}[node.get("text-anchor")]
    return left, y - 0.75 * size, left + width, y


def meet(one, other, margin=0.0):
    (a, b, c, d), (e, f, g, h) = one, other
    return a < g + margin and e < c + margin and b < h + margin and f < d + margin


def points(node):
    return [tuple(map(float, p.split(","))) for p in (node.get("points") or "").split()]


def cut_off(drawing):
    """The parts that lie outside the sheet, even a little."""
    width, height = map(float, drawing.svg.get("viewBox").split()[2:])
    found = []
    for node in drawing.svg:
        if node.tag in ("g", "rect", "text"):
            left, top, right, bottom = area(node)
            if min(left, top, width - right, height - bottom) < 0:
                found.append("".join(node.itertext()) or node.tag)
        found += [(x, y) for x, y in points(node) if not (0 <= x <= width and 0 <= y <= height)]
    return found


def covered_texts(drawing):
    """The texts that lie over another text or over a grid."""
    lines = [node for node in drawing.svg if node.tag == "text"]
    pairs = itertools.chain(
        itertools.combinations(lines, 2), itertools.product(lines, drawing.svg.iter("g"))
    )
    return ["".join(one.itertext()) for one, other in pairs if meet(area(one), area(other))]


def loose_arrows(drawing):
    """The points of arrow heads that lie at no box and no grid."""
    ends = [area(node) for node in drawing.svg if node.tag in ("g", "rect")]
    heads = [points(head)[0] for head in drawing.svg.iter("polygon")]
    return [(x, y) for x, y in heads if not any(meet((x, y, x, y), e, margin=4) for e in ends)]


def unknown_styles(drawing):
    """Colours that belong to no symbol, coloured text, and sizes of text that aren't the usual."""
    root = ET.fromstring(str(drawing))
    known = {"currentColor", "none", *plots.SYMBOL_COLOURS.values()}
    colours = {node.get(kind) for node in root.iter() for kind in ("fill", "stroke")} - {None}
    lines = list(root.iter(f"{SVG}text"))
    sizes = {float(node.get("font-size")) for node in lines} - {13, 15}
    return (colours - known) | {node.get("fill") for node in lines if node.get("fill")} | sizes


def check_drawing(drawing, width=740):
    """Check that nothing is cut off, covered or loose, and that the style is the course's."""
    assert float(drawing.svg.get("viewBox").split()[2]) == width
    for faults in (cut_off, covered_texts, loose_arrows, unknown_styles):
        assert not faults(drawing), (faults.__name__, faults(drawing), drawing.alt)
    assert is_defined(drawing)
    assert len(drawing.alt) > 60
