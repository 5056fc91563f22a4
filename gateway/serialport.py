"""A serial port as an asyncio transport."""
