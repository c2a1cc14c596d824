"""The same questions about many pictures and clips. Knows backends by their contract; not who asks or who watches."""
