"""The user's functions and classes: finds, loads and checks them and the values that they return."""
