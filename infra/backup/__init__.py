"""`make backup` and `make restore`: the whole state, put aside and brought back.

    TO/
      objects/1f/1f0a2b…             every content once, named by its SHA-256
      2026-11-21T194922Z.json        a back-up: which content lay where; written last

So a second back-up copies only what is new, an interrupted one has no name and is no back-up, and
what it had copied serves the next. Both places may be folders or `s3://` prefixes.

    __main__    the commands
    state       what there is to back up, from the environment and the workspace
    databases   PostgreSQL (pg_dump, pg_restore) and sqlite
    archive     the back-ups in one place
    manifest    what a back-up says of itself
    saving      databases first, then the files that they name
    restoring   everything is looked at before anything is written

Not in it: the git history (`git push`), and what opens it all, the secrets. Keep .stack/secrets.env
apart from the back-ups, and lay it into the new place first: the restored databases know the users
and the encrypted webhooks of these secrets only.
"""
