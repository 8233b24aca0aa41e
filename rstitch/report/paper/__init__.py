"""The paper's Table 1 (arXiv 2507.17307 v3/v4): drawn, summed up, and held against itself."""
