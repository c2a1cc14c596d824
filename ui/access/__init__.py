"""Who uses the app: the login page, the users of requests and of page runs, and how much they store."""
