"""Problems, grading, and what a set of answers says."""
