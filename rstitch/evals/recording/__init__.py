"""Both models at every position of every answer, and the tokens that made an answer wrong."""
