"""The service over a ledger: published formats and our own interface for programs, pages for the officer and the person.

Needs the extra `server`. `docs/server.md` says how it is run. TLS is the proxy's.
"""
