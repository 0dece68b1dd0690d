"""The sheet that `diagrams` draws on: boxes, arrows, grids and vectors, as SVG inside the page.

The SVG is written with the standard library: as a part of the page, its text and lines take the
page's font and colour, light or dark. A figure of matplotlib brings its own. There are no ids and
no style sheets, so any number of drawings can share a page.
"""

from __future__ import annotations

import base64
import html
import io
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from course_utils.plots.canvas import SYMBOL_COLOURS

Symbol = Literal["query", "key", "value", "l", "g", "scores", "weights", "context"]
Number = float | int
Point = tuple[Number, Number]
SMALL = 13  # font size of shapes, in units of the drawing; names have 15
LARGEST = 128  # pixels: larger images are drawn smaller than that
DASHES = {"stroke_dasharray": "5 4"}
NARROWEST = 0.85  # on a narrower page the drawing scrolls, so its smallest text keeps 11 pixels


class Diagram:
    """A drawing with a caption, which a notebook shows in the page.

    Attributes:
        svg: The drawing.
        caption: One line that says what to see; may be empty, if the page says it.
        alt: A description for readers who don't see the drawing.
    """

    def __init__(self, width: Number, height: Number, *, alt: str, caption: str):
        """Create an empty drawing.

        Args:
            width: Width in units; a page of the book has room for 740 at their natural size.
            height: Height in the same units.
            alt: A description for readers who don't see the drawing.
            caption: One line that says what to see.
        """
        self.alt, self.caption = alt, caption
        self.svg = ET.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {width:g} {height:g}",
                "role": "img",
                "fill": "currentColor",
                "font-size": "15",
                "style": f"display: block; width: 100%; height: auto; margin: 0 auto; "
                f"min-width: {min(NARROWEST * width, 740):.0f}px; max-width: {1.3 * width:.0f}px",
            },
        )

    def __str__(self) -> str:
        """Return the SVG, without the caption."""
        self.svg.set("aria-label", self.alt)
        return ET.tostring(self.svg, encoding="unicode")

    def _repr_html_(self) -> str:
        style = "margin: 0.6em 0 0; font-size: 0.85em; text-align: center"
        text = f'<span class="caption-text">{html.escape(self.caption)}</span>'
        caption = f'<figcaption style="{style}">{text}</figcaption>' if self.caption else ""
        return f'<figure class="course-diagram" style="margin: 1em 0">{self}{caption}</figure>'

    def text(
        self, x: Number, y: Number, text: str, *, size: Number = 15, anchor: str = "middle"
    ) -> None:
        """Write text, vertically centred at y; ``*q*`` is italic, and ``_k`` a subscript."""
        attributes = {"x": f"{x:g}", "y": f"{y + 0.35 * size:g}", "text-anchor": anchor}
        node = ET.SubElement(self.svg, "text", attributes | {"font-size": f"{size:g}"})
        lowered = False
        for piece in re.findall(r"\*\w+\*|_\w|(?:(?!\*\w+\*|_\w).)+", text):
            span = ET.SubElement(node, "tspan")
            subscript = piece.startswith("_")
            if lowered or subscript:
                span.set("dy", f"{(subscript - lowered) * 0.25 * size:g}")
            lowered = subscript
            if subscript or piece.startswith("*"):
                span.set("font-family", "Georgia, Times New Roman, serif")
                span.set("font-style", "normal" if piece[1:2].isdigit() else "italic")
                span.set("font-size", f"{(0.8 if subscript else 1.15) * size:g}")
            span.text = piece.strip("*").removeprefix("_")

    def box(
        self,
        x: Number,
        y: Number,
        width: Number,
        height: Number,
        lines: Sequence[str] = (),
        symbol: Symbol | None = None,
        *,
        strong: bool = False,
        dashed: bool = False,
    ) -> None:
        """Draw a rounded box centred at a point, with a line of text and smaller ones below it."""
        corner = {"x": x - width / 2, "y": y - height / 2, "width": width, "height": height}
        opacity = 0.07 if symbol is None else 0.3 if strong else 0.14
        self._shape(
            "rect",
            symbol,
            **corner,
            rx=min(7, height / 4),
            fill_opacity=opacity,
            stroke_width=3.5 if strong else 1.4,
            stroke_opacity=0.5 if symbol is None else 1,
            **DASHES if dashed else {},
        )
        for i, line in enumerate(lines):
            shift = 18 * (i - (len(lines) - 1) / 2)
            self.text(x, y + shift, line, size=SMALL if i else 15)

    def pool(self, x: Number, y: Number, width: Number, height: Number) -> None:
        """Draw a max-pool from its left edge: a trapezoid that narrows to the right."""
        tall, short = height / 2, height / 2 - 9
        corners = ((x, y - tall), (x + width, y - short), (x + width, y + short), (x, y + tall))
        points = " ".join(f"{a:g},{b:g}" for a, b in corners)
        self._shape(
            "polygon", None, points=points, fill_opacity=0.2, stroke_width=1.4, stroke_opacity=0.5
        )

    def arrow(
        self,
        *points: Point,
        symbol: Symbol | None = None,
        head: bool = True,
        thickness: Number = 1.8,
        dashed: bool = False,
    ) -> None:
        """Draw a line through points, with a head at the last one."""
        (x0, y0), (x, y) = points[-2:]
        length = math.hypot(x - x0, y - y0)
        dx, dy = (x - x0) / length, (y - y0) / length
        end = (x - 7 * dx, y - 7 * dy) if head else (x, y)
        path = " ".join(f"{a:g},{b:g}" for a, b in (*points[:-1], end))
        line = {"stroke_width": thickness} | (DASHES if dashed else {})
        self._shape("polyline", symbol, points=path, fill="none", **line)
        if head:
            left, right = ((x - 9 * dx - s * dy, y - 9 * dy + s * dx) for s in (4.5, -4.5))
            corners = " ".join(f"{a:g},{b:g}" for a, b in ((x, y), left, right))
            self._shape("polygon", symbol, points=corners, stroke_width=0)

    def line(self, start: Point, end: Point, symbol: Symbol, *, thickness: Number) -> None:
        """Draw a straight line with a white edge, which stands out on pictures and on grids."""
        path = " ".join(f"{x:g},{y:g}" for x, y in (start, end))
        for colour, width in (("white", thickness + 1.6), (SYMBOL_COLOURS[symbol], thickness)):
            self._shape("polyline", symbol, points=path, stroke=colour, stroke_width=width)

    def vector(
        self, x: Number, y: Number, symbol: Symbol, *, width: Number = 66, marked: bool = False
    ) -> None:
        """Draw a vector centred at a point: a bar of six cells."""
        left, cell = x - width / 2, width / 6
        line = 2.2 if marked else 1
        opacity = 0.6 if marked else 0.22
        for i in range(6):
            corner = {"x": left + i * cell, "y": y - 5, "width": cell, "height": 10}
            self._shape("rect", symbol, **corner, fill_opacity=opacity, stroke_width=line)

    def bars(
        self,
        x: Number,
        y: Number,
        width: Number,
        height: Number,
        values: Float[Tensor, "n"],
        symbol: Symbol,
        *,
        span: tuple[Number, Number] | None = None,
    ) -> None:
        """Draw one bar per value, on a line at 0; the sheet of bars is centred at a point.

        Args:
            x: Centre.
            y: Centre.
            width: Width of all bars together.
            height: The height from the lower to the upper end of the span.
            values: The values; negative ones hang from the line.
            symbol: The symbol whose colour the bars have.
            span: Smallest and largest value that have room; None for those of the values and 0.
        """
        low, high = span or (min(0, values.min().item()), max(0, values.max().item()))
        unit = height / max(high - low, 1e-12)
        left, zero, step = x - width / 2, y + height / 2 + low * unit, width / len(values)
        bars = self._shape("g", symbol, stroke_width=0, fill_opacity=0.8)
        for i, value in enumerate(values.tolist()):
            top, tall = zero - max(value, 0) * unit, abs(value) * unit
            corner = {"x": f"{left + (i + 0.1) * step:.2f}", "y": f"{top:.2f}"}
            size = {"width": f"{0.8 * step:.2f}", "height": f"{tall:.2f}"}
            ET.SubElement(bars, "rect", corner | size)
        self.arrow((left, zero), (left + width, zero), symbol=symbol, head=False)

    def grid(
        self,
        x: Number,
        y: Number,
        side: Number,
        shades: Float[Tensor, "H W"],
        symbol: Symbol,
        marked: tuple[int, int] | None = None,
    ) -> None:
        """Draw a grid of cells centred at a point.

        Args:
            x: Centre.
            y: Centre.
            side: The longer side of the grid.
            shades: The opacity of each cell, in [0, 1].
            symbol: The symbol whose colour the cells have.
            marked: Row and column of a cell with a thick border.
        """
        rows, columns = shades.shape
        cell = side / max(rows, columns)
        left, top = x - columns * cell / 2, y - rows * cell / 2
        size = {"width": f"{cell:g}", "height": f"{cell:g}"}
        line = min(0.5, cell / 12)  # thinner around small cells, whose shade it would hide
        cells = self._shape("g", symbol, stroke_width=line, stroke_opacity=0.5)
        for row, line in enumerate(shades.tolist()):
            for column, shade in enumerate(line):
                corner = {"x": f"{left + column * cell:g}", "y": f"{top + row * cell:g}"}
                ET.SubElement(cells, "rect", corner | size | {"fill-opacity": f"{shade:.2g}"})
        if marked is not None:
            self.frame(left + marked[1] * cell, top + marked[0] * cell, cell)

    def frame(self, left: Number, top: Number, width: Number, height: Number | None = None) -> None:
        """Draw a thick border, of a square if no height is given, which stands out on pictures."""
        height = width if height is None else height
        corner = {"x": left - 1.5, "y": top - 1.5, "width": width + 3, "height": height + 3}
        for colour, line in (("black", 4), ("white", 2)):
            self._shape("rect", None, **corner, fill="none", stroke=colour, stroke_width=line)

    def picture(self, x: Number, y: Number, side: Number, image: Float[Tensor, "C H W"]) -> None:
        """Draw an image centred at a point, with hard pixels if it is small."""
        file = io.BytesIO()
        picture = to_pil_image(image.detach().cpu().float().clamp(0, 1))
        picture.thumbnail((LARGEST, LARGEST))
        picture.save(file, "PNG")
        data = base64.b64encode(file.getvalue()).decode()
        rows, columns = image.shape[-2:]
        width, height = (side * n / max(rows, columns) for n in (columns, rows))
        self._shape(
            "image",
            None,
            href=f"data:image/png;base64,{data}",
            x=x - width / 2,
            y=y - height / 2,
            width=width,
            height=height,
            style="image-rendering: pixelated",
        )

    def _shape(self, tag: str, symbol: Symbol | None, **attributes: Number | str) -> ET.Element:
        colour = "currentColor" if symbol is None else SYMBOL_COLOURS[symbol]
        written = {
            name.replace("_", "-"): value if isinstance(value, str) else f"{value:g}"
            for name, value in attributes.items()
        }
        return ET.SubElement(self.svg, tag, {"fill": colour, "stroke": colour} | written)
