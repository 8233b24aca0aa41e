"""R-Stitch+: training the router that `rstitch.policy.router` asks (docs/router.md)."""
