"""Drawing without a library: shapes in pixels, written as SVG for pages and as PNG by matplotlib."""
