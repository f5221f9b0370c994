"""The sending side: reads lines, paces them, and puts them on UDP or TCP. Plain blocking code."""
