"""The page's server: a door to the rooms above, on one WebSocket. No mathematics lives here."""
