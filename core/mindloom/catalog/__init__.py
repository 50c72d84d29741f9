"""``mindloom plugins``: what plugins there are, what one of them does, what a config makes of them, and a new one."""
