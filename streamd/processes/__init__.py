"""Several processes that run one configuration: what each of them does, and the one that leads them."""
