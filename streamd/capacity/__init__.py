"""What would happen if: scenarios, the course of the buffers in them, and settings that hold. Pure logic."""
