"""What a recording says: pure functions from its records to numbers, without the models."""
