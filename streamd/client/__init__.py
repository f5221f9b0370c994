"""The sending side: reads lines, paces them, and sends them over UDP, TCP or a unix socket. It blocks."""
