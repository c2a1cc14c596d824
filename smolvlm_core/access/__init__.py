"""Who may use a shared app and API: users, passwords, keys, logins and limits. Does not know pages or routes."""
