"""Requests over the network: the interfaces of other programs, the officer's page, and the person's page."""
