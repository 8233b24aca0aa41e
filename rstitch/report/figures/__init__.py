"""What a report draws: each a function from figures (numbers) and a width to a scene."""
