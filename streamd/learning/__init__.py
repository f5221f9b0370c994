"""Models of the package river that learn as records pass: how they are made, stored and measured."""
