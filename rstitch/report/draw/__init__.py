"""Shapes in pixels, laid out without a library; written as SVG for pages, by matplotlib as PNG."""
