"""What a step costs: measured on the live device, fitted, and used to price, replay, simulate and
plan answers without writing them."""
