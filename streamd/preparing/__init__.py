"""What happens to frames between the framing and the codec."""
