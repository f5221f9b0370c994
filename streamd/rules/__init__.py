"""The rules of the step `validate`: their options, checks and fixes, and the function compiled from them."""
